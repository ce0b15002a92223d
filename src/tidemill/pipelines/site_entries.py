"""What a site file may say: its tables as models. `docs/reference/site-file.md` describes them for people."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from tidemill.domain.conditions import Condition
from tidemill.domain.layout import LayoutRule
from tidemill.domain.quiet_hours import read_quiet
from tidemill.pipelines.apps import DEADLINE, MAX_ANSWER, AppSettings
from tidemill.pipelines.engine_keys import EngineKeys
from tidemill.pipelines.pipelines import StepWish
from tidemill.pipelines.portal_entries import (
    Entry,
    FieldEntry,
    Name,
    PackageEntry,
    Plain,
    PortalEntry,
    PublishingEntry,
    Seconds,
    TableEntry,
    plain,
)
from tidemill.pipelines.quantities import size
from tidemill.pipelines.schedules import ScheduleWish
from tidemill.pipelines.watching import WatchWish

_WORD = re.compile(r"[^\W\d_][\w -]*")


def _word(value: str) -> str:
    if not _WORD.fullmatch(value):
        raise ValueError("must be a word: letters first, then letters, digits and hyphens")
    return value


Word = Annotated[str, AfterValidator(_word)]
Bytes = Annotated[int, BeforeValidator(size), Field(gt=0)]
Quiet = Annotated[list[dict[str, Any]], BeforeValidator(read_quiet)]


class Vocabulary(Entry):
    """What an item and a project are called here. A word that is not given has its default."""

    item: Word = "item"
    items: Word = "items"
    project: Word = "project"
    projects: Word = "projects"


class LayoutEntry(Entry):
    """One layout rule of a source; see `domain.layout`."""

    pattern: str
    project: Name | None = None
    attributes: Plain = Field(default_factory=dict)
    ignore: bool = False
    split: str = ""
    lock: bool = False

    def rule(self) -> LayoutRule:
        return LayoutRule(self.pattern, self.project, self.attributes, self.ignore, self.split, self.lock)


class SourceEntry(Entry):
    name: Name
    url: str = Field(min_length=1)
    endpoint: str | None = Field(default=None, min_length=1)
    """Address of a service that speaks S3, where it is not Amazon's."""
    region: str | None = Field(default=None, min_length=1)
    anonymous: bool = False
    """Whether it is read without credentials."""
    may_lose: float = Field(default=0.1, ge=0, le=1)
    """Share of its files that a sync may take out of the catalogue unasked."""
    layout: list[LayoutEntry] = Field(min_length=1)

    def options(self) -> dict[str, Any]:
        """How its service is reached, as `Source.options` holds it."""
        return self.model_dump(include={"endpoint", "region", "anonymous"}, exclude_defaults=True)


class AppEntry(Entry, EngineKeys):
    name: Name
    kind: Literal["http", "python", "command", "transfer", "package"] = "http"
    url: str | None = Field(default=None, min_length=1, validate_default=True)
    """Commands and transfers have none of their own."""
    protocol: Literal["clams", "json"] = "clams"
    version: str = ""
    """For apps that cannot say their version themselves; without one their outputs are not used again."""
    concurrency: int | None = Field(default=None, gt=0)
    deadline: Seconds = Field(default=DEADLINE, gt=0)
    max_answer: Bytes = MAX_ANSWER
    tries: int = Field(default=3, gt=0, le=32767)
    backoff: Seconds = Field(default=5, ge=0)
    quiet: Quiet = Field(default_factory=list)

    @field_validator("url")
    @classmethod
    def _has_url(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is None and info.data.get("kind") in ("http", "python"):
            raise PydanticCustomError("missing", "lacks url")
        return url

    def settings(self) -> AppSettings:
        """As they are written: paths and names of sources are `SiteFile.app_settings`'s to resolve."""
        plain = self.model_dump(exclude={"version", *EngineKeys.model_fields})
        options = self.engine_options(self.kind)
        return AppSettings(**plain | {"url": self.url or f"{self.kind}:{self.name}", "options": options})


class StepEntry(Entry):
    app: str
    name: Name | None = None
    parameters: Plain = Field(default_factory=dict)
    tries: int | None = Field(default=None, gt=0, le=32767)
    backoff: Seconds | None = Field(default=None, ge=0)

    def wish(self) -> StepWish:
        return StepWish(self.app, self.name, self.parameters, self.tries, self.backoff)


class PipelineEntry(Entry):
    name: Name
    title: str = ""
    steps: list[StepEntry] = Field(min_length=1)


class ProjectEntry(Entry):
    name: Name
    title: str = ""
    metadata: Plain | None = None
    """None: what the project has stays."""


class WatchEntry(Entry):
    """A watching run: its condition's parts are read by `domain.conditions`."""

    name: Name
    pipeline: str
    status: Any = None
    project: Any = None
    require: Any = None
    where: Any = None
    prefix: Any = None
    files: Any = None
    priority: int = Field(default=0, ge=-(2**31), lt=2**31)
    reuse: bool = True
    quiet: Quiet = Field(default_factory=list)

    def condition(self) -> dict[str, Any]:
        """The parts of the condition that are given."""
        parts = self.model_dump(include={"status", "project", "require", "where", "prefix", "files"}, exclude_none=True)
        return {key: plain(value) for key, value in parts.items()}

    def wish(self) -> WatchWish:
        """Raises InvalidInput where the condition makes no sense."""
        condition = Condition.from_json(self.condition())
        return WatchWish(self.name, self.pipeline, condition, self.priority, self.reuse, self.quiet)


class StartEntry(Entry):
    """The run that a schedule starts."""

    batch: str
    pipeline: str
    priority: int = Field(default=0, ge=-(2**31), lt=2**31)
    reuse: bool = True
    only_not_done: bool = False


class ScheduleEntry(Entry):
    """Something that is done by the clock: `start` or `sync`."""

    name: Name
    cron: str
    zone: str = "UTC"
    start: StartEntry | None = None
    sync: str | None = None

    def wish(self) -> ScheduleWish:
        action = {"start": self.start.model_dump()} if self.start else {"sync": self.sync}
        return ScheduleWish(self.name, self.cron, self.zone, action)


class SiteContent(Entry):
    """A whole site file."""

    title: str = ""
    vocabulary: Vocabulary = Field(default_factory=Vocabulary)
    fields: dict[Name, FieldEntry] = Field(default_factory=dict)
    project_fields: dict[Name, FieldEntry] = Field(default_factory=dict)
    portal: PortalEntry = Field(default_factory=PortalEntry)
    publishing: PublishingEntry = Field(default_factory=PublishingEntry)
    sources: list[SourceEntry] = Field(default_factory=list)
    apps: list[AppEntry] = Field(default_factory=list)
    pipelines: list[PipelineEntry] = Field(default_factory=list)
    projects: list[ProjectEntry] = Field(default_factory=list)
    watching: list[WatchEntry] = Field(default_factory=list)
    schedules: list[ScheduleEntry] = Field(default_factory=list)
    tables: list[TableEntry] = Field(default_factory=list)
    packages: list[PackageEntry] = Field(default_factory=list)
