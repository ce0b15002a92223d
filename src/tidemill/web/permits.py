"""What each role may ask of the site, by method and path. What is not said here is closed to workers."""

from __future__ import annotations

from tidemill.domain.roles import Role

READING = frozenset({"GET", "HEAD"})
WORKERS = "/api/worker"
TOKENS = "/api/tokens"


def refusal(role: Role, method: str | None, path: str) -> str | None:
    """Why the holder of a token may not do this, in a sentence; None: it may. `method` None: the live socket."""
    if role is Role.DOWNLOADER:
        return "This token is a downloader's: it is for the portal, and goes into the header API-KEY there."
    for_workers = _below(path, WORKERS)
    if role is Role.WORKER:
        return None if for_workers and method else "This token is a worker's: it serves to work, and for nothing else."
    if for_workers:
        return f"This token is {_a(role)}: working needs a worker's."
    if _below(path, TOKENS):
        return "Tokens are given out with the site's own key."
    if role is Role.READER and not (method is None or method in READING):
        return "This token is a reader's: it may look at everything and change nothing."
    return None


def _a(role: Role) -> str:
    return f"{'an' if role is Role.OPERATOR else 'a'} {role}'s"


def _below(path: str, top: str) -> bool:
    return path == top or path.startswith(f"{top}/")
