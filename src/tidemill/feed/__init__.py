"""The change feed: what changed since a position, snapshots that fit to a position, and following live."""
