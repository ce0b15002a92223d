"""The form of a record: declared keys as inputs, all others as JSON; and what a person changed in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.domain.fields import Fields, fits, from_text
from tidemill.domain.item_edits import same
from tidemill.domain.stored_json import read_json
from tidemill.errors import InvalidInput

OWN = ("status", "reason")
ROWS = (6, 30)
"""The fewest and the most lines of the JSON's box."""


@dataclass(frozen=True, slots=True)
class RecordForm:
    """What the template draws. `began`: the record as it was when the form was made, as JSON."""

    revision: int
    began: str
    status: str
    reason: str
    fields: list[dict[str, str]]
    """Of each declared key: `key, title, type, value`."""
    rest: str

    @property
    def rows(self) -> int:
        """How many lines the JSON's box has."""
        return max(ROWS[0], min(ROWS[1], self.rest.count("\n") + 2))


def drawn(record: Mapping[str, Any], fields: Fields, began: Mapping[str, Any] | None = None) -> RecordForm:
    """The form of a record (`status, status_reason, metadata, revision`); `began` where that is another one."""
    metadata = dict(record["metadata"])
    inputs = []
    for key, field in fields.items():
        value = metadata.get(key)
        if value is None or _has_input(value, field["type"]):
            metadata.pop(key, None)
            shown = "" if value is None else value if isinstance(value, str) else json.dumps(value)
            inputs.append({"key": key, "title": field.get("title") or key, "type": field["type"], "value": shown})
    was = {key: (began or record)[key] for key in ("status", "status_reason", "metadata")}
    rest = json.dumps(metadata, ensure_ascii=False, indent=2, sort_keys=True)
    return RecordForm(record["revision"], json.dumps(was), record["status"], record["status_reason"], inputs, rest)


def redrawn(typed: Mapping[str, str], fields: Fields) -> RecordForm:
    """The form as it was typed, for whoever has to mend it."""
    inputs = [
        {"key": key, "title": field.get("title") or key, "type": field["type"], "value": typed[f"field.{key}"]}
        for key, field in fields.items()
        if f"field.{key}" in typed
    ]
    words = [typed.get(name, "") for name in ("began", *OWN)]
    return RecordForm(revision(typed), words[0], words[1], words[2], inputs, typed.get("rest", ""))


def revision(typed: Mapping[str, str]) -> int:
    """The revision that the form was made of. Raises InvalidInput."""
    word = typed.get("revision", "")
    if not word.isdecimal() or len(word) > 18:
        raise InvalidInput("The form does not say of which revision it is: open it anew.")
    return int(word)


def began(typed: Mapping[str, str]) -> dict[str, Any]:
    """The record as it was when the form was made. Raises InvalidInput."""
    was = read_json(typed.get("began", ""))
    if not isinstance(was, dict) or not isinstance(was.get("metadata"), dict):
        raise InvalidInput("The form does not say how the record was: open it anew.")
    return was


def patch(typed: Mapping[str, str], fields: Fields) -> dict[str, Any]:
    """What a person changed, as `edits.apply` takes it, without name and revision. Raises InvalidInput."""
    was = began(typed)
    wanted = _metadata(typed, fields, was["metadata"])
    metadata = {key: value for key, value in wanted.items() if not same(value, was["metadata"].get(key))}
    metadata |= {key: None for key in was["metadata"] if key not in wanted}
    edit: dict[str, Any] = {"metadata": metadata}
    status, reason = (typed.get(name, "").strip() for name in OWN)
    if status != was.get("status"):
        edit["status"] = status
    if reason != was.get("status_reason"):
        edit["reason"] = reason
    return edit


def with_patch(record: Mapping[str, Any], edit: Mapping[str, Any]) -> dict[str, Any]:
    """A record with a person's changes put into it."""
    metadata = {key: value for key, value in {**record["metadata"], **edit["metadata"]}.items() if value is not None}
    status, reason = edit.get("status", record["status"]), edit.get("reason", record["status_reason"])
    return {**record, "status": status, "status_reason": reason, "metadata": metadata}


def rivals(was: Mapping[str, Any], now: Mapping[str, Any], edit: Mapping[str, Any]) -> list[dict[str, str]]:
    """What differs, key by key: when the form was made, now, and as the person wants it."""
    named = {"status": "status", "status_reason": "reason"}
    rows = [(key, was[key] or None, now[key] or None, edit.get(name, was[key]) or None) for key, name in named.items()]
    before, here, yours = was["metadata"], now["metadata"], edit["metadata"]
    for key in sorted({*before, *here, *yours}):
        rows.append((key, before.get(key), here.get(key), yours[key] if key in yours else before.get(key)))
    return [
        {
            "key": key,
            "began": _shown(a),
            "now": _shown(b),
            "yours": _shown(c),
            "taken": "now" if same(a, c) else "yours",
        }
        for key, a, b, c in rows
        if not same(b, c)
    ]


def _metadata(typed: Mapping[str, str], fields: Fields, was: Mapping[str, Any]) -> dict[str, Any]:
    try:
        rest = read_json(typed.get("rest", "").strip() or "{}")
    except InvalidInput as error:
        raise InvalidInput(f"The JSON cannot be read: {error.message}") from None
    if not isinstance(rest, dict):
        raise InvalidInput('The JSON must be an object: { "key": value, … }.')
    found = {key: value for key, value in rest.items() if value is not None}
    for key in fields:
        text = typed.get(f"field.{key}")
        if text is None or (text == "" and was.get(key) != ""):
            continue
        if key in found:
            raise InvalidInput(f"{key} stands in its own field and in the JSON.")
        found[key] = from_text(key, text, fields) if text else ""
    return found


def _has_input(value: Any, type_: str) -> bool:
    """Whether an input can hold the value as it is."""
    return fits(value, type_) and not (isinstance(value, str) and any(sign in value for sign in "\r\n"))


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    shown = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= 400 else shown[:400] + "…"
