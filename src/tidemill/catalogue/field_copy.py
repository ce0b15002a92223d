"""What belongs to a narrow copy of declared fields (`field_index.py`): its columns, and the names of its tables."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg.sql import Composable, Identifier

from tidemill.domain.shop_window import Column

SCHEMA = "tidemill_fields"

NAMED = Column("", "text", "name", parts=True)
"""Items' names, parted as a field with many values is."""


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy: the names of all that belongs to it."""

    id: int
    columns: tuple[Column, ...]
    named: Column = NAMED

    @property
    def records(self) -> Composable:
        return Identifier(SCHEMA, f"record_{self.id}")

    @property
    def keep(self) -> Composable:
        return Identifier(SCHEMA, f"keep_{self.id}")

    @property
    def count(self) -> Composable:
        return Identifier(SCHEMA, f"count_{self.id}")

    def tally(self, column: Column) -> Composable:
        return tally_of(self.id, column)

    @property
    def with_bits(self) -> list[Column]:
        return [column for column in (*self.columns, self.named) if column.bits or column.parts]

    @property
    def tallied(self) -> list[Column]:
        return [column for column in self.columns if column.tallied]


def records_of(id_: int) -> Composable:
    """The table of a copy."""
    return Identifier(SCHEMA, f"record_{id_}")


def tally_of(id_: int, column: Column) -> Composable:
    """The tally of one of its columns."""
    return Identifier(SCHEMA, f"tally_{id_}_{column.column}")


def grams_of(id_: int, column: Column) -> str:
    """The name of the index on the pieces of a column's texts."""
    return f"grams_{id_}_{column.column}"


def bits_of(id_: int, column: Column) -> Composable:
    """The bits of one of a copy's columns."""
    return Identifier(SCHEMA, f"bits_{id_}_{column.column}")


def stale_of(id_: int) -> Composable:
    """In which stretches somebody wrote."""
    return Identifier(SCHEMA, f"stale_{id_}")
