"""Checking what a site file says of metadata files, and of the fields that are gathered from what they hold."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tidemill.domain.collecting import collect
from tidemill.domain.fields import read_as
from tidemill.domain.tables import ITEMS, PARTS, PROJECTS, Table, from_key
from tidemill.errors import InvalidInput
from tidemill.pipelines.portal_entries import FieldEntry, TableEntry
from tidemill.pipelines.site_entries import SiteContent

Place = tuple[str | int, ...]
Faults = Iterator[tuple[Place, str]]

NOUNS = {PROJECTS: "a project", ITEMS: "an item", PARTS: "a part"}


def table_faults(content: SiteContent) -> Faults:
    """What is wrong with `[[tables]]`, and with `collect` of fields."""
    fields = {name: entry.model_dump() for name, entry in content.fields.items()}
    project_fields = {name: entry.model_dump() for name, entry in content.project_fields.items()}
    for n, entry in enumerate(content.tables):
        table = Table.from_json(entry.model_dump(), fields, project_fields)
        declared = {PROJECTS: content.project_fields, ITEMS: content.fields, PARTS: {}}[entry.describes]
        for place, message in (
            *_pattern(table),
            *_encoding(entry),
            *_belonging(entry),
            *_columns(entry, table, declared),
            *_parallel(entry, declared),
            *_into(entry, content.fields),
        ):
            yield ("tables", n, *place), f"table {entry.name!r}{message}"
    for noun, entries in (("fields", content.fields), ("project_fields", content.project_fields)):
        for name, field in entries.items():
            yield from _collect(noun, name, field)


def _pattern(table: Table) -> Faults:
    try:
        names = set(table.pattern().groupindex)
    except InvalidInput as error:
        yield ("file",), f": {error.message}"
        return
    for key in ("id", "item", "project"):
        placeholder = from_key(getattr(table, key))
        if placeholder is not None and placeholder not in names:
            yield (key,), f" has {key} = {getattr(table, key)!r}, but there is no {{{placeholder}}} in its pattern."
    if table.describes == PARTS and table.item is None and "item" not in names:
        yield (
            ("item",),
            ' does not say which item a part belongs to; write item = "column", or put {item} in its pattern.',
        )
    if table.describes != PROJECTS and table.project is not None and "project" in names:
        yield ("project",), " has {project} in its pattern, and a column for the project as well."
    if table.required and table.describes != PROJECTS and "project" not in names and table.project is None:
        yield ("required",), " is required of each project, but nothing says which project a file belongs to."
    if table.format_of(table.file) is None:
        yield ("file",), ': its files end in neither .csv, .tsv nor .json; write format = "csv", "tsv" or "json".'


def _encoding(entry: TableEntry) -> Faults:
    try:
        usable = b"\n,\t".decode(entry.encoding) == "\n,\t"
    except (LookupError, UnicodeError):
        usable = False
    if not usable:
        yield ("encoding",), f": {entry.encoding!r} is no encoding that is read here; utf-8, latin-1 and cp1252 are."


def _belonging(entry: TableEntry) -> Faults:
    if entry.describes == PARTS and entry.into is None:
        yield (
            ("into",),
            ' describes parts; say under which key of the item they are listed, for example into = "libraries".',
        )
    if entry.describes != PARTS:
        for key in ("into", "item"):
            if getattr(entry, key) is not None:
                yield (key,), f" describes {entry.describes}; only parts have {key}."
    if entry.describes == PROJECTS and entry.project is not None:
        yield ("project",), " describes projects; their column is its id."


def _columns(entry: TableEntry, table: Table, declared: dict[str, FieldEntry]) -> Faults:
    seen: dict[str, str] = {}
    in_step = set(table.parallel_columns())
    for name, column in table.columns.items():
        said, place = entry.columns[name], ("columns", name)
        where = f", column {name!r}"
        if (first := seen.setdefault(column.field, name)) != name:
            yield (*place, "field"), f"{where} becomes {column.field!r}, as column {first!r} does."
        if name in entry.ignore or name in in_step:
            yield (
                place,
                f"{where} is also {'ignored' if name in entry.ignore else 'in a parallel list'}; one of the two.",
            )
        field = declared.get(column.field)
        if field is not None and field.collect is not None:
            yield place, f"{where} becomes {column.field!r}, which is declared as gathered (collect)."
        if said.type is not None and field is not None and said.type != field.type:
            yield (*place, "type"), f"{where} is {said.type!r}, but {column.field!r} is declared as {field.type!r}."
        if not said.separator:
            yield (*place, "separator"), f"{where} has an empty separator."
        for value in said.values or ():
            if fault := _no_value(column.type, value):
                yield (*place, "values"), f"{where}: {fault}."


def _no_value(type_: str | None, value: str) -> str | None:
    try:
        read_as(type_ if type_ not in (None, "list") else "text", value)
    except ValueError as error:
        return str(error)
    return None


def _parallel(entry: TableEntry, declared: dict[str, FieldEntry]) -> Faults:
    fields = {column.field or name for name, column in entry.columns.items()}
    for n, one in enumerate(entry.parallel):
        where = f", parallel list {one.into!r}"
        if one.into in fields or one.into in [other.into for other in entry.parallel[:n]]:
            yield ("parallel", n, "into"), f"{where}: there is another column or list that becomes {one.into!r}."
        if one.into in declared and declared[one.into].type != "list":
            yield ("parallel", n, "into"), f"{where} is declared as {declared[one.into].type!r}; it must be a list."
        if not one.separator:
            yield ("parallel", n, "separator"), f"{where} has an empty separator."
        for key in sorted(one.types.keys() - one.columns.keys()):
            yield ("parallel", n, "types"), f"{where} has a type for {key!r}, which none of its columns becomes."


def _into(entry: TableEntry, fields: dict[str, FieldEntry]) -> Faults:
    if entry.into is not None and entry.into in fields and fields[entry.into].type != "list":
        yield ("into",), f" makes a list {entry.into!r}, which is declared as {fields[entry.into].type!r}."


def _collect(noun: str, name: str, field: FieldEntry) -> Faults:
    if field.collect is None:
        return
    place = (noun, name, "collect")
    try:
        collect(name, field.type, field.collect)
    except InvalidInput as error:
        yield place, " ".join(filter(None, [f"{noun}.{name}: {error.message}", error.hint]))
    if noun == "fields" and re.match(r"#items$|[^@#]*$", field.collect) and "." not in field.collect.partition("=")[0]:
        right = (
            'an item gathers from its files ("@modality", "#files") or its parts ("libraries.technology", "#libraries")'
        )
        yield place, f"fields.{name}: collect = {field.collect!r} gathers from items; {right}."
