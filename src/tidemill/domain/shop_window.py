"""What a site shows of itself: its words, what it declares of each noun, and so what each can be asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tidemill.domain.fields import Fields
from tidemill.domain.lookups import Filter, Lookup
from tidemill.domain.vocabulary import Vocabulary, as_key


class Noun(StrEnum):
    """What there are lists of."""

    ITEM = "item"
    PROJECT = "project"
    COMPUTED_FILE = "computed_file"


@dataclass(frozen=True, slots=True)
class Column:
    """A declared field in the narrow copy that lists of a large site are answered from."""

    field: str
    type: str
    column: str
    tallied: bool = False
    """Whether it is kept how many items have which value."""
    lower: str | None = None
    """The column of the same text in small letters, where there are too many values to look through."""

    bits: int = 0
    """How many values it had about, where there are bits of them (see `catalogue/field_bits.py`); 0: there are none."""

    parts: bool = False
    """Whether its values are parted at `bounds`, and there are bits of the parts, since there are too many values."""
    bounds: Sequence[str] = ()

    def told(self) -> dict[str, Any]:
        """As `FieldTable.columns` has it, which processes of the release before read too."""
        told = {"field": self.field, "type": self.type, "column": self.column, "tallied": self.tallied}
        return told if self.lower is None else told | {"lower": self.lower}

    def told_of_bits(self) -> dict[str, Any]:
        """As `FieldTable.bits` has it under the column's name."""
        told: dict[str, Any] = {"bits": self.bits} if self.bits else {}
        return told | {"parts": True, "bounds": list(self.bounds)} if self.parts else told


@dataclass(frozen=True, slots=True)
class FieldCopy:
    """The copy that is there now; see `catalogue/field_index.py`."""

    id: int
    columns: Mapping[str, Column]
    """By field; one of which some value is too long is not among them."""
    named: Column | None = None
    """Items' names."""


_OWN: Mapping[Noun, Mapping[str, str]] = {
    Noun.ITEM: {"status": "text", "created_at": "time", "updated_at": "time"},
    Noun.PROJECT: {"title": "text", "locked": "boolean", "created_at": "time"},
    Noun.COMPUTED_FILE: {
        "id": "integer", "package": "text", "name": "text", "size_in_bytes": "integer", "sha256": "text",
        "created_at": "time", "updated_at": "time",
    },
}  # fmt: skip
"""What every record has, whatever is declared; its name comes before, under the site's word for ids."""


