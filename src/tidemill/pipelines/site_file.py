"""Reading a site file. Every mistake in it becomes one line: `file:line: what is wrong; what would be right`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tidemill.domain.condition_parsing import read_parts
from tidemill.domain.layout import compile_pattern
from tidemill.domain.quiet_hours import is_zone
from tidemill.errors import AddressForbidden, InvalidInput, SiteFileError
from tidemill.executors.addresses import parse_url
from tidemill.pipelines.apps import AppSettings, check_basics
from tidemill.pipelines.engine_keys import Fault, located, option_faults, unknown_placeholders
from tidemill.pipelines.locations import idle_options, located_store, store_fault
from tidemill.pipelines.pipelines import step_names
from tidemill.pipelines.portal_check import portal_faults
from tidemill.pipelines.schedules import cron_fault
from tidemill.pipelines.site_entries import AppEntry, ScheduleEntry, SiteContent, SourceEntry
from tidemill.pipelines.site_mistakes import Place, fault, singular
from tidemill.pipelines.toml_lines import TomlLines

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
        raise SiteFileError(_joined(path, lines, [fault(data, one) for one in error.errors()])) from None
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
                f"there is another {singular(noun)} named {name!r}, on line {line}; each needs its own name.",
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
    else:
        for key, fault in idle_options(source.url, source.options()):
            yield ("sources", n, key), f"source {source.name!r} {fault}"
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
