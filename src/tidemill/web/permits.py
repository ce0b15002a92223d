"""What each role may ask of the site, by method and path. What is not said here is closed to workers."""

from __future__ import annotations

from starlette.types import Scope

from tidemill.domain.roles import Role

READING = frozenset({"GET", "HEAD"})
PORTAL_API = "/v1"
PORTAL = "/portal"
OPEN = (PORTAL_API, PORTAL, "/download", "/static")
"""What people outside may ask for without a key; whoever answers there decides what they get."""

WORKERS = "/api/worker"
TOKENS = "/api/tokens"
CURSORS = "/api/cursors"


def is_open(scope: Scope) -> bool:
    """Whether a request goes on though nobody has shown a key."""
    return scope["type"] == "http" and any(below(scope["path"], top) for top in OPEN)


def refusal(role: Role, method: str | None, path: str, name: str = "") -> str | None:
    """Why the holder of this token may not do this, in a sentence; None: it may. `method` None: the live socket."""
    if role is Role.DOWNLOADER:
        # A person's key says who they are; what they may have is for whoever answers there to say.
        if method and any(below(path, top) for top in OPEN):
            return None
        return "This token is a downloader's: it is for the portal, and goes into the header API-KEY there."
    for_workers = below(path, WORKERS)
    if role is Role.WORKER:
        return None if for_workers and method else "This token is a worker's: it serves to work, and for nothing else."
    if for_workers:
        return f"This token is {_a(role)}: working needs a worker's."
    if below(path, TOKENS):
        return "Tokens are given out with the site's own key."
    # On the portal, too, what is done is a person's own, whose key it takes.
    if role is Role.READER and not (
        method is None or method in READING or below(path, PORTAL_API) or below(path, PORTAL)
    ):
        if name and below(path, f"{CURSORS}/{name}"):
            return None
        own = f" but its own cursors, {name} and {name}/…" if below(path, CURSORS) else ""
        return f"This token is a reader's: it may look at everything and change nothing{own}."
    return None


def _a(role: Role) -> str:
    return f"{'an' if role is Role.OPERATOR else 'a'} {role}'s"


def below(path: str, top: str) -> bool:
    """Whether a path is this one, or one below it."""
    return path == top or path.startswith(f"{top}/")
