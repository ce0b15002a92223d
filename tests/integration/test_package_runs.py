"""Packages are made by runs like any other, and become computed files exactly once, whoever is killed when."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest
from tests.packaging import Portal
from tests.s3_server import CREDENTIALS, s3_server

from tidemill.db.database import Database
from tidemill.errors import Conflict, InvalidInput, NotFound, StorageRefused
from tidemill.publishing import checking, computed_files, objects, package_runs, purging
from tidemill.publishing.objects import Unseen
from tidemill.runner import go_back, redo, runs
from tidemill.runner.redo import Filter
from tidemill.storage import stores
from tidemill.storage.documents import DocumentStore
from tidemill.storage.s3 import client


@pytest.fixture
async def portal(database: Database, documents: DocumentStore, tmp_path: Path) -> Portal:
    portal = Portal(database, documents, tmp_path)
    await portal.lay("S1", "S2")
    return portal


async def test_a_run_makes_every_package_and_each_becomes_a_computed_file(portal: Portal) -> None:
    begun = await portal.made()
    assert sorted(begun.packages) == ["P1_ALL.zip", "S1.zip", "S2.zip"]
    assert (begun.unchanged, begun.busy, begun.faults) == (0, [], [])
    files = await portal.current()
    assert set(files) == {"P1_ALL.zip", "S1.zip", "S2.zip"}
    made = files["P1_ALL.zip"]
    body = (portal.packages / made["key"]).read_bytes()
    assert (made["size"], made["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
    assert (made["package"], made["attributes"]) == ("all", {"format": "BIN"})
    held = await portal.rows(
        "select c.name, i.name as item from computed_file_item x join computed_file c on c.id = x.computed_file_id"
        " join item i on i.id = x.item_id order by 1, 2"
    )
    assert [(row["name"], row["item"]) for row in held] == [
        ("P1_ALL.zip", "S1"), ("P1_ALL.zip", "S2"), ("S1.zip", "S1"), ("S2.zip", "S2"),
    ]  # fmt: skip
    assert await portal.value("select project_id is not null from computed_file where name = 'P1_ALL.zip'")
    assert begun.batch.startswith("packages 20")


async def test_what_is_there_and_unchanged_is_not_made_again(portal: Portal) -> None:
    first = await portal.made()
    again = await portal.begin()
    assert (again.run, again.packages, again.unchanged) == (None, [], 3)
    await portal.change("S1", "other")
    changed = await portal.made()
    assert sorted(changed.packages) == ["P1_ALL.zip", "S1.zip"]
    assert changed.unchanged == 1
    every = await portal.begin(regenerate=True)
    assert len(every.packages) == 3
    assert first.run != every.run


async def test_what_a_run_has_in_hand_is_left_to_it(portal: Portal) -> None:
    first, second = await asyncio.gather(portal.begin(), portal.begin())
    ran, waited = (first, second) if first.run else (second, first)
    assert waited.run is None
    assert {(busy.name, busy.run) for busy in waited.busy} == {(name, ran.run) for name in ran.packages}


async def test_the_old_one_gives_way_when_the_new_one_is_there_and_its_bytes_go_later(portal: Portal) -> None:
    await portal.made()
    old = (await portal.current())["S1.zip"]
    await portal.change("S1", "other")
    begun = await portal.begin()
    await portal.work(begun.run)
    assert (await portal.current())["S1.zip"]["id"] == old["id"]  # built, and not yet registered
    await portal.register()
    new = (await portal.current())["S1.zip"]
    assert new["id"] != old["id"]
    assert new["created_at"] == old["created_at"]
    assert {old["key"], new["key"]} <= portal.lying()
    assert await portal.remove() == []  # links that were given out are good for a day
    await portal.publish(keep_replaced=0)
    removed = await portal.remove()
    assert sorted(one.name for one in removed) == ["P1_ALL.zip", "S1.zip"]
    assert old["key"] not in portal.lying()
    assert new["key"] in portal.lying()
    assert await portal.remove() == []


async def test_a_result_is_registered_once_however_many_look(portal: Portal) -> None:
    begun = await portal.begin()
    await portal.work(begun.run)
    found = await asyncio.gather(*(portal.register() for _ in range(5)))
    assert sorted(one.name for part in found for one in part) == ["P1_ALL.zip", "S1.zip", "S2.zip"]
    assert await portal.value("select count(*) from computed_file") == 3
    assert await portal.value("select count(*) from change where kind = 'package' and state = 'published'") == 3


async def test_a_housekeeper_looks_at_what_has_come_since(portal: Portal) -> None:
    begun = await portal.begin()
    await portal.registrar.look(portal.database)
    await portal.work(begun.run)
    await portal.registrar.look(portal.database)
    assert len(await portal.current()) == 3
    await portal.rerun(begun.run, "S1.zip")
    await portal.work(begun.run)
    told = await portal.output("S1.zip")
    told["file"]["sha256"] = "a" * 64
    await portal.put_out("S1.zip", told)
    await portal.registrar.look(portal.database)
    assert (await portal.current())["S1.zip"]["sha256"] == "a" * 64
    async with portal.database.begin() as session:
        await go_back.go_back(session, begun.run or 0, Filter(items=["S1.zip"]))
    await portal.registrar.look(portal.database)
    assert (await portal.current())["S1.zip"]["sha256"] != "a" * 64


async def test_what_does_not_lie_in_the_store_is_never_published(portal: Portal) -> None:
    begun = await portal.begin()
    await portal.work(begun.run)
    lost, cut = sorted(portal.lying())[:2]
    (portal.packages / lost).unlink()
    (portal.packages / cut).write_bytes(b"half")
    assert len(await portal.register()) == 1
    assert len(portal.registrar.refused) == 2
    whys = " ".join(refusal.why for refusal in portal.registrar.refused.values())
    assert "is not at" in whys
    assert "has 4" in whys


async def test_a_result_that_a_person_goes_back_to_is_current_again(portal: Portal) -> None:
    begun = await portal.made(projects=["P1"])
    first = (await portal.current())["S1.zip"]
    await portal.rerun(begun.run, "S1.zip")
    await portal.work(begun.run)
    await portal.register()
    second = (await portal.current())["S1.zip"]
    assert (second["id"], second["fence"] > first["fence"]) == (first["id"], True)  # the same bytes: the same file
    async with portal.database.begin() as session:
        await go_back.go_back(session, begun.run or 0, Filter(items=["S1.zip"]))
    await portal.register()
    now = (await portal.current())["S1.zip"]
    assert (now["id"], now["fence"]) == (first["id"], first["fence"])


async def test_what_an_app_packed_otherwise_the_second_time_can_be_gone_back_from(portal: Portal) -> None:
    begun = await portal.made(projects=["P1"])
    first = (await portal.current())["S1.zip"]
    await portal.rerun(begun.run, "S1.zip")
    await portal.work(begun.run)
    told = await portal.output("S1.zip")
    told["file"]["sha256"] = "a" * 64
    await portal.put_out("S1.zip", told)
    await portal.register()
    second = (await portal.current())["S1.zip"]
    assert (second["id"] != first["id"], second["sha256"]) == (True, "a" * 64)
    await portal.publish(keep_replaced=0)
    assert await portal.remove() == []  # the same object: what is current names it
    async with portal.database.begin() as session:
        await go_back.go_back(session, begun.run or 0, Filter(items=["S1.zip"]))
    await portal.register()
    assert (await portal.current())["S1.zip"]["sha256"] == first["sha256"]


async def test_what_is_said_of_a_package_follows_the_declaration_without_packing_again(portal: Portal) -> None:
    await portal.made()
    before = (await portal.current())["P1_ALL.zip"]
    await portal.run_sql("update site set packages = jsonb_set(packages, '{0,attributes}', '{\"format\": \"OTHER\"}')")
    again = await portal.begin()
    assert (again.run, again.unchanged) == (None, 3)
    now = (await portal.current())["P1_ALL.zip"]
    assert (now["id"], now["attributes"]) == (before["id"], {"format": "OTHER"})


async def test_a_late_result_that_a_person_promotes_is_published(portal: Portal) -> None:
    begun = await portal.begin()
    await portal.work(begun.run)
    # As a worker leaves it whose result came after its lease had run out.
    await portal.run_sql(
        "update attempt a set outcome = 'late' from task t join item i on i.id = t.item_id"
        " where a.task_id = t.id and i.name = 'S1.zip'"
    )
    await portal.run_sql(
        "update task t set state = 'failed', document = a.input from attempt a, item i"
        " where a.task_id = t.id and i.id = t.item_id and i.name = 'S1.zip'"
    )
    await portal.registrar.look(portal.database)
    assert set(await portal.current()) == {"P1_ALL.zip", "S2.zip"}
    task = await portal.value("select t.id from task t join item i on i.id = t.item_id where i.name = 'S1.zip'")
    async with portal.database.begin() as session:
        assert await redo.promote(session, task, 1) == "done"
    await portal.registrar.look(portal.database)
    assert "S1.zip" in await portal.current()


async def test_a_re_run_does_not_bring_an_older_runs_package_back_meanwhile(portal: Portal) -> None:
    await portal.made()
    await portal.change("S1", "other")
    newer = await portal.made()
    new = (await portal.current())["S1.zip"]
    await portal.rerun(newer.run, "S1.zip")
    assert await portal.register() == []
    assert (await portal.current())["S1.zip"]["id"] == new["id"]


async def test_bytes_that_a_task_in_hand_may_write_again_are_not_taken_away(portal: Portal) -> None:
    await portal.made()
    await portal.publish(keep_replaced=0)
    first = (await portal.current())["S1.zip"]
    etag = await portal.value("select etag from file where key = 'S1/S1.bin'")
    size = await portal.value("select size from file where key = 'S1/S1.bin'")
    await portal.change("S1", "other")
    await portal.made()
    # As it was at first: the same object for the same bytes.
    await portal.run_sql("update file set size = :size, etag = :etag where key = 'S1/S1.bin'", size=size, etag=etag)
    begun = await portal.begin()
    assert await portal.remove() == []
    await portal.cancel(begun.run, "P1_ALL.zip")
    assert [one.name for one in await portal.remove()] == ["P1_ALL.zip"]
    assert first["key"] in portal.lying()


async def test_uploads_only_where_that_is_wanted(portal: Portal, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="does not say where"):
        await portal.begin(upload=True)
    far = (tmp_path / "far").as_uri()
    await portal.publish(store=far)
    near = await portal.made()
    assert near.store.url == portal.packages.absolute().as_uri()
    up = await portal.made(upload=True)
    assert len(up.packages) == 3  # there, but not where they are wanted
    assert {row["store"] for row in (await portal.current()).values()} == {far}
    assert (await portal.begin()).unchanged == 3  # what was uploaded need not be made here
    removed = await portal.remove(at_once_below=portal.packages.absolute().as_uri())
    assert len(removed) == 3
    assert portal.lying() == set()
    assert (await portal.begin(upload=True)).unchanged == 3


async def test_packages_in_an_object_store_are_seen_there_and_taken_away_there(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with s3_server("out") as endpoint:
        await portal.publish(store="s3://out/released", endpoint=endpoint, region="us-east-1", keep_replaced=0)
        await portal.made(upload=True)
        old = await portal.current()
        assert {(row["store"], row["options"]["endpoint"]) for row in old.values()} == {("s3://out/released", endpoint)}
        for row in old.values():
            assert await objects.size_of(row["store"], row["options"], row["key"]) == row["size"]
        await portal.change("S1", "other")
        begun = await portal.begin(upload=True)
        await portal.work(begun.run)
        lost = (await portal.output("S1.zip"))["file"]
        await objects.remove(lost["store"], {"endpoint": endpoint, "region": "us-east-1"}, lost["key"])
        assert [one.name for one in await portal.register()] == ["P1_ALL.zip"]
        assert (await portal.current())["S1.zip"]["id"] == old["S1.zip"]["id"]
        assert [one.name for one in await portal.remove()] == ["P1_ALL.zip"]
        gone = old["P1_ALL.zip"]
        assert await objects.size_of(gone["store"], gone["options"], gone["key"]) is None
        assert await portal.remove() == []


async def test_a_failed_package_leaves_the_one_before(portal: Portal) -> None:
    await portal.made()
    old = await portal.current()
    await portal.change("S2", "other")
    (portal.folder / "S2" / "S2.bin").unlink()
    begun = await portal.begin()
    await portal.run_sql("update app set tries = 1")
    await portal.work(begun.run)
    await portal.register()
    assert {name: row["id"] for name, row in (await portal.current()).items()} == {
        name: row["id"] for name, row in old.items()
    }
    async with portal.database.begin() as session:
        assert {row["state"] for row in await package_runs.progress(session, begun.run or 0)} == {"failed"}


async def test_a_package_cannot_be_named_like_an_item(portal: Portal) -> None:
    await portal.run_sql("insert into item (name) values ('S1.zip')")
    with pytest.raises(Conflict, match="There is an item named 'S1"):
        await portal.begin()
    assert await portal.value("select count(*) from item where kind = 'package'") == 0


async def test_unknown_projects_are_told(portal: Portal) -> None:
    with pytest.raises(NotFound, match=r"There is no project named 'P9'\."):
        await portal.begin(projects=["P1", "P9"])


async def test_items_and_packages_do_not_take_each_others_pipelines(portal: Portal) -> None:
    begun = await portal.made()
    await portal.run_sql("insert into batch (name, made_from) values ('items', '{}')")
    await portal.run_sql(
        "insert into batch_item select b.id, 0, i.id from batch b, item i where b.name = 'items' and i.name = 'S1'"
    )
    async with portal.database.begin() as session:
        with pytest.raises(InvalidInput, match="holds none"):
            await runs.start(session, portal.documents, runs.Start("items", "packages"))
    async with portal.database.begin() as session:
        batch = (await runs.get(session, begun.run or 0))["batch"]
    await portal.run_sql("insert into pipeline (name, version_id) select 'other', version_id from pipeline")
    async with portal.database.begin() as session:
        with pytest.raises(InvalidInput, match="only the pipeline 'packages'"):
            await runs.start(session, portal.documents, runs.Start(batch, "other"))


async def test_a_site_with_a_pipeline_of_that_name_is_told(portal: Portal) -> None:
    await portal.made()
    await portal.run_sql("update step set name = 'mine'")
    with pytest.raises(Conflict, match="pipeline named 'packages' of its own"):
        await portal.begin(regenerate=True)


async def test_what_was_published_of_a_purged_project_is_gone_and_does_not_come_back(portal: Portal) -> None:
    await portal.lay("T1", project="P2")
    await portal.made()
    stays = {row["key"] for name, row in (await portal.current()).items() if name in ("T1.zip", "P2_ALL.zip")}
    await portal.change("S1", "other")
    begun = await portal.begin()
    async with portal.database.begin() as session:
        would = await purging.preview(session, "P1")
        did = await purging.purge(session, "P1", delete=True)
    assert [row["name"] for row in would.in_hand] == ["P1_ALL.zip", "S1.zip"]
    assert [row["name"] for row in would.touched.computed_files] == ["P1_ALL.zip", "S1.zip", "S2.zip"]
    async with portal.database.begin() as session:
        assert {row["state"] for row in await package_runs.progress(session, begun.run or 0)} == {"cancelled"}
    assert set(await portal.current()) == {"T1.zip", "P2_ALL.zip"}
    assert await portal.register() == []
    removed = await portal.remove(at_once=did.let_go)
    assert {one.name for one in removed} == {"P1_ALL.zip", "S1.zip", "S2.zip"}
    assert portal.lying() == stays
    async with portal.database.begin() as session:
        shown = [row["name"] for row in await computed_files.listing(session)]
        every = {row["name"]: row["state"] for row in await computed_files.listing(session, replaced=True)}
    assert shown == ["P2_ALL.zip", "T1.zip"]
    assert every["S1.zip"] == "removed"


async def test_bytes_that_two_generations_share_are_counted_once_and_go_once(portal: Portal) -> None:
    await portal.made()
    columns = (
        "item_id, project_id, package, name, store, options, key, size, sha256, etag, fingerprint, attributes, files"
    )
    await portal.run_sql(
        f"insert into computed_file ({columns}, replaced_at)"
        f" select {columns}, now() from computed_file where name = 'S1.zip'"
    )
    async with portal.database.begin() as session:
        did = await purging.purge(session, "P1", delete=True)
    assert [row["name"] for row in did.objects] == ["P1_ALL.zip", "S1.zip", "S2.zip"]
    assert len(did.let_go) == 4
    removed = await portal.remove(at_once=did.let_go)
    assert sorted(one.name for one in removed) == ["P1_ALL.zip", "S1.zip", "S2.zip"]
    assert portal.lying() == set()


async def test_what_is_removed_at_once_is_what_was_asked_for_and_no_more(portal: Portal) -> None:
    await portal.lay("T1", project="P2")
    await portal.made()
    await portal.change("T1", "other")
    await portal.made()
    await portal.publish(keep_replaced=0)  # what of P2 was replaced is due, too
    async with portal.database.begin() as session:
        did = await purging.purge(session, "P1", delete=True)
    assert await portal.remove(at_once=[]) == []
    removed = await portal.remove(at_once=did.let_go)
    assert sorted(one.name for one in removed) == ["P1_ALL.zip", "S1.zip", "S2.zip"]
    assert sorted(one.name for one in await portal.remove()) == ["P2_ALL.zip", "T1.zip"]


async def test_a_purged_project_that_comes_again_is_published_again(portal: Portal) -> None:
    await portal.made()
    async with portal.database.begin() as session:
        await purging.purge(session, "P1")
    assert len(portal.lying()) == 3  # nobody asked for them to be removed
    assert await portal.current() == {}
    await portal.run_sql("insert into project (name) values ('P1')")
    await portal.run_sql("insert into item (name) values ('S1') on conflict do nothing")
    await portal.run_sql("insert into project_item select p.id, i.id from project p, item i where i.kind = 'item'")
    await portal.run_sql(
        "insert into item_file select i.id, f.id from item i, file f where starts_with(f.key, i.name || '/')"
        " on conflict do nothing"
    )
    begun = await portal.begin()
    assert await portal.register() == []  # what the earlier run made does not come back
    await portal.work(begun.run)
    await portal.register()
    assert set(await portal.current()) == {"P1_ALL.zip", "S1.zip"}


async def test_packages_whose_bytes_are_gone_are_made_again(portal: Portal) -> None:
    await portal.made()
    old = await portal.current()
    (portal.packages / old["S1.zip"]["key"]).unlink()
    (portal.packages / old["S2.zip"]["key"]).write_bytes(b"cut")
    begun = await portal.made()
    why = {one.name: one.why for one in begun.due}
    assert why["S1.zip"] == f"its bytes are gone from {portal.packages.as_uri()}"
    assert why["S2.zip"] == f"3 bytes lie in {portal.packages.as_uri()} where it has {old['S2.zip']['size']:,}"
    assert (sorted(why), begun.unchanged) == (["S1.zip", "S2.zip"], 1)
    new = await portal.current()
    assert {name: row["id"] for name, row in new.items()} == {name: row["id"] for name, row in old.items()}
    assert portal.lying() == {row["key"] for row in new.values()}
    assert (await portal.begin()).unchanged == 3


async def test_a_store_that_does_not_answer_is_not_one_that_lost_its_packages(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(stores, "RETRIES", 0)
    with s3_server("out") as endpoint:
        await portal.publish(store="s3://out", endpoint=endpoint, region="us-east-1", upload=True)
        await portal.made()
    begun = await portal.begin()
    assert (begun.run, begun.unchanged) == (None, 3)
    (unseen,) = begun.unseen
    assert unseen == Unseen("s3://out", 3, "s3://out cannot be looked at: the service does not answer.")
    async with portal.database.begin() as session:
        checked = await checking.check(session)
    assert (checked.seen, checked.amiss, checked.unseen) == (0, [], [unseen])


async def test_what_has_expired_is_not_published_again_nor_looked_for(portal: Portal) -> None:
    """As datasets do."""
    begun = await portal.made()
    await portal.run_sql("update computed_file set expires_at = now() - interval '1 day' where name = 'S1.zip'")
    assert [one.name for one in await portal.remove()] == ["S1.zip"]
    assert (await portal.register(), portal.registrar.refused) == ([], {})
    async with portal.database.begin() as session:
        shown = {row["name"]: row["state"] for row in await computed_files.listing(session)}
    assert shown == {"P1_ALL.zip": "current", "S1.zip": "expired", "S2.zip": "current"}
    await portal.rerun(begun.run, "S1.zip")
    await portal.work(begun.run)
    assert [one.name for one in await portal.register()] == ["S1.zip"]


async def test_a_folder_that_is_not_there_is_not_one_that_lost_its_packages(portal: Portal) -> None:
    """The disk that it lies on is not mounted."""
    await portal.made()
    away = portal.packages.rename(portal.packages.with_name("away"))
    begun = await portal.begin()
    assert (begun.run, begun.unchanged) == (None, 3)
    why = f"{portal.packages} cannot be looked at: it is not there. Is its disk mounted?"
    assert begun.unseen == [Unseen(portal.packages.as_uri(), 3, why)]
    away.rename(portal.packages)
    again = await portal.begin()
    assert (again.unchanged, again.unseen) == (3, [])


async def test_a_package_that_cannot_be_looked_at_keeps_no_other_from_being_published(portal: Portal) -> None:
    begun = await portal.begin()
    await portal.work(begun.run)
    told = await portal.output("P1_ALL.zip")
    told["file"]["key"] = "x" * 300
    await portal.put_out("P1_ALL.zip", told)
    assert [one.name for one in await portal.register()] == ["S1.zip", "S2.zip"]
    (refusal,) = portal.registrar.refused.values()
    assert "name too long" in refusal.why.lower()


async def test_nothing_begins_where_the_store_cannot_be_written(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with s3_server() as endpoint:
        await portal.publish(store="s3://nowhere", endpoint=endpoint, region="us-east-1", upload=True)
        with pytest.raises(StorageRefused, match=r"^s3://nowhere cannot be written: there is no such bucket\.$"):
            await portal.begin()
    portal.packages.parent.mkdir(exist_ok=True)
    portal.packages.write_text("no folder")
    await portal.publish()
    with pytest.raises(StorageRefused, match="cannot be written to: file exists"):
        await portal.begin()
    assert await portal.value("select count(*) from run") == 0


async def test_a_bucket_that_goes_during_a_run_fails_its_packages_at_once_and_alike(
    portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with s3_server("leaving") as endpoint:
        await portal.publish(store="s3://leaving", endpoint=endpoint, region="us-east-1", upload=True)
        begun = await portal.begin()
        client({"endpoint": endpoint}).delete_bucket(Bucket="leaving")
        await portal.work(begun.run)
    async with portal.database.begin() as session:
        rows = await package_runs.progress(session, begun.run or 0)
    assert {row["reason"] for row in rows} == {"s3://leaving cannot be written: there is no such bucket."}
    assert await portal.value("select count(*) from attempt") == 3


async def test_files_whose_bytes_are_gone_are_listed_and_nothing_is_changed(portal: Portal) -> None:
    await portal.made()
    current = await portal.current()
    (portal.packages / current["S1.zip"]["key"]).unlink()
    async with portal.database.begin() as session:
        checked = await checking.check(session, projects=["P1"])
        with pytest.raises(NotFound, match="There is no project named 'P9'"):
            await checking.check(session, projects=["P9"])
    (amiss,) = checked.amiss
    assert (amiss.id, amiss.name, amiss.key) == (current["S1.zip"]["id"], "S1.zip", current["S1.zip"]["key"])
    assert amiss.why == f"its bytes are gone from {portal.packages.as_uri()}"
    assert (checked.seen, checked.unseen) == (3, [])
    assert await portal.current() == current
