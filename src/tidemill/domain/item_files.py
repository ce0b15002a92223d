"""Where an item's files lie by now: its record says where they came from, its process what steps moved and made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, slots=True)
class ItemFile:
    """One file. `key`, `size`, `attributes`: as in the record; `sha256` where a step has read the file."""

    name: str
    url: str
    key: str
    own: bool
    """Whether it is one of the item's own files; else a step made it."""
    size: int | None = None
    sha256: str = ""
    attributes: Mapping[str, Any] | None = None


def files_now(document: Mapping[str, Any]) -> list[ItemFile]:
    """The files of a record document, each at the newest place that a step names: the item's own, then those made.

    A step moves a file by saying `from` and `to` in its output's `files`; a file that a step put out takes the place
    of one that had its name.
    """
    files = list(_own(document))
    for entry in document["process"]:
        if not isinstance(entry, Mapping):
            continue
        moves = {move["from"]: move for move in _listed(entry.get("output"), "from", "to")}
        files = [_moved(file, moves[file.url]) if file.url in moves else file for file in files]
        arrived = {move["to"] for move in moves.values()}
        for made in _listed(entry, "name", "url"):
            if made["url"] not in arrived:
                files = _with_made(files, made)
    return files


def matching(files: Sequence[ItemFile], patterns: Sequence[str]) -> list[ItemFile]:
    """Those whose name or key fits one of the patterns (`*.root`; `*` stands for any characters)."""
    return [one for one in files if any(fnmatchcase(one.name, p) or fnmatchcase(one.key, p) for p in patterns)]


def name_of(url: str) -> str:
    """The last part of a URL's path, unquoted."""
    return unquote(urlsplit(url).path).rpartition("/")[2]


def _own(document: Mapping[str, Any]) -> Iterator[ItemFile]:
    for file in document["files"]:
        name = file["key"].rpartition("/")[2]
        yield ItemFile(name, file["url"], file["key"], True, file.get("size"), attributes=file.get("attributes"))


def _moved(file: ItemFile, move: Mapping[str, Any]) -> ItemFile:
    return replace(file, url=move["to"], size=move.get("size", file.size), sha256=str(move.get("sha256", "")))


def _with_made(files: Sequence[ItemFile], made: Mapping[str, Any]) -> list[ItemFile]:
    name = made["name"]
    new = ItemFile(name, made["url"], name, False, made.get("size"), str(made.get("sha256", "")))
    same = [file for file in files if file.name == name]
    if len(same) != 1:
        return [*files, new]
    return [replace(new, own=file.own, key=file.key) if file is same[0] else file for file in files]


def _listed(holder: Any, *keys: str) -> list[Mapping[str, Any]]:
    """The entries of a `files` list that have these texts; what other systems and commands wrote may look otherwise."""
    files = holder.get("files") if isinstance(holder, Mapping) else None
    if not isinstance(files, list):
        return []
    return [one for one in files if isinstance(one, Mapping) and all(isinstance(one.get(key), str) for key in keys)]
