"""Whether what a CLAMS app answered can be kept: it is MMIF, nothing earlier is lost, and a new view has no
error.

Apps read the whole MMIF and write it out again, and mmif-python rewrites what it read without changing its
meaning (seen in 1.1.2 and 1.5.4): annotation ids get their view's id in front, properties shared by all
annotations of a type move to the view's `contains`, `contains` entries without annotations go, renamed
properties get their new name, LAPPS types their CLAMS name, and properties that an app adds to an old
document land as an `Annotation` in an earlier view. So earlier parts are compared as they stand first and by
meaning where that differs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tidemill.domain.mmif_types import parse_type

Json = dict[str, Any]

# Old name → new name, from clams-vocabulary 1.2.0 (`_property_aliases`).
_RENAMED = {"frameType": "label", "boxType": "label", "word": "text", "classifications": "classification"}
_HOPELESS = ("Value for parameter", "Cannot find configuration for a required parameter")

# As clams-python writes them: `<class 'ValueError'>: …` and `{message : UserWarning('…'), category : …}`.
_CLASS = re.compile(r"^<class '(?:[\w.]*\.)?(\w+)'>")
_WARNING = re.compile(r"^\{message : \w+\((?P<quote>['\"])(?P<message>.*)(?P=quote)\), category : ", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Answer:
    """The verdict on one answer."""

    problem: str | None = None
    """One sentence in words; None where the answer is good."""
    is_mmif: bool = False
    app_failed: bool = False
    """The app itself says that it failed, in a new view with `metadata.error`."""
    retry: bool = True
    """With a problem: whether the same call could go better next time."""
    log: str = ""
    """Warnings, the app's stack trace, and what was rewritten."""
    new_views: tuple[str, ...] = ()
    apps: tuple[str, ...] = ()
    """The identifiers of the apps that signed the new views."""
    app_version: str = ""


def is_mmif(value: Any) -> bool:
    """Whether a JSON value has the shape of MMIF: `metadata.mmif`, a list of documents, a list of views."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("metadata"), dict)
        and isinstance(value["metadata"].get("mmif"), str)
        and isinstance(value.get("documents"), list)
        and isinstance(value.get("views"), list)
    )


def check_answer(before: bytes | Json, after: bytes) -> Answer:
    """Judge `after`, the bytes that an app answered when it was given the MMIF `before`.

    Never raises for what the app did. JSON is read strictly: UTF-8, no NaN, no lone surrogates, one object.
    """
    try:
        answer = orjson.loads(after)
    except orjson.JSONDecodeError as error:
        return Answer(_not_json(after, error))
    if not is_mmif(answer):
        return Answer("The app answered with JSON that is not MMIF: " + _what_lacks(answer))
    earlier: Json = orjson.loads(before) if isinstance(before, bytes) else before
    return _compare(earlier, answer)


def _compare(before: Json, after: Json) -> Answer:
    known = _by_id(before["views"])
    new = [view for view in after["views"] if not isinstance(view, dict) or str(view.get("id")) not in known]
    notes: list[str] = []
    error = _error_of(new)
    problem = _shape(after["views"]) or _lost_documents(before, after) or _lost_views(known, after, notes)
    if problem is None and not new:
        problem = "The app answered with the MMIF that it was given: it added no view."
    views = [view for view in new if isinstance(view, dict)]
    apps = tuple(dict.fromkeys(str(_metadata(view).get("app", "")) for view in views))
    message, trace = error or ("", "")
    return Answer(
        problem=f"The app failed: {message}" if error else problem,
        is_mmif=True,
        app_failed=error is not None,
        retry=error is not None and not any(words in f"{message}{trace}" for words in _HOPELESS),
        log="\n".join([*filter(None, [trace]), *_warnings(views), *notes]),
        new_views=tuple(str(view.get("id")) for view in views),
        apps=apps,
        app_version=_version(apps),
    )


def _shape(views: list[Any]) -> str | None:
    seen: set[str] = set()
    for position, view in enumerate(views, start=1):
        if not isinstance(view, dict) or not isinstance(view.get("id"), str):
            return f"View number {position} of the answer has no id."
        if not isinstance(view.get("metadata"), dict) or not isinstance(view.get("annotations", []), list):
            return f"View {view['id']} of the answer has no metadata, or annotations that are not a list."
        if view["id"] in seen:
            return f"The answer has two views with the id {view['id']}."
        seen.add(view["id"])
    return None


def _lost_documents(before: Json, after: Json) -> str | None:
    answered = _by_id(after["documents"])
    for id_, document in _by_id(before["documents"]).items():
        if id_ not in answered:
            return f"The answer has lost the document {id_}, which it was given."
        if answered[id_] != document and _plain(answered[id_], "", {}) != _plain(document, "", {}):
            return f"The answer has changed the document {id_}: {_difference(document, answered[id_])}."
    return None


def _lost_views(known: Mapping[str, Json], after: Json, notes: list[str]) -> str | None:
    answered = _by_id(after["views"])
    for id_, view in known.items():
        signed = f"{id_} (by {_metadata(view).get('app', 'an unknown app')})"
        if id_ not in answered:
            return f"The answer has lost the view {signed}, which an earlier step wrote."
        if answered[id_] == view:
            continue
        change = _changed(view, answered[id_], notes)
        if change:
            return f"The answer has changed the view {signed}, which an earlier step wrote: {change}."
    return None


def _changed(old: Json, new: Json, notes: list[str]) -> str | None:
    """What differs in meaning between two writings of a view; `notes` gets what differs in writing only."""
    if _signature(old) != _signature(new):
        return _difference(_signature(old), _signature(new))
    was, now = _annotations(old), _annotations(new)
    if lost := [id_ for id_ in was if id_ not in now]:
        return f"{len(lost)} of its {len(was)} annotations are gone ({', '.join(lost[:3])}…)"
    if changed := next((id_ for id_ in was if was[id_] != now[id_]), None):
        return f"annotation {changed}: {_difference(was[changed], now[changed])}"
    added = [id_ for id_ in now if id_ not in was]
    if strangers := [id_ for id_ in added if now[id_]["@type"] != ("Annotation", now[id_]["@type"][1])]:
        return f"{len(strangers)} annotations were added to it ({', '.join(strangers[:3])})"
    more = f" and added {len(added)} properties of documents to it" if added else ""
    notes.append(f"The app wrote view {old.get('id')} in another form, with the same meaning{more}.")
    return None


def _signature(view: Json) -> Json:
    """The metadata that a rewrite must keep: all but `contains` (see `_annotations`) and what is empty."""
    skipped = ("contains", "timestamp")
    return {key: value for key, value in _metadata(view).items() if key not in skipped and value not in ({}, [], "")}


def _annotations(view: Json) -> dict[str, Json]:
    """The annotations of a view by short id, each with the properties that `contains` gives to all of its
    type.
    """
    contains = _metadata(view).get("contains")
    shared = {
        _type_key(uri): properties
        for uri, properties in (contains.items() if isinstance(contains, dict) else ())
        if isinstance(properties, dict)
    }
    plain = [_plain(one, f"{view.get('id')}:", shared) for one in view.get("annotations") or ()]
    return {str(one["properties"].get("id", position)): one for position, one in enumerate(plain)}


def _plain(annotation: Any, prefix: str, shared: Mapping[Any, Json]) -> Json:
    if not isinstance(annotation, dict) or not isinstance(annotation.get("properties"), dict):
        return {"@type": ("", ""), "properties": {"?": annotation}}
    type_ = _type_key(str(annotation.get("@type", "")))
    merged = {**shared.get(type_, {}), **annotation["properties"]}
    properties = {_RENAMED.get(key, key): _short(value, prefix) for key, value in merged.items()}
    return {"@type": type_, "properties": properties}


def _short(value: Any, prefix: str) -> Any:
    """References within a view may be written with the view's id in front, or without."""
    if isinstance(value, str):
        return value.removeprefix(prefix) if prefix else value
    if isinstance(value, list):
        return [_short(one, prefix) for one in value]
    return value


