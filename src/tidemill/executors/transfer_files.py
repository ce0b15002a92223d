"""Which files of an item a transfer takes, and what they are called at the other end."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from tidemill.domain.item_files import ItemFile, matching
from tidemill.errors import InvalidInput
from tidemill.executors.templates import from_record, path_text, quoted_list
from tidemill.executors.transfer_options import CHECKSUMS, TransferOptions

_WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Errand:
    """One file to copy: from where, under which key, and the checksums that its record says it has."""

    name: str
    url: str
    key: str
    size: int | None = None
    expected: Mapping[str, str] = field(default_factory=dict)


def errands(document: Mapping[str, Any], files: Sequence[ItemFile], options: TransferOptions) -> list[Errand]:
    """What there is to copy. Raises InvalidInput where there is nothing, or where two files would have one name."""
    chosen = selected(files, options, document)
    expected = _expected(document, chosen, options)
    made = [Errand(one.name, one.url, _key(one, document, options), one.size, expected) for one in chosen]
    keys = [one.key for one in made]
    for position, one in enumerate(made):
        if one.key in keys[:position]:
            first = made[keys.index(one.key)]
            raise InvalidInput(
                f"{first.url} and {one.url} would both be called {one.key!r}; "
                'let key tell them apart, for example key = "{key}".'
            )
    return made


def selected(files: Sequence[ItemFile], options: TransferOptions, document: Mapping[str, Any]) -> list[ItemFile]:
    """The files that fit the patterns and lie in `from`; without patterns the item's own.

    A pattern without wildcards may name a file that the record does not list (`{item}.root`): it is looked for in
    `from`. Raises InvalidInput where there is nothing to do.
    """
    patterns = [path_text(one, document, {"item": str(document["item"])}) for one in options.files]
    base = options.source.rstrip("/") + "/" if options.source else ""
    here = [one for one in files if one.url.startswith(base)]
    chosen = matching(here, patterns) if patterns else [one for one in here if one.own]
    if base:
        fits = {one.name for one in chosen} | {one.key for one in chosen}
        plain = [one for one in patterns if not _WILD.search(one) and one not in fits]
        chosen += [ItemFile(one.rpartition("/")[2], base + quote(_safe(one)), one, True) for one in plain]
    if not chosen:
        wanted = f"fits {quoted_list(patterns)}" if patterns else "is its own"
        where = f" in {options.source}" if options.source else ""
        there = quoted_list([one.url for one in files], 4)
        raise InvalidInput(f"The item has no file that {wanted}{where}; there are: {there}.")
    return chosen


def _key(file: ItemFile, document: Mapping[str, Any], options: TransferOptions) -> str:
    stem = file.name.rpartition(".")[0] or file.name
    given = {"item": str(document["item"]), "name": file.name, "stem": stem, "key": file.key}
    return _safe(path_text(options.key, document, given))


def _safe(key: str) -> str:
    """A key that stays within its place. Raises InvalidInput."""
    if key.startswith("/") or "\0" in key or any(part in ("", ".", "..") for part in key.split("/")):
        raise InvalidInput(f"{key!r} cannot be the name of a file below a folder.")
    return key


def _expected(document: Mapping[str, Any], chosen: Sequence[ItemFile], options: TransferOptions) -> dict[str, str]:
    """The checksums that the record has, by name."""
    expected = {}
    for name, length in CHECKSUMS.items():
        where = getattr(options, name)
        if not where:
            continue
        value = str(from_record(document, where)).strip().lower()
        if not re.fullmatch(rf"[0-9a-f]{{{length}}}", value):
            raise InvalidInput(f"The record's {where} is {value!r}, which is no {name.upper()} ({length} digits).")
        if len(chosen) != 1:
            raise InvalidInput(
                f"The record has one {where}, but {len(chosen)} files are to be copied; name one in files."
            )
        expected[name] = value
    return expected
