"""What a site file may say of metadata files, packages, publishing and the portal: its tables as models."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from tidemill.pipelines.names import name_fault
from tidemill.pipelines.quantities import seconds


def _name(value: str) -> str:
    if fault := name_fault(value):
        raise ValueError(fault)
    return value


def plain(value: Any) -> Any:
    """TOML's dates and times as the text that JSON would hold."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value.isoformat() if isinstance(value, dt.date | dt.time) else value


Name = Annotated[str, AfterValidator(_name)]
Seconds = Annotated[float, BeforeValidator(seconds)]
Plain = Annotated[dict[str, Any], AfterValidator(plain)]
FieldType = Literal["text", "integer", "number", "boolean", "date", "list"]


class Entry(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class FieldEntry(Entry):
    """One declared metadata key: of items (`fields`) or of projects (`project_fields`)."""

    type: FieldType = "text"
    title: str = ""
    facet: bool = False
    """Offered on the portal's pages to narrow a list by its values."""
    collect: str | None = None
    """The values are gathered when metadata are loaded: from items, their parts, files; see `domain.collecting`."""


class ColumnEntry(Entry):
    """What one column of a metadata file holds, where it is not plain text under its own name."""

    field: str | None = None
    """The metadata key that it becomes; its own name unless told."""
    type: FieldType | None = None
    """None: as the metadata key is declared, else text (of JSON: as it is)."""
    separator: str = ";"
    """Between the values of a list."""
    required: bool = False
    missing: list[str] = Field(default_factory=lambda: ["", "NA"])
    """What stands for no value."""
    values: list[str] | None = None
    """The only ones that there may be."""


class ParallelEntry(Entry):
    """Columns that are lists in step: the first contact's name, its e-mail; the second's …"""

    into: str
    """The metadata key that becomes a list of tables."""
    columns: dict[str, str] = Field(min_length=1)
    """Key in each table: the column."""
    types: dict[str, FieldType] = Field(default_factory=dict)
    """Key in each table: what it holds, where that is not text."""
    separator: str = ";"


class TableEntry(Entry):
    """A kind of metadata file in a source: which keys, and what their rows describe."""

    name: Name
    source: str | None = None
    """Not needed where the site has one source."""
    file: str = Field(min_length=1)
    """A pattern over keys, as layout rules have them: `{project}/samples_metadata.csv`."""
    describes: Literal["projects", "items", "parts"]
    """`parts`: what an item has several of, a library for example; they become a list in the item's metadata."""
    format: Literal["csv", "tsv", "json"] | None = None
    """None: by the file's ending."""
    encoding: str = "utf-8"
    id: str = Field(min_length=1)
    """The column (or JSON key) that names the project, the item or the part; `{name}`: what the file's key has."""
    project: str | None = None
    """The column that names the project of an item or a part, where no file's key does."""
    item: str | None = None
    """For parts: the column that names the item, or several with `separator` between."""
    separator: str = ","
    into: str | None = None
    """For parts: the metadata key of the item that holds their list."""
    columns: dict[str, ColumnEntry] = Field(default_factory=dict)
    parallel: list[ParallelEntry] = Field(default_factory=list)
    ignore: list[str] = Field(default_factory=list)
    """Columns that are left out."""
    required: bool = False
    """Whether a project without such a file is a fault."""


class PackageFilesEntry(Entry):
    """Some of the files that go into a package."""

    of: Literal["items", "project"] = "items"
    """Files that belong to the package's items, or those that belong to its project and to no item."""
    attributes: Plain = Field(default_factory=dict)
    """What a file's attributes must be; a list: one of these."""
    into: str = Field(default="{item}/{name}", min_length=1)
    """Its name inside: `{item}`, `{items}` (joined with `_`), `{project}`, `{name}`, `{key}`, and attributes."""
    required: bool = False
    """Whether there is no package without any of these."""


class PackageTableEntry(Entry):
    """A metadata table inside a package (tab-separated)."""

    name: str = "metadata.tsv"
    rows: str = "items"
    """`items`, or the key of their list of parts: one row for each item and part."""
    columns: list[str] | None = None
    """None: all that any row has, in the order of their names behind the names of project, item and part."""
    project_column: str = ""
    """The column with the project's name; the site's word for a project unless told."""
    item_column: str = ""
    """The column with the item's name; the site's word for an item unless told."""
    where: Plain = Field(default_factory=dict)
    """Parts that have these values; a list: one of these."""


class PackageEntry(Entry):
    """A package that the site makes: of each project or item that qualifies, one; or one of everything (`site`)."""

    name: Name
    title: str = ""
    per: Literal["project", "item", "site"]
    file: str = Field(min_length=1)
    """Its file name: `{project}_SPATIAL.zip`, `{items}` (joined with `-`)."""
    where: Plain = Field(default_factory=dict)
    """Metadata that the project or item must have to get one; a list: one of these."""
    items: Plain = Field(default_factory=dict)
    """Metadata that an item must have to be in it."""
    holding: Plain = Field(default_factory=dict)
    """Attributes that one of an item's files must have for the item to be in it."""
    shared: Literal["without", "with", "only"] = "without"
    """Files that belong to several items: left out, taken in, or nothing but these (a package of several items)."""
    files: list[PackageFilesEntry] = Field(default_factory=list)
    tables: list[PackageTableEntry] = Field(default_factory=list)
    readme: str | None = None
    """A Jinja template; `readme_file` names a file that holds it."""
    readme_file: str | None = None
    readme_name: str = "README.md"
    attributes: Plain = Field(default_factory=dict)
    """What the API and the pages say of it: `format`, `modality`, `includes_merged`, …

    `"{project.key}"` and `"{item.key}"` are looked up; `{has = {…}}`: whether a file with these attributes is in it.
    """


class PublishingEntry(Entry):
    """Where packages go, and for how long."""

    store: str | None = None
    """URL of the bucket or folder that `--update-s3` uploads to; packages lie in the site's folder otherwise."""
    endpoint: str | None = None
    region: str | None = None
    upload: bool = False
    """Upload without being told to."""
    engine: str | None = None
    """The app that packs; None: the workers themselves."""
    link_days: float = Field(default=7, gt=0, le=7)
    """How long a download link is good."""
    keep_replaced: Seconds = Field(default=86400.0, ge=0)
    """How long a replaced package can still be fetched by the links that were given out."""
    dataset_days: float = Field(default=7, gt=0)
    """How long a dataset can be downloaded."""
    originals: bool = False
    """Whether original files can be downloaded one by one, too."""


class TermsEntry(Entry):
    """The terms that people accept before they download; their text is Markdown."""

    version: str = Field(min_length=1)
    text: str | None = None
    text_file: str | None = None


class PortalEntry(Entry):
    """How the site shows itself to people who are not its operators."""

    public: bool = False
    """Whether its catalogue can be read without a key."""
    id: str = "id"
    """The API's word for the name of an item or a project."""
    page_size: int = Field(default=10, ge=1, le=2000)
    cors: list[str] = Field(default_factory=list)
    """Origins of web pages that may read the API; `*`: any."""
    welcome: str = ""
    """Markdown for the portal's first page."""
    terms: TermsEntry | None = None
