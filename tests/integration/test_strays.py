"""What builders left in stores and no record points to is found and taken away; nothing else is ever touched."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from pathlib import Path

import pytest
from tests.ceph import Bucket
from tests.packaging import Portal
from tests.program import Program

from tidemill.db.database import Database
from tidemill.domain.package_plan import StorePlace, read_plan
from tidemill.publishing import objects, package_runs, purging, store_contents
from tidemill.publishing.build import build
from tidemill.publishing.package_runs import Wish
from tidemill.publishing.strays import DAY, Sweep, Sweeper
from tidemill.storage.documents import DocumentStore

ANY_AGE = -10.0


@pytest.fixture
async def portal(database: Database, documents: DocumentStore, tmp_path: Path, database_url: str) -> Portal:
    portal = Portal(database, documents, tmp_path, database_url)
    await portal.lay("S1", "S2")
    return portal


async def sweep(portal: Portal, *, remove: bool = False, older_than: float = ANY_AGE) -> Sweep:
    return await Sweeper(portal.database, portal.documents, portal.packages, older_than).sweep(remove=remove)


def keys(found: Sweep) -> list[str]:
    return sorted(one.lies.key for one in found.strays)


async def orphan(portal: Portal, package: str) -> str:
    """A package that was built and whose builder never told of it: its run is cancelled. Its key."""
    begun = await portal.begin()
    body = await portal.value(
        "select d.body from task t join item i on i.id = t.item_id join document d on d.sha256 = t.document"
        " where i.name = :name order by t.run_id desc limit 1",
        name=package,
    )
    await build(body.encode(), lambda _: None)
    for name in begun.packages:
        await portal.cancel(begun.run, name)
    return read_plan(body.encode()).key


async def test_what_a_cancelled_task_left_is_found_and_removed(portal: Portal) -> None:
    key = await orphan(portal, "S1.zip")
    found = await sweep(portal)
    assert (keys(found), found.looked, found.strays[0].removed) == ([key], 1, False)
    assert portal.lying() == {key}
    done = await sweep(portal, remove=True)
    assert [(one.lies.key, one.removed) for one in done.strays] == [(key, True)]
    assert portal.lying() == set()
    assert list(portal.packages.iterdir()) == []
    await portal.made()
    assert set(await portal.current()) == {"P1_ALL.zip", "S1.zip", "S2.zip"}


async def test_what_is_recorded_or_in_the_works_is_none(portal: Portal) -> None:
    await portal.made()
    await portal.change("S1", "other")
    await portal.made()  # the ones before are replaced, and can be fetched yet
    assert (await sweep(portal)).strays == []
    await portal.change("S2", "other")
    begun = await portal.begin()
    await orphan_of_running(portal, "S2.zip")
    found = await sweep(portal)
    assert (found.strays, found.busy) == ([], 1)
    await portal.work(begun.run)
    found = await sweep(portal)  # done, and not published yet
    assert (found.strays, found.busy) == ([], 2)
    await portal.register()
    assert ((await sweep(portal, remove=True)).strays, len(portal.lying())) == ([], 7)


async def test_a_result_that_waits_to_be_published_is_none_whatever_became_of_a_newer_run(portal: Portal) -> None:
    """The store could not be reached when the first run was done; the second was begun and cancelled."""
    first = await portal.begin()
    await portal.work(first.run)
    lying = portal.lying()
    second = await portal.begin()
    for name in second.packages:
        await portal.cancel(second.run, name)
    done = await sweep(portal, remove=True)
    assert (done.strays, done.busy, portal.lying()) == ([], 3, lying)
    assert len(await portal.register()) == 3


async def test_a_result_made_again_in_the_same_task_is_none_until_it_is_published(portal: Portal) -> None:
    begun = await portal.made()
    await portal.run_sql("update computed_file set expires_at = now() - interval '1 day' where name = 'S1.zip'")
    assert [one.name for one in await portal.remove()] == ["S1.zip"]
    await portal.rerun(begun.run, "S1.zip")
    await portal.work(begun.run)
    done = await sweep(portal, remove=True)
    assert (done.strays, done.busy) == ([], 1)
    assert [one.name for one in await portal.register()] == ["S1.zip"]


async def orphan_of_running(portal: Portal, package: str) -> None:
    body = await portal.value(
        "select d.body from task t join item i on i.id = t.item_id join document d on d.sha256 = t.document"
        " where i.name = :name and t.state = 'waiting'",
        name=package,
    )
    await build(body.encode(), lambda _: None)


async def test_what_is_not_ours_is_never_touched(portal: Portal) -> None:
    key = await orphan(portal, "S1.zip")
    others = ["readme.txt", "0123456789abcdef/S1.zip", "0123456789abcdef/deeper/S1.zip", "SHORT/S1.zip", f"{key}.txt"]
    for other in others:
        path = portal.packages / other
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("another's")
    (portal.packages / "fedcba9876543210").symlink_to(portal.folder)
    odd = os.fsencode(portal.packages / "0123456789abcdef") + b"/\xff.zip"
    os.close(os.open(odd, os.O_CREAT))
    done = await sweep(portal, remove=True)
    assert keys(done) == [key]
    assert done.foreign == 2
    Path(os.fsdecode(odd)).unlink()
    assert portal.lying() == set(others)


async def test_what_is_young_by_the_stores_clock_is_left(portal: Portal) -> None:
    key = await orphan(portal, "S1.zip")
    found = await sweep(portal, remove=True, older_than=DAY)
    assert (found.strays, found.young) == ([], 1)
    old = time.time() - 2 * DAY
    os.utime(portal.packages / key, (old, old))
    assert keys(await sweep(portal, remove=True, older_than=DAY)) == [key]


async def test_part_files_that_nobody_holds(portal: Portal) -> None:
    folder = portal.packages / "0123456789abcdef"
    folder.mkdir(parents=True)
    dead, held = folder / f".{'a' * 32}.part", folder / f".{'b' * 32}.part"
    dead.write_bytes(b"half")
    with held.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert [Path(key).name for key in keys(await sweep(portal))] == [dead.name]
        assert [one.removed for one in (await sweep(portal, remove=True)).strays] == [True]
    assert [path.name for path in folder.iterdir()] == [held.name]


async def test_what_a_purge_left_on_purpose_stays(portal: Portal) -> None:
    await portal.made()
    lying = portal.lying()
    async with portal.database.begin() as session:
        await purging.purge(session, "P1")
    done = await sweep(portal, remove=True)
    assert (done.strays, done.forgotten) == ([], 3)
    assert portal.lying() == lying


async def test_what_a_purge_left_stays_though_a_re_run_was_begun_before(portal: Portal) -> None:
    begun = await portal.made()
    lying = portal.lying()
    await portal.rerun(begun.run, "S1.zip")
    async with portal.database.begin() as session:
        await purging.purge(session, "P1")
    done = await sweep(portal, remove=True)
    assert (done.strays, done.forgotten, portal.lying()) == ([], 3, lying)


async def test_a_build_that_begins_meanwhile_keeps_its_bytes(portal: Portal) -> None:
    """Between the look and the removal somebody asks for the package again."""
    await orphan(portal, "S1.zip")
    async with portal.database.begin() as session:
        await package_runs.begin(session, portal.documents, Wish(portal.packages))
        sweeping = asyncio.create_task(sweep(portal, remove=True))
        await portal.until(
            "select count(*) > 0 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        )
    assert [one.removed for one in (await sweeping).strays] == [False]
    assert len(portal.lying()) == 1


async def test_only_what_somebody_was_shown_is_removed(portal: Portal) -> None:
    key = await orphan(portal, "S1.zip")
    shown = await sweep(portal)
    await orphan(portal, "S2.zip")
    sweeper = Sweeper(portal.database, portal.documents, portal.packages, ANY_AGE)
    done = await sweeper.sweep(remove=True, shown=shown.strays)
    assert [(one.lies.key, one.removed) for one in done.strays] == [(key, True)]
    assert [one.partition("/")[2] for one in portal.lying()] == ["S2.zip"]
    assert (await sweeper.sweep(remove=True, shown=[])).strays == []
    assert len(portal.lying()) == 1


async def test_objects_and_unfinished_uploads_of_s3(portal: Portal, quick_s3: Bucket) -> None:
    await portal.publish(store=f"{quick_s3.url}/made", upload=True, **quick_s3.options)
    key = await orphan(portal, "S1.zip")
    quick_s3.client.create_multipart_upload(Bucket=quick_s3.name, Key=f"made/{key}")
    await in_s3(portal, quick_s3, key)


async def test_objects_and_unfinished_uploads_of_a_real_service(portal: Portal, s3: Bucket) -> None:
    await portal.publish(store=f"{s3.url}/made", upload=True, **s3.options)
    key = await orphan(portal, "S1.zip")
    client = s3.client
    client.create_multipart_upload(Bucket=s3.name, Key=f"made/{key}")
    assert (await sweep(portal, older_than=3600)).young == 2
    await in_s3(portal, s3, key)


async def in_s3(portal: Portal, bucket: Bucket, key: str) -> None:
    client, name = bucket.client, bucket.name
    foreign = f"made/0123456789abcdef/{key.partition('/')[2]}"
    clock = f"{'0' * 16}/.clock-{'a' * 32}"
    for left in (objects.TRIED, clock):
        bucket.put(f"made/{left}", b"")
    for one in (foreign, "made/readme.txt", f"other/{key}"):
        bucket.put(one, b"another's")
    client.create_multipart_upload(Bucket=name, Key=foreign)
    done = await sweep(portal, remove=True)
    assert sorted((one.lies.kind, one.lies.key) for one in done.strays) == [
        ("package", key), ("trial", clock), ("trial", objects.TRIED), ("upload", key),
    ]  # fmt: skip
    assert all(one.removed for one in done.strays)
    assert (done.foreign, done.troubles) == (2, [])
    left = [one["Key"] for one in client.list_objects_v2(Bucket=name)["Contents"]]
    assert sorted(left) == sorted([foreign, "made/readme.txt", f"other/{key}"])
    assert [one["Key"] for one in client.list_multipart_uploads(Bucket=name)["Uploads"]] == [foreign]


async def test_a_store_that_writes_its_time_on_what_is_stored(quick_s3: Bucket) -> None:
    """As GCS and Azure are asked: they say it nowhere else."""
    place = StorePlace(quick_s3.url, quick_s3.options)
    told = await store_contents.now_in(place)
    assert abs((await store_contents.now_as_written(place) - told).total_seconds()) < 600
    assert "Contents" not in quick_s3.client.list_objects_v2(Bucket=quick_s3.name)


def test_the_command_says_first_and_removes_with_yes(portal: Portal, database_url: str) -> None:
    key = asyncio.run(orphan(portal, "S1.zip"))
    old = time.time() - 2 * DAY
    os.utime(portal.packages / key, (old, old))
    tidemill = Program(portal.settings.site, database_url)
    would = tidemill("purge-strays")
    assert key in would.out
    assert "give --yes" in would.err
    assert tidemill("purge-strays", "--older-than", "3d", "--json").json["young"] == 1
    assert "an hour" in tidemill("purge-strays", "--older-than", "5m", code=3).err
    assert "36500d is the most" in tidemill("purge-strays", "--older-than", "800000d", code=3).err
    assert "--older-than is 'soon'" in tidemill("purge-strays", "--older-than", "soon", code=3).err
    assert "Removed 1 stray." in tidemill("purge-strays", "--yes").out
    assert portal.lying() == set()
    assert "No strays" in tidemill("purge-strays").err
