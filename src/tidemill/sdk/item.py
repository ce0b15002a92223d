"""What a step is given of its item: the record, its files, and what earlier steps put out."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Protocol
from urllib.parse import unquote, urlsplit


class Fetcher(Protocol):
    """Brings files that lie elsewhere to this machine. Both raise OSError where that fails."""

    def fetch(self, url: str) -> Path:
        """A local copy; waits for it."""
        ...

    def fetching(self, url: str) -> Awaitable[Path]:
        """The same in an async step."""
        ...


class File:
    """A file of the item, or one that an earlier step put out."""

    def __init__(self, fetcher: Fetcher, described: Mapping[str, Any]) -> None:
        self._fetcher = fetcher
        self.url: str = described["url"]
        self.key: str = described.get("key") or described.get("name") or unquote(self.url.rpartition("/")[2])
        """Its path within its source; for a step's file its name."""
        self.name = self.key.rpartition("/")[2]
        self.size: int | None = described.get("size")
        self.sha256: str | None = described.get("sha256")
        self.attributes: Mapping[str, Any] = MappingProxyType(dict(described.get("attributes") or {}))

    def path(self) -> Path:
        """A local path to read it from (never to write to): itself if it lies here, else a copy. Raises OSError.

        In an async step a file that lies elsewhere is had by `await file.fetch()`.
        """
        return _local(self.url) or self._fetcher.fetch(self.url)

    async def fetch(self) -> Path:
        """As `path`, for async steps."""
        return _local(self.url) or await self._fetcher.fetching(self.url)

    def open(self, mode: str = "rb") -> IO[Any]:
        """The file, open for reading."""
        if not set(mode) <= set("rbt"):
            raise ValueError(f"Files of an item are only read, so mode {mode!r} is not possible; see task.output().")
        return self.path().open(mode)

    def __repr__(self) -> str:
        return f"<file {self.key}>"


class Entry:
    """What one earlier step did: `name`, `app`, `version`, `output` (a dict), `files`.

    For a step that another system did, before the item came here, `output` is all that was recorded of it.
    """

    def __init__(self, fetcher: Fetcher, entry: Mapping[str, Any]) -> None:
        self.name: str = entry.get("name") or ""
        self.app: str = entry.get("app") or ""
        self.version: str = entry.get("version") or ""
        own = "output" in entry
        self.output: dict[str, Any] = (entry["output"] or {}) if own else dict(entry)
        self.files = [File(fetcher, file) for file in (entry.get("files") or [] if own else [])]

    def __repr__(self) -> str:
        return f"<step {self.name} {self.version}>"


class Item:
    """The item of an attempt. Nothing of it can be changed from here: see `task.set` and the step's result."""

    def __init__(self, name: str, document: Any, fetcher: Fetcher) -> None:
        told = document if isinstance(document, dict) and isinstance(document.get("process"), list) else {}
        self.name = name
        self.document = document
        """The whole input document. Where the chain is not driven by the record (MMIF, say), this is all there is."""
        self.status: str = told.get("status") or ""
        self.revision: int | None = told.get("revision")
        self.metadata: Mapping[str, Any] = MappingProxyType(told.get("metadata") or {})
        self.files = [File(fetcher, file) for file in told.get("files") or []]
        """Its own files, as they lie in their sources."""
        self.process = [Entry(fetcher, entry) for entry in told.get("process") or []]
        """What was done to it, newest last."""

    def step(self, name: str) -> Entry:
        """What the step of exactly this name did, the newest if there are several. Raises LookupError."""
        for entry in reversed(self.process):
            if entry.name == name:
                return entry
        behind = ", ".join(repr(entry.name) for entry in self.process) or "none"
        raise LookupError(f"{self.name} has no step {name!r} behind it; it has: {behind}.")

    def output(self, name: str) -> dict[str, Any]:
        """What the step of exactly this name returned. Raises LookupError."""
        return self.step(name).output

    def file(self, name: str) -> File:
        """The file of this name: the newest that a step put out, else the item's own. Raises LookupError.

        `name` is exact: a file's name, or its key where the item's own files have the same name in several folders.
        """
        for entry in reversed(self.process):
            for file in entry.files:
                if name == file.name:
                    return file
        found = [file for file in self.files if name == file.key] or [file for file in self.files if name == file.name]
        if len(found) == 1:
            return found[0]
        if found:
            raise LookupError(f"{self.name} has several files named {name!r}: {', '.join(f.key for f in found)}.")
        known = [file.key for file in self.files] + [file.name for entry in self.process for file in entry.files]
        raise LookupError(f"{self.name} has no file {name!r}; it has: {', '.join(map(repr, known)) or 'none'}.")

    def __repr__(self) -> str:
        return f"<item {self.name}>"


def _local(url: str) -> Path | None:
    """Where a file of this machine lies; None if it has to be fetched."""
    parts = urlsplit(url)
    if parts.scheme not in ("", "file"):
        return None
    path = Path(unquote(parts.path))
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    return path
