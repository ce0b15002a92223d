"""A worker that has no database, only the site's URL and a token: what it does, and what it may not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.faults.audit import audit
from tests.remote import far_worker, worker_token, working
from tests.site import Mill
from tests.webserver import Web, web_site

from tidemill.db.database import Database

Json = dict[str, Any]


@pytest.fixture
async def web(database: Database, database_url: str, tmp_path: Path) -> AsyncIterator[Web]:
    async with web_site(database, database_url, tmp_path / "site") as served:
        yield served


@pytest.fixture
async def mill(web: Web) -> Mill:
    return Mill(web.site.database, web.site.documents)


def trace(document: Json, parameters: Json) -> Json:
    return {**document, "path": [*document.get("path", []), parameters["name"]]}


def big(document: Json, parameters: Json) -> Json:
    return {**trace(document, parameters), "padding": "x" * 9000}


async def test_items_go_through_all_steps_over_http(web: Web, mill: Mill, tmp_path: Path) -> None:
    functions = {"f": trace, "big": big}
    run = await mill.start(items=30, steps=["a", "b", "c"], functions=functions, use=["f", "big", "f"])
    token = await worker_token(mill.database)
    async with working(far_worker(web.url, token, tmp_path / "spool", functions)):
        await mill.until(mill.finished(run))
    assert await audit(mill.database, mill.documents, run) == {"done": 30}
    assert all(d["path"] == ["a", "b", "c"] for d in await mill.final_documents(run))
    assert not list((tmp_path / "spool" / "results").iterdir()), "what the site has leaves the spool"
    assert not list((tmp_path / "spool" / "blobs").iterdir())
