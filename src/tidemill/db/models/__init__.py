"""The tables. One module per group of nouns; Alembic and the tests read `Base.metadata`."""

from tidemill.db.models.accounts import Token
from tidemill.db.models.apps import App, AppVersion, Pipeline, PipelineVersion, Step
from tidemill.db.models.base import Base
from tidemill.db.models.catalogue import File, Import, Item, ItemFile, PastStep, Project, ProjectItem, Site, Source
from tidemill.db.models.runs import (
    Attempt,
    Batch,
    BatchItem,
    Change,
    Consumer,
    Document,
    LiveLog,
    Run,
    Schedule,
    Tally,
    Task,
    Watch,
    Worker,
)

__all__ = [
    "App",
    "AppVersion",
    "Attempt",
    "Base",
    "Batch",
    "BatchItem",
    "Change",
    "Consumer",
    "Document",
    "File",
    "Import",
    "Item",
    "ItemFile",
    "LiveLog",
    "PastStep",
    "Pipeline",
    "PipelineVersion",
    "Project",
    "ProjectItem",
    "Run",
    "Schedule",
    "Site",
    "Source",
    "Step",
    "Tally",
    "Task",
    "Token",
    "Watch",
    "Worker",
]
