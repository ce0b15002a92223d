"""The type URIs of MMIF and what the apps of a chain say that they read and write.

Two dialects of the same vocabulary are in use (read off clams-vocabulary 1.2.0 and mmif-python 1.1.2):

- new: `http://clams.ai/vocabulary/type/VideoDocument/v2`
- old: `http://mmif.clams.ai/vocabulary/VideoDocument/v1`, and before that
  `http://mmif.clams.ai/0.4.0/vocabulary/VideoDocument/`

An app that reads the new dialect reads the old one too. One that reads the old finds nothing in the new, and
says nothing about it: so a chain with one old app starts in the old dialect. Versions of a type are compared
loosely by every app (with a warning), so here too. Seven linguistic types also go by their LAPPS names.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tidemill.errors import PipelineMismatch


class Dialect(StrEnum):
    """Which family of URIs a type name is written in."""

    NEW = "new"
    OLD = "old"
    LAPPS = "lapps"
    OTHER = "other"
    """Not of the CLAMS vocabulary: the whole URI is the name."""


_NEW = re.compile(r"https?://clams\.ai/vocabulary/type/(?P<name>\w+)(?:/(?P<version>v\d+))?/?")
_OLD = re.compile(r"https?://mmif\.clams\.ai/(?:(?P<spec>\d[\w.]*)/)?vocabulary/(?P<name>\w+)(?:/(?P<version>v\d+))?/?")
_LAPPS = re.compile(r"https?://vocab\.lappsgrid\.org/(?P<name>\w+)(?:#\w+)?/?")
_LAPPS_MIGRATED = frozenset({"Token", "Sentence", "Paragraph", "Markable", "NamedEntity", "NounChunk", "VerbChunk"})

_DOCUMENT_URIS = {
    Dialect.NEW: "http://clams.ai/vocabulary/type/{}/v2",
    Dialect.OLD: "http://mmif.clams.ai/vocabulary/{}/v1",
}
DOCUMENT_NAMES = frozenset({"VideoDocument", "AudioDocument", "TextDocument", "ImageDocument"})


@dataclass(frozen=True, slots=True)
class MmifType:
    """One type of the vocabulary, as some app or document writes it."""

    name: str
    """`VideoDocument`; the whole URI where it is not of the CLAMS vocabulary."""
    version: str
    """`v2`, or empty where the URI has none."""
    dialect: Dialect
    uri: str
    labels: frozenset[str] = frozenset()
    """Of an app's metadata: the labels that it asks for or promises (`bars`); empty where it does not say."""

    @property
    def is_document(self) -> bool:
        return self.name in DOCUMENT_NAMES or self.name == "Document"

    def __str__(self) -> str:
        labelled = f"{self.name} {' or '.join(sorted(self.labels))}" if self.labels else self.name
        return labelled if self.dialect is not Dialect.OLD else f"{labelled} (old dialect)"

    def hidden_from(self, reader: MmifType) -> bool:
        """Whether a reader that asks for this very thing cannot see it, since it knows the old dialect alone."""
        same = self.name == reader.name and _agree(self.labels, reader.labels)
        return same and reader.dialect is Dialect.OLD and self.dialect is Dialect.NEW


def parse_type(uri: str) -> MmifType:
    """Read a type URI in any dialect; one that is not of the vocabulary is a type of its own."""
    text = uri.strip()
    if match := _NEW.fullmatch(text):
        return MmifType(match["name"], match["version"] or "", Dialect.NEW, text)
    if match := _OLD.fullmatch(text):
        return MmifType(match["name"], match["version"] or "v1", Dialect.OLD, text)
    match = _LAPPS.fullmatch(text)
    if match and match["name"] in _LAPPS_MIGRATED:
        return MmifType(match["name"], "v1", Dialect.LAPPS, text)
    return MmifType(text, "", Dialect.OTHER, text)


def document_type(name: str, dialect: Dialect) -> str:
    """The URI of a document type (`VideoDocument`, …) as mmif-python writes it in that dialect."""
    return _DOCUMENT_URIS[Dialect.OLD if dialect is Dialect.OLD else Dialect.NEW].format(name)


def readable(offered: MmifType, wanted: MmifType) -> bool:
    """Whether an app that asks for `wanted` finds things of type `offered`: same name, in a dialect that it
    reads.

    Versions may differ (apps compare them loosely). An app that asks in the old dialect reads only the old
    one; LAPPS names are read by both.
    """
    if offered.name != wanted.name and not (wanted.name == "Document" and offered.is_document):
        return False
    if not _agree(offered.labels, wanted.labels):
        return False
    return not (wanted.dialect is Dialect.OLD and offered.dialect is Dialect.NEW)


