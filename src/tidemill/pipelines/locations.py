"""Where a site file says that files lie: URLs of stores, and folders beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tidemill.storage.stores import SCHEMES


def located_store(text: str, folder: Path) -> str:
    """A store's URL; a folder as a `file://` URL, and a relative one lies in `folder`, the site file's own."""
    if "://" in text and not text.startswith("file:"):
        return text.rstrip("/")
    parts = urlsplit(text)
    path = unquote(parts.path) if parts.scheme == "file" else text
    return (folder / Path(path).expanduser()).resolve().as_uri()


_TAKES = {"s3": ("endpoint", "region", "anonymous"), "gs": ("endpoint", "anonymous"), "az": ("endpoint", "anonymous")}
"""What can be said of a service, by the beginning of its URL; of a folder, nothing."""


def idle_options(text: str, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Options of what lies there that would do nothing: each with why, and what would be right."""
    scheme = text.partition("://")[0] if "://" in text else "file"
    takes = _TAKES.get(scheme, ())
    of = f"of {scheme}://…" if takes else "of a folder"
    right = f"there are: {', '.join(takes)}" if takes else "leave it out"
    for key, value in given.items():
        if value and key not in takes:
            yield key, f"has {key}, which says nothing {of}; {right}."


def store_fault(key: str, text: str) -> str | None:
    """Why nothing can lie there, and what would be right; `key` is what it stands under."""
    scheme, _, rest = text.partition("://") if "://" in text else ("file", "", text)
    if scheme not in SCHEMES:
        said = f"is at {scheme}://…, which cannot be read"
    elif scheme != "file" and not rest.strip("/"):
        said = f"is at {text}, which names no bucket"
    elif not text.strip():
        said = "is at no place"
    elif scheme == "file" and not has_home(text):
        said = f"is at {text}, and there is no such person here"
    else:
        return None
    return f'{said}; write {key} = "folder", "/path/to/folder", "s3://bucket/prefix", "gs://…" or "az://…".'


def has_home(text: str) -> bool:
    """Whether a folder that begins with `~` or `~name` lies in somebody's home that is known here."""
    try:
        Path(text).expanduser()
    except RuntimeError:
        return False
    return True
