"""Packages are items to runs and tasks alone: no list, count, search, condition or batch of items has them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from tests.packaging import Portal
from tests.transactions import the_feed_tells_all
from tests.watching import Watched
from tests.webserver import Web, web_site

from tidemill.catalogue import edits, imports, items, records, statuses
from tidemill.catalogue.couchdb import Change
from tidemill.catalogue.imports import Wish
from tidemill.catalogue.statuses import Which
from tidemill.db.database import Database
from tidemill.domain.item_edits import Record
from tidemill.errors import Conflict, InvalidInput
from tidemill.feed import changes, views
from tidemill.feed import records as feed_records
from tidemill.feed.filters import Filter
from tidemill.pipelines import batches
from tidemill.pipelines.batches import FromBatch, FromBatches, FromIds, FromProject, FromSearch
from tidemill.runner import compare, counts, failures, look, stuck
from tidemill.storage.documents import DocumentStore

PACKAGES = ["P1_ALL.zip", "S1.zip", "S2.zip"]


@pytest.fixture
async def portal(database: Database, documents: DocumentStore, tmp_path: Path, database_url: str) -> Portal:
    portal = Portal(database, documents, tmp_path, database_url)
    await portal.lay("S1", "S2")
    return portal


@pytest.fixture
async def session(portal: Portal) -> AsyncIterator[AsyncSession]:
    """A transaction over a site whose three packages are made."""
    begun = await portal.made()
    assert len(begun.packages) == 3
    async with portal.database.begin() as session:
        yield session


SEARCHES = ("", "S1", "zip", "S1.zip", "S*", "status:good", "package=single", "from:A to:Z", "batch:packages*")


@pytest.mark.parametrize("query", SEARCHES)
async def test_no_search_finds_a_package(session: AsyncSession, query: str) -> None:
    found = await items.search(session, query)
    assert not {row["name"] for row in found.rows} & set(PACKAGES)
    assert found.total == len(found.rows) <= 2


async def test_no_list_and_no_count_has_packages(session: AsyncSession) -> None:
    assert await items.count(session) == 2
    assert [row["name"] for row in await look.items(session)] == ["S1", "S2"]
    assert await look.items(session, search="zip") == []
    assert await counts.statuses(session) == {"good": 2}
    assert await statuses.used(session) == ["good"]
    assert [row["id"] for row in (await views.items(session, None)).rows] == ["S1", "S2"]
    assert (await views.items(session, "pack")).rows == []
    assert (await views.counts(session)).rows == [{"key": None, "value": 2}]


async def test_a_site_without_items_has_no_status_of_its_packages(portal: Portal) -> None:
    await portal.made()
    for table in ("item_file", "project_item", "computed_file_item", "item"):
        where = "where kind = 'item'" if table == "item" else ""
        await portal.run_sql(f"delete from {table} {where}")
    async with portal.database.begin() as session:
        assert await statuses.used(session) == []
        assert await items.count(session) == 0


async def test_a_snapshot_has_items_alone(session: AsyncSession) -> None:
    for which in (Filter(), Filter(statuses=("good",)), Filter(items=("S1", "S1.zip")), Filter(last_steps=("pack",))):
        found = [row["name"] async for page in feed_records.matching(session, which, processes=False) for row in page]
        assert set(found) <= {"S1", "S2"}, which


async def test_the_feed_tells_of_packages_under_their_own_kind(portal: Portal) -> None:
    await portal.made()
    await portal.run_sql("update item set metadata = metadata || '{\"x\": 1}' where name = 'S1.zip'")

    async def told(which: Filter) -> list[Any]:
        async with portal.database.begin() as session:
            return (await changes.read(session, None, 1000, which)).results

    await the_feed_tells_all(portal.database)
    of_packages = await told(Filter(kinds=("package",)))
    assert {change["item"] for change in of_packages} == set(PACKAGES)
    assert {change["id"] for change in of_packages} == {f"package:{change['item_id']}" for change in of_packages}
    assert {change["changes"][0]["state"] for change in of_packages} == {"good", "published"}
    assert len(of_packages) == 3 + 3 + 1
    assert {change["item"] for change in await told(Filter(kinds=("item",)))} == {"S1", "S2"}
    assert {change["item"] for change in await told(Filter(statuses=("good",)))} == {"S1", "S2"}
    named = await told(Filter(items=("S1.zip",)))
    assert {change["kind"] for change in named} == {"task", "package"}
    good = await told(Filter(kinds=("package",), statuses=("good",)))
    assert {change["item"] for change in good} == set(PACKAGES)
    done = await told(Filter(items=("S1.zip",), last_steps=("pack",)))
    assert {change["item"] for change in done} == {"S1.zip"}
    everything = await told(Filter())
    assert {"item", "package", "task", "run"} <= {change["kind"] for change in everything}


async def test_the_feed_says_that_a_package_is_deleted(portal: Portal) -> None:
    await portal.run_sql("insert into item (name, kind) values ('gone.zip', 'package')")
    await portal.run_sql("delete from item where name = 'gone.zip'")
    await the_feed_tells_all(portal.database)
    async with portal.database.begin() as session:
        found = (await changes.read(session, None, 1000, Filter(kinds=("package",)))).results
    assert [(one["kind"], one.get("deleted", False)) for one in found] == [("package", False), ("package", True)]
    assert found[1]["item"] == "gone.zip"


async def test_no_door_for_records_changes_a_package(session: AsyncSession) -> None:
    rows = [
        {"name": "S1.zip", "metadata": {"x": 1}},
        {"name": "S2.zip", "status": "bad"},
        {"name": "S1", "status": "bad"},
    ]
    answers = await edits.apply(session, rows)
    assert [answer.outcome for answer in answers] == ["refused", "refused", "changed"]
    assert answers[0].error is not None
    assert "'S1.zip' is a package that the site makes" in answers[0].error.message
    placed = await edits.apply_one(session, {"name": "S1.zip", "projects": ["P1"]})
    assert isinstance(placed.error, Conflict)
    with pytest.raises(Conflict, match="is a package"):
        await items.delete(session, "S1.zip")
    for change in (statuses.look, statuses.change):
        with pytest.raises(Conflict, match="packages that the site makes, not items: 'S1"):
            await change(session, Which(names=["S1", "S1.zip", "S2.zip"]), "bad")
    assert await statuses.change(session, Which(search="*"), "hidden") == 2
    held = await records.hold(session, PACKAGES, {})
    assert {_standing(record) for record in held.records.values()} == {("good", 1)}


def _standing(record: Record) -> tuple[str, int]:
    return record.status, record.revision


async def test_an_import_does_not_take_a_document_named_like_a_package(session: AsyncSession) -> None:
    await imports.begin(session, "there")
    documents = [{"_id": name, "_rev": "1-a", "depth": 3} for name in ("S1.zip", "new")]
    found = await imports.take(session, Wish("there"), [Change(d["_id"], d) for d in documents], "", "1")
    assert (found.created, found.refused) == (1, 1)
    assert [row["document"] for row in await imports.notes(session, "there")] == ["S1.zip"]


async def test_no_batch_of_items_takes_in_a_package(session: AsyncSession) -> None:
    assert (await batches.make(session, "a", FromSearch("*"))).size == 2
    assert (await batches.make(session, "b", FromProject("P1"))).size == 2
    with pytest.raises(Conflict, match="is a package"):
        await batches.make(session, "c", FromIds(["S1", "S2.zip"]))
    name = (await batches.listing(session))[-1]["name"]
    assert name.startswith("packages ")
    with pytest.raises(InvalidInput, match="batch of packages"):
        await batches.make(session, "d", FromBatches(["a", name]))
    copy = await batches.make(session, "e", FromBatch(name))
    assert copy.size == 3  # of packages, and known as such
    with pytest.raises(InvalidInput, match="batch of packages"):
        await batches.make(session, "f", FromBatches(["a", "e"]))


async def test_no_watching_run_takes_in_a_package(portal: Portal) -> None:
    mill = Watched(portal.database, portal.documents)
    await mill.pipeline("chain", ["noop"])
    run = await mill.watch()
    await portal.made()
    await portal.run_sql("update item set metadata = metadata || '{\"x\": 1}'")
    await mill.look()
    await mill.keep_house()
    await portal.run_sql("update watch set swept_at = null, seen = null")
    await mill.keep_house()
    assert {task["item"] for task in await mill.tasks(run)} == {"S1", "S2"}
    with pytest.raises(Conflict, match="takes packages"):
        await mill.watch("packing", "packages")


async def test_runs_and_tasks_work_with_packages_as_with_any_item(portal: Portal) -> None:
    begun = await portal.made()
    run = begun.run or 0
    await portal.rerun(run, "S1.zip")
    (portal.folder / "S1" / "S1.bin").unlink()
    await portal.run_sql("update app set tries = 1")
    await portal.work(run)
    async with portal.database.begin() as session:
        window = await look.window(session, run)
        assert [task["item"] for task in window.tasks] == PACKAGES
        assert len((await look.grid(session, run)).cells) == 3
        view = await look.item(session, "S1.zip")
        assert view.item["kind"] == "package"
        assert [len(view.attempts), view.tasks[0]["state"]] == [2, "failed"]
        assert [family.tasks for family in (await failures.families(session, run)).families] == [1]
        assert (await compare.item(session, portal.documents, "S1.zip")).item == "S1.zip"
        assert [task["item"] for task in (await stuck.stuck(session)).tasks] == ["S1.zip"]
        assert (await counts.counts(session, run)).steps[0].counts["done"] == 2


@pytest.fixture
async def web(portal: Portal, database_url: str, tmp_path: Path) -> AsyncIterator[Web]:
    await portal.made()
    async with web_site(portal.database, database_url, tmp_path) as site:
        yield site


async def test_the_pages_and_the_api_tell_packages_apart(web: Web) -> None:
    listed = (await web.client.get("/api/items")).json()["items"]
    assert [row["name"] for row in listed] == ["S1", "S2"]
    edited = await web.client.patch("/api/items/S1.zip", json={"status": "bad"})
    assert edited.status_code == 409
    assert (await web.client.delete("/api/items/S1.zip")).status_code == 409
    one = (await web.client.get("/api/items/S1.zip")).json()
    assert one["item"]["kind"] == "package"
    changed = (await web.client.get("/api/changes", params={"kind": "package"})).json()
    assert {change["kind"] for change in changed["results"]} == {"package"}
    page = (await web.client.get("/items")).text
    assert "S1.zip" not in page
    own = (await web.client.get("/items/S1.zip")).text
    assert '<a href="/computed-files" aria-current="true">' in own
    assert '<a href="/items">' in own
    assert '<a href="/items" aria-current="true">' in (await web.client.get("/items/S1")).text
    grid = (await web.client.get("/runs/1")).text
    assert 'word="Package" words="packages"' in grid
    assert "Enter opens the package." in grid
    assert "A package of project P1" in own
    assert "/computed-files" in own
    assert "Watching runs" not in own
    assert "Edit…" not in own
    assert (await web.client.get("/records/S1.zip")).status_code == 409
    files = (await web.client.get("/computed-files")).text
    assert all(name in files for name in PACKAGES)
    told = (await web.client.get("/api/computed-files", params={"project": "P1"})).json()
    assert {(row["name"], row["state"]) for row in told["computed_files"]} == {(name, "current") for name in PACKAGES}
    assert told["totals"]["current"] == 3
    one = (await web.client.get(f"/api/computed-files/{told['computed_files'][0]['id']}")).json()
    assert (one["name"], one["items"]) == ("P1_ALL.zip", ["S1", "S2"])
    assert (await web.client.get("/api/computed-files/99")).status_code == 404
    assert (await web.client.get("/api/computed-files", params={"project": "P9"})).status_code == 404
    link = await web.client.get(f"/computed-files/{one['id']}/download")
    assert link.status_code == 303
    fetched = await web.client.get(link.headers["location"])
    assert len(fetched.content) == one["size"]