def _type_key(uri: str) -> tuple[str, str]:
    type_ = parse_type(uri)
    return type_.name, type_.version


def _difference(old: Json, new: Json) -> str:
    old_parts, new_parts = _flat(old), _flat(new)
    for key in old_parts:
        if key not in new_parts:
            return f"{key} is gone"
        if old_parts[key] != new_parts[key]:
            return f"{key} was {_excerpt(old_parts[key])} and is {_excerpt(new_parts[key])}"
    return f"{next((key for key in new_parts if key not in old_parts), 'something')} was added"


def _flat(value: Json) -> Json:
    properties = value.get("properties")
    return {**value, **properties, "properties": ""} if isinstance(properties, dict) else value


def _excerpt(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _by_id(entries: Iterable[Any]) -> dict[str, Json]:
    """Documents and views by id; a document keeps its id among its properties."""
    found = {}
    for entry in entries:
        if isinstance(entry, dict):
            properties = entry.get("properties")
            id_ = entry.get("id") or (properties.get("id") if isinstance(properties, dict) else None)
            found[str(id_)] = entry
    return found


def _metadata(view: Json) -> Json:
    metadata = view.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _error_of(views: Iterable[Any]) -> tuple[str, str] | None:
    """Message and stack trace of the first new view with an error."""
    for view in views:
        error = _metadata(view).get("error") if isinstance(view, dict) else None
        if isinstance(error, dict):
            message = str(error.get("message") or "no reason given")
            return _CLASS.sub(r"\1", message), str(error.get("stackTrace") or "")
        if error:
            return str(error), ""
    return None


def _warnings(views: Iterable[Json]) -> list[str]:
    found = []
    for view in views:
        warnings = _metadata(view).get("warnings")
        found += [_warning(warning) for warning in warnings] if isinstance(warnings, list) else []
    return found


def _warning(text: Any) -> str:
    """mmif-python writes a Python warning as its `repr`, with the file and line of its own code."""
    match = _WARNING.match(str(text))
    return f"warning: {match['message'] if match else text}"


def _version(apps: tuple[str, ...]) -> str:
    """The last part of an app's identifier: `http://apps.clams.ai/slate-reader/v1.2` says `v1.2`."""
    return apps[0].rstrip("/").rpartition("/")[2] if len(apps) > 0 and apps[0].count("/") > 3 else ""


def _not_json(body: bytes, error: ValueError) -> str:
    start = body[:200].lstrip()
    if not start:
        return "The app answered with an empty body, not MMIF."
    if start[:1] == b"<":
        return f"The app answered with an HTML page, not MMIF: {first_line(body)}"
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as wrong:
        return f"The app's answer is not UTF-8 (byte {wrong.start} of {len(body)}), as MMIF must be."
    if start[:1] in b"{[":
        return f"The app's answer is cut short or broken JSON ({len(body)} bytes): {error}."
    return f"The app answered with text, not MMIF: {first_line(body)}"


def first_line(body: bytes, length: int = 120) -> str:
    """The first line that says something, for a person: tags left as they are, cut at `length` characters."""
    text = body[:4000].decode("utf-8", "replace")
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= length else line[: length - 1] + "…"


def _what_lacks(value: Any) -> str:
    if not isinstance(value, dict):
        return f"a {type(value).__name__} where an object should be."
    missing = [key for key in ("metadata", "documents", "views") if key not in value]
    return f"it lacks {', '.join(missing)}." if missing else "its metadata, documents or views have the wrong shape."
