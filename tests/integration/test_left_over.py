"""Packages that nothing calls for any more: told, kept until they are retired, and then gone like replaced ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from tests.packaging import PACKAGES, Portal
from tests.webserver import web_site

from tidemill.catalogue import items
from tidemill.db.database import Database
from tidemill.errors import Conflict, NotFound
from tidemill.publishing import computed_files, left_over, package_runs, planning, retiring
from tidemill.publishing.left_over import LeftOver
from tidemill.publishing.package_runs import Wish
from tidemill.publishing.plan_making import PackProject, Stock
from tidemill.storage.documents import DocumentStore


@pytest.fixture
async def portal(database: Database, documents: DocumentStore, tmp_path: Path) -> Portal:
    portal = Portal(database, documents, tmp_path)
    await portal.lay("S1", "S2")
    return portal


async def declare(portal: Portal, *packages: dict[str, Any]) -> None:
    await portal.run_sql("update site set packages = cast(:to as jsonb)", to=orjson.dumps(packages).decode())


async def found(portal: Portal, *projects: str) -> dict[str, LeftOver]:
    async with portal.database.begin() as session:
        left = await left_over.found(session, projects=projects or None)
    return {one.name: one for one in left}


async def retire(portal: Portal, *names: str) -> retiring.Retired:
    async with portal.database.begin() as session:
        return await retiring.retire(session, names=names)


async def states(portal: Portal, **asked: Any) -> dict[str, str]:
    async with portal.database.begin() as session:
        return {row["name"]: row["state"] for row in await computed_files.listing(session, **asked)}


async def counted(portal: Portal) -> int:
    async with portal.database.begin() as session:
        return int((await computed_files.totals(session))["left_over"])


async def move(portal: Portal, item: str, project: str) -> None:
    await portal.run_sql(
        "update project_item x set project_id = p.id from project p, item i"
        " where p.name = :project and i.name = :item and x.item_id = i.id",
        project=project, item=item,
    )  # fmt: skip


async def test_nothing_is_left_over_of_what_is_called_for(portal: Portal) -> None:
    await portal.made()
    assert await found(portal) == {}
    assert (await portal.begin()).left_over == []


async def test_packages_of_a_declaration_that_is_gone_are_left_over(portal: Portal) -> None:
    await portal.made()
    await declare(portal, PACKAGES[0])
    left = await found(portal)
    assert set(left) == {"S1.zip", "S2.zip"}
    assert left["S1.zip"].why == "the site file declares no package 'single' any more"
    assert await states(portal) == {"P1_ALL.zip": "current", "S1.zip": "left over", "S2.zip": "left over"}
    assert await states(portal, left_over=True) == {"S1.zip": "left over", "S2.zip": "left over"}
    assert await counted(portal) == 2


async def test_a_renamed_file_leaves_the_one_before_over_until_it_is_called_for_again(portal: Portal) -> None:
    await portal.made()
    renamed = PACKAGES[1] | {"file": "{item}_NEW.zip"}
    await declare(portal, PACKAGES[0], renamed)
    begun = await portal.made()
    assert [one.name for one in begun.left_over] == ["S1.zip", "S2.zip"]
    assert "makes none of this name" in begun.left_over[0].why
    assert (await states(portal))["S1.zip"] == "left over"
    await declare(portal, *PACKAGES)
    again = await portal.begin()
    assert [one.name for one in again.left_over] == ["S1_NEW.zip", "S2_NEW.zip"]
    assert again.unchanged == 3
    assert (await states(portal))["S1.zip"] == "current"


async def test_the_reason_is_that_of_the_planner(portal: Portal) -> None:
    await portal.made()
    await portal.run_sql("update item set status = 'bad' where name = 'S1'")
    assert (await found(portal))["S1.zip"].why == "its status is not good"
    await portal.run_sql("delete from file where key like 'S2/%'")
    left = await found(portal)
    assert left["S2.zip"].why == "it has no files"
    assert left["P1_ALL.zip"].why == "none of the files fit"


async def test_what_nobody_can_tell_of_counts_as_called_for(portal: Portal) -> None:
    await portal.made()
    await portal.run_sql("update project set locked = true")
    await declare(portal, PACKAGES[0])
    assert await found(portal) == {}
    await portal.run_sql("update project set locked = false")
    await declare(portal, PACKAGES[0], PACKAGES[1] | {"files": [{"into": "same"}, {"into": "same/{name}"}]})
    async with portal.database.begin() as session:
        begun = await package_runs.rehearse(session, Wish(portal.packages))
    assert begun.faults
    assert begun.left_over == []


async def test_an_item_that_went_to_another_project_took_its_package_along(portal: Portal) -> None:
    await portal.made()
    await portal.lay("S3", project="P2")
    await move(portal, "S1", "P2")
    assert set(await found(portal, "P1")) == set()
    assert set(await found(portal)) == set()
    await portal.run_sql("update item set status = 'bad' where name = 'S2'")
    assert set(await found(portal, "P1")) == {"P1_ALL.zip", "S2.zip"}
    assert await found(portal, "P2") == {}
    with pytest.raises(NotFound):
        await found(portal, "P9")


@pytest.mark.parametrize("scope", [(), ("P1",)], ids=["all", "one"])
async def test_a_project_that_is_locked_keeps_what_came_into_it(portal: Portal, scope: tuple[str, ...]) -> None:
    await portal.made()
    await portal.lay("S3", project="P2")
    await move(portal, "S1", "P2")
    await portal.run_sql("update project set locked = true where name = 'P2'")
    assert await found(portal, *scope) == {}
    await declare(portal, PACKAGES[0])
    assert set(await found(portal, *scope)) == {"S2.zip"}
    assert await states(portal, left_over=True) == {"S2.zip": "left over"}
    assert await counted(portal) == 1
    await portal.run_sql("update project set locked = true")
    assert (await states(portal, left_over=True), await counted(portal)) == ({}, 0)


@pytest.mark.parametrize("scope", [(), ("P1",)], ids=["all", "one"])
async def test_a_project_with_a_fault_keeps_what_came_into_it(portal: Portal, scope: tuple[str, ...]) -> None:
    await portal.made()
    await portal.lay("S3", project="P2")
    await move(portal, "S1", "P2")
    size, etag = portal.write("S1/twice/S1.bin", "twice")  # two files of one name in the package
    await portal.run_sql(
        "with made as (insert into file (source_id, key, size, etag, project_id)"
        " select s.id, 'S1/twice/S1.bin', :size, :etag, p.id from source s, project p where p.name = 'P2' returning id)"
        " insert into item_file (item_id, file_id) select i.id, made.id from item i, made where i.name = 'S1'",
        size=size, etag=etag,
    )  # fmt: skip
    assert await found(portal, *scope) == {}


async def test_what_is_retired_goes_like_what_was_replaced_and_comes_back_when_called_for(portal: Portal) -> None:
    await portal.made()
    old = (await portal.current())["S1.zip"]
    await declare(portal, PACKAGES[0])
    did = await retire(portal, "S1.zip")
    assert ([one.name for one in did.packages], did.files, did.cancelled) == (["S1.zip"], [old["id"]], 0)
    assert set(await portal.current()) == {"P1_ALL.zip", "S2.zip"}
    assert await portal.register() == []  # what was made before is not published again
    assert await states(portal) == {"P1_ALL.zip": "current", "S2.zip": "left over"}
    assert (await states(portal, replaced=True))["S1.zip"] == "retired"
    assert await portal.value("select count(*) from change where kind = 'package' and state = 'retired'") == 1
    assert await portal.remove() == []
    await portal.publish(keep_replaced=0)
    assert [one.name for one in await portal.remove()] == ["S1.zip"]
    assert old["key"] not in portal.lying()
    assert set(await found(portal)) == {"S2.zip"}
    await declare(portal, *PACKAGES)
    again = await portal.made()
    assert again.packages == ["S1.zip"]
    assert (await states(portal))["S1.zip"] == "current"


async def test_a_package_in_hand_is_cancelled_and_not_published(portal: Portal) -> None:
    begun = await portal.begin()
    await declare(portal, PACKAGES[0])
    left = await found(portal)
    assert left["S1.zip"].run == begun.run
    did = await retire(portal)
    assert did.cancelled == 2
    await portal.work(begun.run)
    await portal.register()
    assert set(await portal.current()) == {"P1_ALL.zip"}
    assert await found(portal) == {}


async def test_only_what_is_left_over_is_retired(portal: Portal) -> None:
    await portal.made()
    with pytest.raises(Conflict, match="is not left over"):
        await retire(portal, "S1.zip")
    with pytest.raises(NotFound):
        await retire(portal, "S9.zip")
    assert len(await portal.current()) == 3


async def test_to_retire_one_by_name_no_other_project_is_planned(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await portal.lay("S3", project="P2")
    await portal.made()
    await declare(portal, PACKAGES[0])
    planned = list[str]()
    stock_of = planning.project_stock

    async def noted(session: AsyncSession, project: PackProject) -> Stock:
        planned.append(project.name)
        return await stock_of(session, project)

    monkeypatch.setattr(planning, "project_stock", noted)
    assert [one.name for one in (await retire(portal, "S3.zip")).packages] == ["S3.zip"]
    assert planned == ["P2"]
    await portal.run_sql("update item set metadata = metadata || '{\"project\": \"GONE\"}' where name = 'S1.zip'")
    assert [one.name for one in (await retire(portal, "S1.zip")).packages] == ["S1.zip"]
    assert planned == ["P2", "P1", "P2"], "nobody knows whose it is: all are"


async def test_a_package_whose_item_stands_in_no_project_is_retired_by_name_too(portal: Portal) -> None:
    await portal.made()
    await portal.run_sql("delete from project_item x using item i where i.id = x.item_id and i.name = 'S1'")
    await declare(portal, PACKAGES[0])
    assert set(await found(portal)) == {"S1.zip", "S2.zip"}
    assert [one.name for one in (await retire(portal, "S1.zip")).packages] == ["S1.zip"]


async def test_what_was_published_of_an_item_alone_goes_with_it(portal: Portal) -> None:
    """An item can be deleted once its files are gone and no run has it on record."""
    await portal.made()
    await portal.run_sql("delete from file where key like 'S1/%'")
    async with portal.database.begin() as session:
        await items.delete(session, "S1")
    assert set(await portal.current()) == {"P1_ALL.zip", "S2.zip"}
    assert await portal.register() == []
    assert await found(portal) == {}


async def test_a_rehearsal_says_what_would_be_made_and_keeps_nothing(portal: Portal) -> None:
    async def rehearsed(**wish: Any) -> package_runs.Begun:
        async with portal.database.begin() as session:
            return await package_runs.rehearse(session, Wish(portal.packages, **wish))

    counts = "select (select count(*) from run) + (select count(*) from item) + (select count(*) from document)"
    none = await portal.value(counts)
    first = await rehearsed()
    assert [(one.name, one.why) for one in first.due] == [
        (name, "it is not there") for name in ("P1_ALL.zip", "S1.zip", "S2.zip")
    ]
    assert await portal.value(counts) == none
    await portal.made()
    await portal.change("S1", "other")
    await declare(portal, PACKAGES[1])
    before = await portal.value(counts)
    second = await rehearsed()
    assert [(one.name, one.why) for one in second.due] == [("S1.zip", "what goes into it is other by now")]
    assert [one.name for one in second.left_over] == ["P1_ALL.zip"]
    assert (second.run, second.unchanged) == (None, 1)
    assert {one.why for one in (await rehearsed(regenerate=True)).due} == {
        "what goes into it is other by now",
        "asked for anew",
    }
    assert await portal.value(counts) == before
    assert not await portal.value("select exists (select from item where metadata ? 'left_over')")


async def test_pages_and_api_say_what_is_left_over_and_retire_it(
    portal: Portal, database_url: str, tmp_path: Path
) -> None:
    await portal.made()
    await declare(portal, PACKAGES[0])
    async with web_site(portal.database, database_url, tmp_path) as web:
        page = (await web.client.get("/computed-files")).text
        assert "2 packages are left over" in page
        assert "P1_ALL.zip" not in (await web.client.get("/computed-files?left_over=yes")).text
        assert "declares no package &#39;single&#39; any more" in (await web.client.get("/items/S1.zip")).text
        shown = (await web.client.get("/computed-files/retire")).text
        assert shown.count('name="name"') == 2
        told = (await web.client.get("/api/computed-files", params={"left_over": True})).json()
        assert [row["name"] for row in told["computed_files"]] == ["S1.zip", "S2.zip"]
        would = (await web.client.post("/api/computed-files/retire", json={})).json()
        assert ([one["name"] for one in would["packages"]], would["done"]) == (["S1.zip", "S2.zip"], False)
        did = (await web.client.post("/api/computed-files/retire", json={"names": ["S2.zip"], "dry_run": False})).json()
        assert ([one["name"] for one in did["packages"]], did["done"]) == (["S2.zip"], True)
        assert (await web.client.post("/api/computed-files/retire", json={"names": ["S2.zip"]})).status_code == 409
        done = await web.client.post("/computed-files/retire", data={"name": ["S1.zip"]})
        assert done.headers["location"] == "/computed-files"
        assert "left over</a>" not in (await web.client.get("/computed-files")).text
    assert set(await portal.current()) == {"P1_ALL.zip"}


async def test_pages_and_api_list_thousands_of_members(portal: Portal, database_url: str, tmp_path: Path) -> None:
    await portal.made()
    told = await portal.output("P1_ALL.zip")
    told["manifest"] = [{"name": f"S1/{n:05}.bin", "size": n, "sha256": f"{n:064x}"} for n in range(12_000)]
    await portal.put_out("P1_ALL.zip", told)
    file = (await portal.current())["P1_ALL.zip"]["id"]
    async with web_site(portal.database, database_url, tmp_path) as web:
        address = f"/api/computed-files/{file}/members"
        first = (await web.client.get(address, params={"limit": 2, "offset": 11_999})).json()
        assert (first["total"], first["rows"]) == (
            12_000, [{"name": "S1/11999.bin", "size": 11_999, "sha256": f"{11_999:064x}"}],
        )  # fmt: skip
        found = (await web.client.get(address, params={"search": "s1/0001"})).json()
        assert (found["total"], found["size"]) == (10, sum(range(10, 20)))
        assert (await web.client.get("/api/computed-files/99/members")).status_code == 404
        page = (await web.client.get(f"/computed-files/{file}?offset=11800")).text
        assert "S1/11999.bin" in page
        assert "Previous" in page
        assert "Next" not in page
        await portal.put_out("P1_ALL.zip", {key: value for key, value in told.items() if key != "manifest"})
        assert (await web.client.get(address)).json()["known"] is False
        assert "did not say" in (await web.client.get(f"/computed-files/{file}")).text
