"""MMIF, the JSON document that CLAMS apps hand on (specification 1.2.0, https://mmif.clams.ai): what goes in
at the start of a chain, what people read in it at the end. `mmif_types` knows the type URIs, `mmif_answer`
judges answers.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from posixpath import splitext
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import orjson

from tidemill.domain.mmif_answer import Answer, check_answer, is_mmif
from tidemill.domain.mmif_types import (
    Dialect,
    MmifType,
    Need,
    app_name,
    dialect_for,
    document_type,
    inputs_of,
    outputs_of,
    parse_type,
    readable,
    reads_only_old,
)
from tidemill.errors import InvalidInput

__all__ = [
    "Answer",
    "Dialect",
    "Media",
    "MmifType",
    "Need",
    "app_name",
    "check_answer",
    "dialect_for",
    "document_name",
    "inputs_of",
    "is_mmif",
    "mime_of",
    "outputs_of",
    "parse_type",
    "readable",
    "reads_only_old",
    "source_document",
    "texts",
]

_SPEC = {Dialect.NEW: "http://mmif.clams.ai/1.2.0", Dialect.OLD: "http://mmif.clams.ai/1.1.0"}
_FAMILIES = {
    "video": "VideoDocument",
    "audio": "AudioDocument",
    "image": "ImageDocument",
    "text": "TextDocument",
}
# Suffixes of archives that a machine's own table of MIME types may lack.
_SUFFIXES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mkv": "video/x-matroska",
    ".mov": "video/quicktime",
    ".mxf": "application/mxf",
    ".webm": "video/webm",
    ".avi": "video/x-msvideo",
    ".mpg": "video/mpeg",
    ".mpeg": "video/mpeg",
    ".ts": "video/mp2t",
    ".ogv": "video/ogg",
    ".mp3": "audio/mpeg",
    ".wav": "audio/x-wav",
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".ogg": "audio/ogg",
    ".aac": "audio/aac",
    ".txt": "text/plain",
    ".srt": "text/plain",
    ".vtt": "text/vtt",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
}
_VIDEO_CONTAINERS = frozenset({"application/mxf", "application/mp4", "application/vnd.rn-realmedia"})
_UNREADABLE_IN_PATH = re.compile(r"[?#\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Media:
    """One original file of an item, where an app can reach it."""

    location: str
    """An absolute path, or a `file://`, `http://` or `https://` URL."""
    mime: str = ""
    """Empty: told from the suffix."""


def source_document(item_name: str, media: Sequence[Media], dialect: Dialect) -> bytes:
    """The MMIF that a chain starts from: the item's media as documents `d1`, `d2`, … and no views.

    The same input gives the same bytes, so that finished work is found again by its input. `item_name` stands
    in messages only. Raises InvalidInput for no media, and for a medium that no app could read from its
    location.
    """
    if not media:
        raise InvalidInput(f"{item_name} has no media file to start from.")
    documents = [_document(item_name, one, f"d{n}", dialect) for n, one in enumerate(media, start=1)]
    spec = _SPEC[Dialect.OLD if dialect is Dialect.OLD else Dialect.NEW]
    return orjson.dumps({"metadata": {"mmif": spec}, "documents": documents, "views": []})


def document_name(media: Media) -> str | None:
    """`VideoDocument`, `AudioDocument`, `TextDocument`, `ImageDocument`, or None where the file is none of
    them.
    """
    mime = _mime(media)
    return "VideoDocument" if mime in _VIDEO_CONTAINERS else _FAMILIES.get(mime.partition("/")[0])


def mime_of(path: str) -> str:
    """The MIME type that a path's or key's suffix speaks of; empty where it says nothing."""
    suffix = splitext(path)[1].lower()
    return _SUFFIXES.get(suffix) or mimetypes.types_map.get(suffix, "")


def texts(document: bytes | Mapping[str, Any]) -> list[str]:
    """The text of every TextDocument that the apps wrote, in the order of views and annotations; empty ones
    left out.
    """
    mmif = orjson.loads(document) if isinstance(document, bytes) else document
    return list(_texts(mmif))


def _texts(mmif: Any) -> Iterator[str]:
    views = mmif.get("views") if isinstance(mmif, Mapping) else None
    for view in views if isinstance(views, list) else ():
        annotations = view.get("annotations") if isinstance(view, Mapping) else None
        for annotation in annotations if isinstance(annotations, list) else ():
            text = _text_of(annotation)
            if text:
                yield text


def _text_of(annotation: Any) -> str:
    if not isinstance(annotation, Mapping) or not isinstance(annotation.get("@type"), str):
        return ""
    properties = annotation.get("properties")
    if parse_type(annotation["@type"]).name != "TextDocument" or not isinstance(properties, Mapping):
        return ""
    text = properties.get("text")
    value = text.get("@value") if isinstance(text, Mapping) else text
    return value.strip() if isinstance(value, str) else ""


def _document(item_name: str, media: Media, id_: str, dialect: Dialect) -> dict[str, Any]:
    name = document_name(media)
    if name is None:
        raise InvalidInput(
            f"{item_name}: {media.location} is neither video, audio, image nor text: "
            f"its type is {_mime(media) or 'unknown'}."
        )
    properties = {"mime": _mime(media), "id": id_, "location": _location(item_name, media.location)}
    return {"@type": document_type(name, dialect), "properties": properties}


def _mime(media: Media) -> str:
    if media.mime and media.mime != "application/octet-stream":
        return media.mime.partition(";")[0].strip().lower()
    return mime_of(urlsplit(media.location).path if "://" in media.location else media.location)


def _location(item_name: str, location: str) -> str:
    scheme = location.partition("://")[0].lower() if "://" in location else ""
    if scheme in ("http", "https"):
        return quote(location, safe="/:?#[]@!$&'()*+,;=%~-._")
    if scheme not in ("", "file"):
        raise InvalidInput(f"{item_name}: apps cannot read {location}: they read file:// and http(s):// locations.")
    return _file_location(item_name, unquote(location[len("file://") :]) if scheme else location)


def _file_location(item_name: str, path: str) -> str:
    """`file://` and the bare path: mmif-python takes the URL's path as it stands and never decodes `%20`."""
    if not path.startswith("/"):
        raise InvalidInput(f"{item_name}: {path} is not an absolute path.")
    if _UNREADABLE_IN_PATH.search(path):
        raise InvalidInput(
            f"{item_name}: no app can open {path!r}: mmif-python cuts a file's location at '?' and '#'.",
            hint="Rename the file, or hand it to the apps under another name.",
        )
    return f"file://{path}"
