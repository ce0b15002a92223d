"""Pages of a list: `limit` and `offset`, and the addresses of the next page and the one before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request

from tidemill.api.portal.callers import base_of
from tidemill.catalogue.browsing import MOST_ROWS, Query, read_query
from tidemill.domain.shop_window import Noun, Window
from tidemill.errors import InvalidFields

ASKED = "tidemill.path"
"""Where in the scope the path is as it was asked for."""

SHARED = ("limit", "offset", "ordering", "search", "format")
"""Parameters of every list that are no filters. `format=json` asks for what there is anyway."""


@dataclass(frozen=True, slots=True)
class Page:
    """What part of a list is asked for."""

    limit: int
    offset: int


def asked(request: Request, shown: Window, noun: Noun, more: Sequence[str] = ()) -> Query:
    """The query that an address makes, `more` of whose parameters are no filters. Raises InvalidFields with every
    parameter that cannot be used."""
    given = dict(request.query_params)
    faults: dict[str, list[str]] = {}
    page_size = int(shown.portal.get("page_size") or 10)
    limit = _number(given, "limit", page_size, faults)
    offset = _number(given, "offset", 0, faults)
    own = shown.types(noun)
    pairs = [
        (name, value)
        for name, value in request.query_params.multi_items()
        if name in own or name not in (*SHARED, *more)
    ]
    try:
        ordering, search = given.get("ordering", ""), given.get("search", "")
        query = read_query(shown, noun, pairs, search=search, ordering=ordering, limit=limit, offset=offset)
    except InvalidFields as error:
        raise InvalidFields(faults | error.fields) from None
    if faults:
        raise InvalidFields(faults)
    return query


def paged(request: Request, query: Query, total: int, results: Iterable[Any]) -> dict[str, Any]:
    """One page as clients of such portals read it."""
    after, before = query.offset + query.limit, max(0, query.offset - query.limit)
    return {
        "count": total,
        "next": page_address(request, query.limit, after) if after < total and query.limit else None,
        "previous": page_address(request, query.limit, before) if query.offset > 0 else None,
        "results": list(results),
    }


def top_of(request: Request) -> str:
    """The API's own address, without a slash at its end."""
    return base_of(request) + str(request.scope.get("root_path", ""))


def page_address(request: Request, limit: int, offset: int) -> str:
    """The address of another page of the list that was asked for."""
    rest = [(name, value) for name, value in request.query_params.multi_items() if name not in ("limit", "offset")]
    query = [("limit", str(limit)), *([("offset", str(offset))] if offset else []), *rest]
    path = quote(request.scope.get(ASKED, request.url.path), safe="/~:@!$&'()*+,;=-._")
    return f"{base_of(request)}{path}?{urlencode(query)}"


def _number(given: dict[str, str], name: str, default: int, faults: dict[str, list[str]]) -> int:
    text = given.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdecimal() or len(text) > 12 or (name == "limit" and int(text) == 0):
        faults[name] = [f"{text[:40]!r} is no {'positive ' if name == 'limit' else ''}whole number."]
        return default
    return min(int(text), MOST_ROWS) if name == "limit" else int(text)
