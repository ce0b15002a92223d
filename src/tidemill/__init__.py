"""Tidemill: collections of files through chains of processing, driven by the record of each item."""

__version__ = "0.1.0"
