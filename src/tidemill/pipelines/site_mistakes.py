"""Mistakes in a site file that pydantic found, in words: what is wrong, where, and what would be right."""

from __future__ import annotations

import re
from typing import Any

import orjson
from pydantic_core import ErrorDetails

from tidemill.pipelines.nearest import nearest
from tidemill.pipelines.portal_entries import (
    ColumnEntry,
    Entry,
    FieldEntry,
    PackageEntry,
    PackageFilesEntry,
    PackageTableEntry,
    ParallelEntry,
    PortalEntry,
    PublishingEntry,
    TableEntry,
    TermsEntry,
)
from tidemill.pipelines.site_entries import (
    AppEntry,
    LayoutEntry,
    PipelineEntry,
    ProjectEntry,
    ScheduleEntry,
    SiteContent,
    SourceEntry,
    StartEntry,
    StepEntry,
    Vocabulary,
    WatchEntry,
)

Place = tuple[str | int, ...]

_TABLES: dict[tuple[str, ...], type[Entry]] = {
    (): SiteContent,
    ("vocabulary",): Vocabulary,
    ("fields", "*"): FieldEntry,
    ("project_fields", "*"): FieldEntry,
    ("portal",): PortalEntry,
    ("portal", "terms"): TermsEntry,
    ("publishing",): PublishingEntry,
    ("tables",): TableEntry,
    ("tables", "columns", "*"): ColumnEntry,
    ("tables", "parallel"): ParallelEntry,
    ("packages",): PackageEntry,
    ("packages", "files"): PackageFilesEntry,
    ("packages", "tables"): PackageTableEntry,
    ("sources",): SourceEntry,
    ("sources", "layout"): LayoutEntry,
    ("apps",): AppEntry,
    ("pipelines",): PipelineEntry,
    ("pipelines", "steps"): StepEntry,
    ("projects",): ProjectEntry,
    ("watching",): WatchEntry,
    ("schedules",): ScheduleEntry,
    ("schedules", "start"): StartEntry,
}
_EXAMPLES = {
    "title": '"Riverside Television Archive"',
    "url": '"http://127.0.0.1:5000"',
    "command": '["python", "cli.py", "{input}", "{output}"]',
    "environment": '{ OMP_NUM_THREADS = "1" }',
    "memory": '"2GB"',
    "cpu_time": '"10m"',
    "files": '["*.npz"]',
    "inputs": '{ template = "pulse.npz" }',
    "exit_retry": "[75]",
    "name": '"bars-detector"',
    "concurrency": "4",
    "deadline": '"10m"',
    "max_answer": '"50MB"',
    "tries": "3",
    "backoff": "5",
    "pattern": '"{item}.mp4"',
    "app": '"bars-detector"',
    "parameters": "{ minLines = 3 }",
    "metadata": "{ year = 1987 }",
    "ignore": "true",
    "cron": '"0 2 * * *"',
    "pipeline": '"slates"',
    "batch": '"May"',
    "quiet": '[{ from = "22:00", to = "06:00", zone = "Europe/Berlin" }]',
}
_MUST_BE = {
    "string_type": "text in quotes",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a table",
    "model_type": "a table",
    "list_type": "a list; write its tables as [[…]]",
    "string_too_short": "more than nothing",
}


def fault(data: dict[str, Any], error: ErrorDetails) -> tuple[Place, str]:
    """One of pydantic's errors in our words, and where it is."""
    place = error["loc"]
    key = str(place[-1]) if place else ""
    where = _where(data, place[:-1])
    if error["type"] == "extra_forbidden":
        return place, _unknown_key(place, key, where)
    if error["type"] == "missing":
        return place, f"{where} lacks {key}; {_for_example(key)}."
    label = _where(data, place) if isinstance(place[-1], int) else f"{where}: {key}"
    wrong = f"{label} {_wrong(error, key)}"
    return place, wrong if wrong.endswith("?") else f"{wrong}."


def _wrong(error: ErrorDetails, key: str) -> str:
    context, given = error.get("ctx", {}), _shown(error["input"])
    match error["type"]:
        case "value_error":
            reason = str(context["error"])
            return f"{given} {reason}" if reason.startswith(("is ", "has ", "begins ")) else f"is {given}, but {reason}"
        case "literal_error":
            close = nearest(str(error["input"]), re.findall(r"'([^']*)'", context["expected"]))
            return f"is {given}, but must be {context['expected']}" + (f"; did you mean {close!r}?" if close else "")
        case "greater_than":
            return f"is {given}, but must be more than {context['gt']}"
        case "greater_than_equal":
            return f"is {given}, but must be at least {context['ge']}"
        case "less_than_equal":
            return f"is {given}, but must be at most {context['le']}"
        case "too_short":
            return f"is empty; write at least one [[…{key}]] table" if key in ("layout", "steps") else "is empty"
    right = _MUST_BE.get(error["type"], error["msg"].lower())
    return f"is {given}, but must be {right}" + (f"; {_for_example(key)}" if key in _EXAMPLES else "")


def _unknown_key(place: Place, key: str, where: str) -> str:
    known = [info.alias or name for name, info in _model(place[:-1]).model_fields.items()]
    close = nearest(key, known)
    right = f"did you mean {close!r}?" if close else f"there are: {', '.join(known)}."
    return f"{where} has {key!r}, which is not a key here; {right}"


def _model(place: Place) -> type[Entry]:
    names = tuple(str(part) for part in place if isinstance(part, str))
    for at in (1, 2):  # tables whose keys are names that the site chooses
        if names[at - 1 : at] and names[at - 1] in ("fields", "project_fields", "columns") and len(names) > at:
            names = (*names[:at], "*", *names[at + 1 :])
    return _TABLES[names]


def _where(data: dict[str, Any], place: Place) -> str:
    """What a person calls the table at this place: `app 'bars'`, `pipeline 'slates', step 2`, `vocabulary`."""
    words: list[str] = []
    here: Any = data
    for part in place:
        try:
            here = here[part]
        except (KeyError, IndexError, TypeError):
            here = {}
        if isinstance(part, int):
            noun = singular(words.pop())
            name = here.get("name") if isinstance(here, dict) else None
            words.append(f"{noun} {name!r}" if isinstance(name, str) else f"{noun} {part + 1}")
        else:
            words.append(part)
    return ", ".join(words) or "the site file"


def singular(table: str) -> str:
    """What one entry of a table is called."""
    return "watching run" if table == "watching" else table.removesuffix("s")


def _for_example(key: str) -> str:
    return f"for example {key} = {_EXAMPLES[key]}" if key in _EXAMPLES else f"write {key} = …"


def _shown(value: Any) -> str:
    text = orjson.dumps(value, default=str).decode()
    return text if len(text) <= 60 else text[:59] + "…"
