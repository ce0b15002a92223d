"""Reading a site file. Every mistake in it becomes one line: `file:line: what is wrong; what would be right`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tidemill.domain.condition_parsing import read_parts
from tidemill.domain.layout import compile_pattern
from tidemill.domain.quiet_hours import is_zone
from tidemill.errors import AddressForbidden, InvalidInput, SiteFileError
from tidemill.executors.addresses import parse_url
from tidemill.pipelines.apps import AppSettings, check_basics
from tidemill.pipelines.engine_keys import Fault, located, option_faults, unknown_placeholders
from tidemill.pipelines.locations import located_store, store_fault
from tidemill.pipelines.nearest import nearest
from tidemill.pipelines.pipelines import step_names
from tidemill.pipelines.portal_check import portal_faults
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
from tidemill.pipelines.schedules import cron_fault
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
from tidemill.pipelines.toml_lines import TomlLines

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
_SYNTAX_LINE = re.compile(r"\s*\(at (?:line (\d+), column \d+|end of document)\)")


@dataclass(frozen=True, slots=True)
class SiteFile:
    """A site file that holds no mistake in itself; whether its apps and chains fit is `apply`'s to find out."""

    path: Path
    content: SiteContent
    lines: TomlLines

    def at(self, place: Sequence[str | int], message: str) -> str:
        """A message with file and line in front."""
        return f"{self.path}:{self.lines.line(place)}: {message}"

    def source_url(self, entry: SourceEntry) -> str:
        """A source's URL; a folder as a `file://` URL, and a relative one lies beside the site file."""
        return located_store(entry.url, self.path.absolute().parent)

    def app_settings(self, entry: AppEntry) -> AppSettings:
        """An app's settings; relative paths lie beside the site file, names of sources are their URLs."""
        settings = entry.settings()
        return replace(settings, options=self.app_options(entry, settings.options)[0])

    def app_options(self, entry: AppEntry, options: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
        sources = {source.name: self.source_url(source) for source in self.content.sources}
        return located(entry.kind, options, self.path.absolute().parent, sources)


def read_site_file(path: Path) -> SiteFile:
    """Read a site file. Raises SiteFileError with every mistake, one a line."""
    try:
        return parse_site_file(path.read_text(encoding="utf-8"), path)
    except UnicodeDecodeError as error:
        raise SiteFileError(f"{path}: this is not UTF-8 (byte {error.start}), as TOML must be.") from None
    except OSError as error:
        raise SiteFileError(f"{path}: cannot be read: {error.strerror}.") from None


def parse_site_file(text: str, path: Path) -> SiteFile:
    """The same from a text; `path` stands in messages, and relative folders lie beside it."""
    try:
        data = tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        raise SiteFileError(_syntax(text, path, str(error))) from None
    lines = TomlLines(text.removeprefix("\ufeff").replace("\r\n", "\n"))
    try:
        file = SiteFile(path, SiteContent.model_validate(data), lines)
    except ValidationError as error:
        raise SiteFileError(_joined(path, lines, [_fault(data, one) for one in error.errors()])) from None
    faults = list(_inner_faults(file))
    if faults:
        raise SiteFileError(_joined(path, lines, faults))
    return file


def _joined(path: Path, lines: TomlLines, faults: list[tuple[Place, str]]) -> str:
    placed = sorted((lines.line(place), message) for place, message in faults)
    return "\n".join(dict.fromkeys(f"{path}:{line}: {message}" for line, message in placed))


def _syntax(text: str, path: Path, message: str) -> str:
    match = _SYNTAX_LINE.search(message)
    line = int(match[1]) if match and match[1] else len(text.splitlines())
    return f"{path}:{line}: this is not TOML: {_SYNTAX_LINE.sub('', message)}."


def _fault(data: dict[str, Any], error: ErrorDetails) -> tuple[Place, str]:
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
            noun = _singular(words.pop())
            name = here.get("name") if isinstance(here, dict) else None
            words.append(f"{noun} {name!r}" if isinstance(name, str) else f"{noun} {part + 1}")
        else:
            words.append(part)
    return ", ".join(words) or "the site file"


def _singular(table: str) -> str:
    return "watching run" if table == "watching" else table.removesuffix("s")


def _for_example(key: str) -> str:
    return f"for example {key} = {_EXAMPLES[key]}" if key in _EXAMPLES else f"write {key} = …"


def _shown(value: Any) -> str:
    text = orjson.dumps(value, default=str).decode()
    return text if len(text) <= 60 else text[:59] + "…"


def _inner_faults(file: SiteFile) -> Iterator[tuple[Place, str]]:
    """What pydantic cannot know: names that stand twice, URLs, layout patterns, steps' names."""
    content = file.content
    for noun in ("sources", "apps", "pipelines", "projects", "watching", "schedules", "tables", "packages"):
        yield from _twice(file, noun, [entry.name for entry in getattr(content, noun)])
    if len(set(content.vocabulary.model_dump().values())) < 4:
        yield ("vocabulary",), "vocabulary has one word for two things; item, items, project, projects must differ."
    for n, source in enumerate(content.sources):
        yield from _source_faults(n, source)
    for n, app in enumerate(content.apps):
        yield from _app_faults(n, app)
        yield from _option_faults(file, n, app)
    for n, watch in enumerate(content.watching):
        for place, message in read_parts(watch.condition())[1]:
            yield ("watching", n, *place), f"watching run {watch.name!r}: {message}"
    for n, schedule in enumerate(content.schedules):
        yield from _schedule_faults(n, schedule)
    yield from portal_faults(content, file.path.absolute().parent)
    for n, pipeline in enumerate(content.pipelines):
        names = step_names([step.wish() for step in pipeline.steps])
        for position, name in enumerate(names):
            if name in names[:position]:
                yield (
                    ("pipelines", n, "steps", position, "name"),
                    f"pipeline {pipeline.name!r} has another step named {name!r}; give each its own name.",
                )


def _twice(file: SiteFile, noun: str, names: list[str]) -> Iterator[tuple[Place, str]]:
    for n, name in enumerate(names):
        if (first := names.index(name)) < n:
            line = file.lines.line((noun, first))
            yield (
                (noun, n, "name"),
                f"there is another {_singular(noun)} named {name!r}, on line {line}; each needs its own name.",
            )


def _schedule_faults(n: int, schedule: ScheduleEntry) -> Iterator[tuple[Place, str]]:
    if (schedule.start is None) is (schedule.sync is None):
        said = "neither" if schedule.start is None else "both"
        yield ("schedules", n), f"schedule {schedule.name!r} has {said} of start and sync; it does one of the two."
    if fault := cron_fault(schedule.cron):
        yield ("schedules", n, "cron"), f"schedule {schedule.name!r}: {fault}"
    if not is_zone(schedule.zone):
        right = "Europe/Berlin is one"
        yield ("schedules", n, "zone"), f"schedule {schedule.name!r}: {schedule.zone!r} is no time zone; {right}."


def _source_faults(n: int, source: SourceEntry) -> Iterator[tuple[Place, str]]:
    if fault := store_fault("url", source.url):
        yield ("sources", n, "url"), f"source {source.name!r} {fault}"
    for position, rule in enumerate(source.layout):
        try:
            compile_pattern(rule.rule())
        except InvalidInput as error:
            yield ("sources", n, "layout", position, "pattern"), " ".join(filter(None, [error.message, error.hint]))


def _option_faults(file: SiteFile, n: int, app: AppEntry) -> Iterator[tuple[Place, str]]:
    options, faults = file.app_options(app, app.engine_options(app.kind))
    faults += [*app.misplaced(app.kind), *option_faults(app.kind, options)]
    if app.kind == "command" and not faults:
        steps = [step for pipeline in file.content.pipelines for step in pipeline.steps if step.app == app.name]
        faults += unknown_placeholders(options, [name for step in steps for name in step.parameters])
    for place, message in faults:
        yield ("apps", n, *place), f"app {app.name!r}: {message}"


def _app_faults(n: int, app: AppEntry) -> Iterator[tuple[Place, str]]:
    if app.url is not None and app.kind in ("command", "transfer", "package"):
        yield ("apps", n, "url"), f"app {app.name!r}: a {app.kind} has no url; leave it out."
    try:
        check_basics(app.settings())
        if app.kind == "http":
            parse_url(app.url or "")
    except (InvalidInput, AddressForbidden) as error:
        yield ("apps", n, "url"), f"app {app.name!r}: {error.message}"
    if app.version and app.kind == "http" and app.protocol == "clams":
        yield ("apps", n, "version"), f"app {app.name!r}: a CLAMS app says its version itself; leave version out."