def _agree(one: frozenset[str], other: frozenset[str]) -> bool:
    """Labels agree unless both sides name theirs and have none in common; `*` stands for any."""
    return not one or not other or "*" in one | other or bool(one & other)


@dataclass(frozen=True, slots=True)
class Need:
    """One entry of an app's `input`: it wants one of `alternatives`."""

    alternatives: tuple[MmifType, ...]
    required: bool = True
    """False: the app makes use of it where it is there."""

    def met_by(self, offered: Iterable[MmifType]) -> bool:
        """Whether one of the offered types is one that the app can read."""
        return any(readable(have, want) for have in offered for want in self.alternatives)

    def __str__(self) -> str:
        return " or ".join(dict.fromkeys(str(type_) for type_ in self.alternatives))


def inputs_of(metadata: Mapping[str, Any]) -> list[Need]:
    """What a CLAMS app asks for, from its metadata: all of the list; a nested list means one of it.

    An entry without `required` is required (clams-python leaves it out at its default).
    """
    needs = []
    for entry in _entries(metadata, "input"):
        group = entry if isinstance(entry, list) else [entry]
        types = tuple(_types(group))
        required = all(not isinstance(one, Mapping) or one.get("required") is not False for one in group)
        if types:
            needs.append(Need(types, required))
    return needs


def outputs_of(metadata: Mapping[str, Any]) -> list[MmifType]:
    """What a CLAMS app says that it puts out, from its metadata."""
    return list(_types(_entries(metadata, "output")))


def dialect_for(apps_metadata: Sequence[Mapping[str, Any]]) -> Dialect:
    """The dialect in which the source MMIF of this chain must be written: old as soon as one app reads only
    the old.

    Raises PipelineMismatch, naming both apps, where a later app reads only the old dialect and what it
    requires is written by an earlier app in the new one alone.
    """
    written: list[tuple[str, MmifType]] = []
    for position, metadata in enumerate(apps_metadata, start=1):
        name = f"{app_name(metadata)} (step {position})"
        for need in inputs_of(metadata):
            _refuse_unreadable(name, need, written)
        written += [(name, type_) for type_ in outputs_of(metadata)]
    return Dialect.OLD if any(map(reads_only_old, apps_metadata)) else Dialect.NEW


def reads_only_old(metadata: Mapping[str, Any]) -> bool:
    """Whether an app knows the old dialect alone: all types that it declares are written in it."""
    read = {type_.dialect for need in inputs_of(metadata) for type_ in need.alternatives}
    dialects = read & {Dialect.OLD, Dialect.NEW} or {type_.dialect for type_ in outputs_of(metadata)}
    return Dialect.OLD in dialects and Dialect.NEW not in dialects


def app_name(metadata: Mapping[str, Any]) -> str:
    """What to call an app in a message."""
    return str(metadata.get("name") or metadata.get("identifier") or "an app without a name")


def _refuse_unreadable(reader: str, need: Need, written: list[tuple[str, MmifType]]) -> None:
    """An old app that requires an annotation which only newer apps before it write. Documents are made to
    fit.
    """
    offered = [type_ for _, type_ in written]
    writers = [(writer, type_) for writer, type_ in written if any(map(type_.hidden_from, need.alternatives))]
    met = need.met_by(offered) or any(want.is_document for want in need.alternatives)
    if met or not writers or not need.required:
        return
    writer, type_ = writers[0]
    raise PipelineMismatch(
        f"{reader} reads {need}, but {writer} writes {type_.name} in the new dialect of MMIF types, "
        "which the later app cannot see.",
        hint="Use a newer version of the later app, or an older one of the earlier app.",
    )


def _entries(metadata: Mapping[str, Any], key: str) -> list[Any]:
    value = metadata.get(key)
    return value if isinstance(value, list) else []


def _types(entries: Iterable[Any]) -> Iterator[MmifType]:
    """The types of an app's `input` or `output`, with the labels in their properties (formerly `frameType`)."""
    for entry in entries:
        uri = entry.get("@type") if isinstance(entry, Mapping) else entry
        if isinstance(uri, str) and uri:
            properties = entry.get("properties") if isinstance(entry, Mapping) else None
            yield dataclasses.replace(parse_type(uri), labels=_labels(properties))


def _labels(properties: Any) -> frozenset[str]:
    if not isinstance(properties, Mapping):
        return frozenset()
    said = [properties[key] for key in ("label", "frameType", "labelset") if key in properties]
    flat = [one for value in said for one in (value if isinstance(value, list) else [value])]
    return frozenset(one for one in flat if isinstance(one, str) and one)
