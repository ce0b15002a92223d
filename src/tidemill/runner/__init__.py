"""The runner: claim, lease, finish, retry, watch, reconcile. Knows nothing of HTTP doors or pages."""
