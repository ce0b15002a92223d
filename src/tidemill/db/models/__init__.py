"""The tables. One module per group of nouns; Alembic and the tests read `Base.metadata`."""

from tidemill.db.models.apps import App, AppVersion, Pipeline, PipelineVersion, Step
from tidemill.db.models.base import Base
from tidemill.db.models.catalogue import File, Item, ItemFile, Project, ProjectItem, Site, Source
from tidemill.db.models.runs import (
    Attempt,
    Batch,
    BatchItem,
    Change,
    Document,
    Run,
    Task,
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
    "Document",
    "File",
    "Item",
    "ItemFile",
    "Pipeline",
    "PipelineVersion",
    "Project",
    "ProjectItem",
    "Run",
    "Site",
    "Source",
    "Step",
    "Task",
    "Worker",
]