@dataclass(frozen=True, slots=True)
class Window:
    """A site as those see it who are not its operators."""

    title: str = ""
    words: Vocabulary = field(default_factory=Vocabulary)
    id: str = "id"
    """The key that names have in the API's JSON."""
    item_fields: Fields = field(default_factory=dict)
    project_fields: Fields = field(default_factory=dict)
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Of each metadata key that holds a list of parts, or of what stands in step: its keys, as they are declared."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """The attributes that the declarations of packages give to computed files, each with its type."""
    per_item: tuple[str, ...] = ()
    """Packages that are made for items."""
    portal: Mapping[str, Any] = field(default_factory=dict)
    publishing: Mapping[str, Any] = field(default_factory=dict)
    hidden: tuple[int, ...] = ()
    """Ids of the projects that are not shown."""
    hidden_items: tuple[int, ...] = ()
    """Ids of the items that stand in none but these."""
    copy: FieldCopy | None = None

    @classmethod
    def of(cls, site: Mapping[str, Any]) -> Window:
        """From the row of `Site`; one that is not there yet is empty."""
        packages, portal = site.get("packages") or [], site.get("portal") or {}
        return cls(
            title=site.get("title") or "Tidemill",
            words=Vocabulary.of(site.get("vocabulary") or {}),
            id=portal.get("id") or "id",
            item_fields=site.get("fields") or {},
            project_fields=site.get("project_fields") or {},
            columns=_columns(site.get("tables") or []),
            attributes=_attributes(packages, {**(site.get("fields") or {}), **(site.get("project_fields") or {})}),
            per_item=tuple(package["name"] for package in packages if package.get("per") == "item"),
            portal=portal,
            publishing=site.get("publishing") or {},
        )

    @property
    def public(self) -> bool:
        """Whether it can be read without a key."""
        return bool(self.portal.get("public"))

    def fields(self, noun: Noun) -> Fields:
        """What is declared of a noun."""
        if noun is Noun.COMPUTED_FILE:
            return {name: {"type": type_, "title": name} for name, type_ in self.attributes.items()}
        return self.item_fields if noun is Noun.ITEM else self.project_fields

    def own(self, noun: Noun) -> Mapping[str, str]:
        """Type of each value that a record of this noun has undeclared; a declared field goes before."""
        named = {} if noun is Noun.COMPUTED_FILE else {self.id: "text"}
        return named | {name: type_ for name, type_ in _OWN[noun].items() if name not in self.fields(noun)}

    def types(self, noun: Noun) -> dict[str, str]:
        """Type of everything that a list of this noun can be filtered by, relations included, by the filter's name."""
        types = dict(self.own(noun)) | {
            name: declared["type"] for name, declared in self.fields(noun).items() if name != self.id
        }
        for path, other in self.relations(noun).items():
            types[path] = "text"
            types |= {f"{path}__{name}": type_ for name, type_ in self._plain(other).items()}
        return types

    def relations(self, noun: Noun) -> dict[str, Noun]:
        """The nouns that a list of this noun can also be filtered by, by the word that comes before `__`."""
        item, project = as_key(self.words.item), as_key(self.words.project)
        items, projects = as_key(self.words.items), as_key(self.words.projects)
        match noun:
            case Noun.ITEM:
                return {project: Noun.PROJECT, projects: Noun.PROJECT}
            case Noun.PROJECT:
                return {items: Noun.ITEM}
            case _:
                return {project: Noun.PROJECT, item: Noun.ITEM, items: Noun.ITEM}

    def in_project(self, name: str) -> Filter:
        """Of items: in the project of this name."""
        return Filter(f"{as_key(self.words.project)}__{self.id}", "text", Lookup.EXACT, name)

    def numbered(self, number: int) -> Filter:
        """Of computed files: the one of this id."""
        return Filter("id", "integer", Lookup.EXACT, number)

    def _plain(self, noun: Noun) -> dict[str, str]:
        """Type of what a record of this noun has itself, relations left out."""
        return dict(self.own(noun)) | {name: one["type"] for name, one in self.fields(noun).items() if name != self.id}


def _attributes(packages: list[Mapping[str, Any]], fields: Fields) -> dict[str, str]:
    """Each attribute that some package declares, with the type that fits all of its values; what is looked up is yes or
    no where a field of the same name is."""
    found: dict[str, str] = {}
    for package in packages:
        for name, value in (package.get("attributes") or {}).items():
            looked_up = isinstance(value, str) and value.startswith("{")
            type_ = "boolean" if looked_up and fields.get(name, {}).get("type") == "boolean" else _type(value)
            found[name] = type_ if found.get(name, type_) == type_ else "text"
    return {name: type_ for name, type_ in found.items() if name not in _OWN[Noun.COMPUTED_FILE]}


def _columns(tables: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The keys in each list that metadata files make, in the order of the declarations."""
    found: dict[str, list[str]] = {}
    for table in tables:
        for one in table.get("parallel", ()):
            found.setdefault(one["into"], []).extend(one["columns"])
        if table["describes"] == "parts" and (into := table.get("into")):
            columns = table.get("columns", {})
            named = [said.get("field") or name for name, said in columns.items() if name != table["id"]]
            found.setdefault(into, []).extend([columns.get(table["id"], {}).get("field") or table["id"], *named])
    return {key: list(dict.fromkeys(names)) for key, names in found.items()}


def _type(value: Any) -> str:
    if isinstance(value, bool) or (isinstance(value, Mapping) and "has" in value):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "list" if isinstance(value, list) else "text"
