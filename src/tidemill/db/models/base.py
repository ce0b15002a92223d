"""What all tables share: naming of constraints, column types, and the identity key."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from sqlalchemy import BigInteger, DateTime, Identity, MetaData, SmallInteger, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.ext.asyncio import AsyncAttrs
from sqlalchemy.orm import DeclarativeBase, mapped_column
from sqlalchemy.types import UserDefinedType

Json = dict[str, Any]


class Base(AsyncAttrs, DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "%(table_name)s_%(column_0_N_name)s_idx",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "ck": "%(table_name)s_%(constraint_name)s_check",
            "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
            "pk": "%(table_name)s_pkey",
        }
    )
    type_annotation_map = {  # noqa: RUF012
        str: Text,
        int: BigInteger,
        Json: JSONB,
        list[Any]: JSONB,
        dt.datetime: DateTime(timezone=True),
    }


class Xid8(UserDefinedType[int]):
    """A 64-bit transaction id: what makes a feed position safe under concurrent writers."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "xid8"


ischema_names["xid8"] = Xid8  # so that reading a schema back knows the type

Key = Annotated[int, mapped_column(BigInteger, Identity(), primary_key=True)]
Small = Annotated[int, mapped_column(SmallInteger)]
Now = Annotated[dt.datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]


def one_of(column: str, words: object) -> str:
    """The text of a CHECK that lets `column` hold only these words (an enum or an iterable of str)."""
    listed = ", ".join(f"'{word}'" for word in words)  # type: ignore[attr-defined]
    return f"{column} in ({listed})"
