"""`/v1/schema` and `/v1/docs`: what the API is, for programs and for people, made from what the site declares."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from fastapi import APIRouter, Request
from fastapi.openapi.utils import get_openapi
from jinja2 import Environment, PackageLoader
from starlette.responses import HTMLResponse, Response

from tidemill.api.door import Json
from tidemill.api.portal.access import Shown
from tidemill.api.portal.pages import top_of
from tidemill.api.portal.schema import described
from tidemill.domain.lookups import Lookup
from tidemill.domain.shop_window import Window

router = APIRouter(include_in_schema=False)

_LOOKUPS = frozenset(Lookup)


@router.get("/schema")
async def schema(request: Request, shown: Shown) -> Response:
    return Json(_described(request, shown), headers={"content-type": "application/vnd.oai.openapi+json"})


@router.get("/docs")
async def docs(request: Request, shown: Shown) -> Response:
    """A page of plain HTML; nothing in it comes from elsewhere."""
    whole = _described(request, shown)
    calls = list(_calls(whole))
    page = _pages().get_template("docs.html").render(
        whole=whole, calls=calls, schemas=whole["components"]["schemas"], top=top_of(request), shown=shown
    )  # fmt: skip
    return HTMLResponse(page)


def _described(request: Request, shown: Window) -> dict[str, Any]:
    app = request.app
    own = get_openapi(title=app.title, version=app.version, routes=app.routes)
    return described(shown, own, top_of(request))


def _calls(whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every call: method, path, what it says; the filters of a list gathered by field."""
    for path, methods in whole["paths"].items():
        for method, call in methods.items():
            filters: dict[str, list[str]] = {}
            plain = []
            for one in call.get("parameters", []):
                field, _, lookup = one["name"].rpartition("__")
                if one["in"] == "query" and field in filters and lookup in _LOOKUPS:
                    filters[field].append(lookup)
                elif one["in"] == "query" and one["name"] not in ("limit", "offset", "ordering", "search"):
                    filters[one["name"]] = ["exact"]
                else:
                    plain.append(one)
            yield {"method": method.upper(), "path": path, "call": call, "plain": plain, "filters": filters}


@cache
def _pages() -> Environment:
    return Environment(loader=PackageLoader("tidemill.api.portal"), autoescape=True, trim_blocks=True)
