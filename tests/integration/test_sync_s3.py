"""Buckets read into the catalogue: what a listing may hold, and what goes wrong on the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import obstore
import pytest
from sqlalchemy import text
from tests.ceph import Bucket
from tests.stalling_s3 import stalling_s3
from tests.transactions import no_transaction_is_open

from tidemill.catalogue import items
from tidemill.catalogue.sources import syncs
from tidemill.catalogue.sync import sync
from tidemill.catalogue.sync_report import SyncReport
from tidemill.db.database import Database, Row
from tidemill.db.models import Source
from tidemill.errors import Conflict, StorageError
from tidemill.storage.stores import open_store

RULES: list[dict[str, Any]] = [
    {"pattern": "{project}.lock", "lock": True},
    {"pattern": "{project:P\\d+}/{item:S[^/]+}/{name}", "split": ","},
    {"pattern": "{project:P\\d+}/bulk/*"},
    {"pattern": "**", "attributes": {"role": "other"}},
]
Sync = Callable[..., Any]
ODD = (
    "a/plain", "folder/", "ctl\x01", "tab\t", "cr\rx", "Case", "case", "CASE", "über/ß", "u\u0308ber", "日本", "😀",
    "per%41cent", "per%2Fcent", "a b+c&amp;<x>", "quo'te\"", "back\\slash", "{b}", "#?*", "~", "end ",
    "del\x7f", "x" * 1024,
)  # fmt: skip
NO_PATHS = ("../up", "a/../b", "./here", "a/./b", "/absolute", "a//double")


@pytest.fixture
async def read(database: Database, quick_s3: Bucket) -> Sync:
    """Syncs the bucket of `quick_s3`."""
    await _source(database, quick_s3)

    async def read(**options: Any) -> SyncReport:
        return await sync(database, "bucket", **options)

    return read


async def _source(database: Database, bucket: Bucket, prefix: str = "", **options: Any) -> None:
    async with database.begin() as session:
        session.add(
            Source(name="bucket", url=bucket.url + prefix, options=bucket.options | options, layout={"rules": RULES})
        )


async def _sql(database: Database, statement: str, **params: Any) -> list[Row]:
    async with database.begin() as session:
        found = await session.execute(text(statement), params)
        return [dict(row) for row in found.mappings()] if found.returns_rows else []


async def _keys(database: Database) -> list[str]:
    return [row["key"] for row in await _sql(database, 'select key from file order by key collate "C"')]


async def _item_keys(database: Database, name: str) -> list[str]:
    async with database.begin() as session:
        return [file["key"] for file in (await items.get(session, name))["file_list"]]


async def _state(database: Database) -> list[Row]:
    """Which transaction wrote each row of the catalogue last, and how long the change feed is."""
    tables = ("file", "item", "project", "item_file", "project_item")
    parts = [f"select '{name}' as what, xmin::text::bigint as n, count(*) from {name} group by 2" for name in tables]
    return await _sql(
        database, " union all ".join([*parts, "select 'change', 0, count(*) from change"]) + " order by 1, 2"
    )


async def test_keys_of_all_kinds_come_as_they_are_or_are_listed(database: Database, s3: Bucket) -> None:
    for key in (*ODD, *NO_PATHS):
        s3.put(key)
    await _source(database, s3)
    report = await sync(database, "bucket")
    assert await _keys(database) == sorted(key for key in ODD if key != "folder/")
    assert sorted(report.unreadable.keys) == sorted(NO_PATHS)
    assert (report.seen, report.skipped) == (len(ODD) - 1, 1)
    again = await sync(database, "bucket")
    assert not again.did_something


async def test_the_markers_of_folders_are_no_files(database: Database, quick_s3: Bucket, read: Sync) -> None:
    for key in ("P1/", "P1/S1/", "empty/", "P1/S1/sub/"):
        quick_s3.put(key, b"")
    quick_s3.put("P1/S1/a.dat")
    quick_s3.put("P1/S2/none.dat", b"")
    report = await read()
    assert (report.seen, report.skipped) == (2, 4)
    assert await _keys(database) == ["P1/S1/a.dat", "P1/S2/none.dat"]


async def test_a_real_service_pages_parts_and_refuses(
    database: Database, s3: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(s3.url, s3.options)
    await asyncio.gather(*(obstore.put_async(store, f"in/P1/S{n}/a.dat", b"x") for n in range(1100)))
    s3.put("in/P1/S5/../odd.dat")
    s3.put("in2/P1/S1/beside.dat")
    upload = s3.client.create_multipart_upload(Bucket=s3.name, Key="in/P1/bulk/large")["UploadId"]
    part = {"Bucket": s3.name, "Key": "in/P1/bulk/large", "UploadId": upload}
    parts = [
        {"PartNumber": n, "ETag": s3.client.upload_part(**part, PartNumber=n, Body=body)["ETag"]}
        for n, body in ((1, b"x" * 5 * 2**20), (2, b"y"))
    ]
    s3.client.complete_multipart_upload(**part, MultipartUpload={"Parts": parts})
    await _source(database, s3, "/in")
    report = await sync(database, "bucket")
    assert (report.seen, report.created, report.items, report.unreadable.keys) == (
        1101,
        1101,
        1100,
        ["P1/S5/../odd.dat"],
    )
    (large,) = await _sql(database, "select size, etag from file where key = 'P1/bulk/large'")
    assert (large["size"], large["etag"][-2:]) == (5 * 2**20 + 1, "-2")
    assert not (await sync(database, "bucket")).did_something
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(StorageError, match=r"'bucket' cannot be read.*refuses us \(SignatureDoesNotMatch\)") as refused:
        await sync(database, "bucket")
    assert "AWS_SECRET_ACCESS_KEY" in str(refused.value.hint)
    await _sql(database, """update source set options = options || '{"anonymous": true}'""")
    with pytest.raises(StorageError, match=r"refuses us \(AccessDenied\)"):
        await sync(database, "bucket")
    s3.client.put_bucket_acl(Bucket=s3.name, ACL="public-read")
    assert (await sync(database, "bucket")).seen == 1101
    assert len(await _keys(database)) == 1101


async def test_a_bucket_that_is_not_there_or_does_not_answer_is_said(database: Database, quick_s3: Bucket) -> None:
    await _source(database, quick_s3)
    await _sql(database, "update source set url = 's3://nowhere'")
    with pytest.raises(StorageError, match="s3://nowhere cannot be listed: there is no such bucket"):
        await sync(database, "bucket")
    await _sql(database, """update source set options = options || '{"endpoint": "http://127.0.0.1:1"}'""")
    with pytest.raises(StorageError, match="the service does not answer"):
        await sync(database, "bucket")
    async with database.begin() as session:
        kept = await syncs(session, "bucket")
        assert (await session.scalar(text("select synced_at from source"))) is None
    assert [row["details"]["error"][:33] for row in kept] == ["Source 'bucket' cannot be read. s3"[:33]] * 2


async def test_an_unchanged_bucket_writes_nothing_to_the_catalogue(
    database: Database, quick_s3: Bucket, read: Sync
) -> None:
    for key in ("P1/S1,S2/a", "P1/S1/b", "P1/bulk/c", "P2/S3/d", "P2.lock", "else"):
        quick_s3.put(key)
    assert (await read()).did_something
    before = await _state(database)
    report = await read()
    assert (report.seen, report.did_something) == (6, False)
    assert await _state(database) == before
    quick_s3.put("P1/S1/b", b"other")
    assert ((await read()).changed, await _state(database) == before) == (1, False)


async def test_a_multiplexed_file_is_a_file_of_each_item_and_rules_that_change_move_links(
    database: Database, quick_s3: Bucket, read: Sync
) -> None:
    quick_s3.put("P1/S1,S2/pool.h5")
    quick_s3.put("P1/S1/own.h5")
    quick_s3.put("P1/bulk/counts.tsv")
    await read()
    assert await _item_keys(database, "S1") == ["P1/S1,S2/pool.h5", "P1/S1/own.h5"]
    assert await _item_keys(database, "S2") == ["P1/S1,S2/pool.h5"]
    rules = [{"pattern": "P1/{item:S[^/]+}/*", "project": "one"}, *RULES[2:]]
    await _sql(database, "update source set layout = cast(:rules as jsonb)", rules=json.dumps({"rules": rules}))
    report = await read()
    assert (report.tied, report.untied, report.items, report.projects, report.changed) == (1, 2, 1, 1, 2)
    assert await _item_keys(database, "S1,S2") == ["P1/S1,S2/pool.h5"]
    assert await _item_keys(database, "S2") == []
    (row,) = await _sql(database, "select p.name from project_item x join project p on p.id = x.project_id "
                                  "join item i on i.id = x.item_id where i.name = 'S1,S2'")  # fmt: skip
    assert row["name"] == "one"


async def test_a_locked_projects_rows_stay_while_its_lock_lies_there_and_come_back_after(
    database: Database, quick_s3: Bucket, read: Sync
) -> None:
    keys = [f"P1/S{n}/a" for n in range(5)] + [f"P2/S{n}/a" for n in range(20, 60)]
    for key in keys:
        quick_s3.put(key)
    await read()
    quick_s3.put("P1.lock")
    assert (await read()).locked == 1
    quick_s3.remove(*keys[:5])
    report = await read()
    assert (report.kept, report.deleted, report.gone.count) == (5, 0, 0)
    assert await _item_keys(database, "S0") == ["P1/S0/a"]
    ids = await _sql(database, "select id, key from file order by id")
    for key in keys[:5]:
        quick_s3.put(key)
    quick_s3.remove("P1.lock")
    report = await read()
    assert (report.unlocked, report.deleted, report.created) == (1, 1, 0), "of the files only the lock itself went"
    assert await _sql(database, "select id, key from file where key <> 'P1.lock' order by id") == ids[: len(keys)]


async def test_the_guard_counts_what_an_unlocking_would_let_go(
    database: Database, quick_s3: Bucket, read: Sync
) -> None:
    keys = [f"P1/S{n}/a" for n in range(5)] + [f"P2/S{n}/a" for n in range(20, 25)]
    for key in (*keys, "P1.lock"):
        quick_s3.put(key)
    await read()
    quick_s3.remove(*keys[:5], "P1.lock")
    with pytest.raises(Conflict, match="50% of its 10 files are gone"):
        await read()
    assert await _sql(database, "select locked from project where name = 'P1'") == [{"locked": True}]
    assert len(await _keys(database)) == 11
    dry = await read(dry_run=True)
    assert (dry.deleted, dry.unlocked, "50% of its 10 files" in dry.refused) == (6, 1, True)
    assert (await read(allow_wipe=True)).deleted == 6


async def test_all_that_may_go_never_goes_unasked_even_beside_a_locked_project(
    database: Database, quick_s3: Bucket, read: Sync
) -> None:
    for key in ("P1/S1/a", "P1.lock", "P2/S2/a", "P2/S3/a"):
        quick_s3.put(key)
    await read()
    await _sql(database, "update source set may_lose = 1")
    quick_s3.remove("P2/S2/a", "P2/S3/a")
    with pytest.raises(Conflict, match="all its 2 files are gone"):
        await read()
    await _sql(database, "delete from source")
    await _source(database, quick_s3)
    quick_s3.remove("P1/S1/a", "P1.lock")
    assert (await read()).seen == 0, "a bucket that was empty from the beginning is nothing to worry about"


async def test_projects_locked_from_two_sources_stay_locked_until_both_locks_are_gone(
    database: Database, quick_s3: Bucket, read: Sync
) -> None:
    quick_s3.put("P1.lock")
    quick_s3.put("b/P1.lock")
    async with database.begin() as session:
        session.add(Source(name="other", url=f"{quick_s3.url}/b", options=quick_s3.options, layout={"rules": RULES}))
    assert ((await read()).locked, (await sync(database, "other")).locked) == (1, 0)
    quick_s3.remove("P1.lock")
    assert (await read(allow_wipe=True)).unlocked == 0
    quick_s3.remove("b/P1.lock")
    assert (await sync(database, "other", allow_wipe=True)).unlocked == 1


async def test_two_syncs_at_once_are_one_after_the_other(database: Database, quick_s3: Bucket, read: Sync) -> None:
    for n in range(20):
        quick_s3.put(f"P1/S{n}/a")
    reports = await asyncio.gather(*(read(wait=True) for _ in range(3)))
    assert sorted(report.created for report in reports) == [0, 0, 20]
    assert {report.seen for report in reports} == {20}


async def test_a_second_sync_meanwhile_says_so_and_a_long_listing_holds_nobody_back(
    database: Database, quick_s3: Bucket
) -> None:
    with stalling_s3() as service:
        await _source(database, quick_s3, endpoint=service.endpoint)
        seen: list[int] = []
        long = asyncio.create_task(sync(database, "bucket", progress=seen.append))
        await asyncio.to_thread(service.stalled.wait, 30)
        with pytest.raises(Conflict, match="'bucket' is being synced already"):
            await sync(database, "bucket")
        await no_transaction_is_open(database)
        service.go_on.set()
        assert (await long).created == 2000
        assert seen == [1000, 2000]


async def test_a_source_that_is_changed_meanwhile_is_not_merged_by_its_old_rules(
    database: Database, quick_s3: Bucket
) -> None:
    with stalling_s3() as service:
        await _source(database, quick_s3, endpoint=service.endpoint)
        long = asyncio.create_task(sync(database, "bucket"))
        await asyncio.to_thread(service.stalled.wait, 30)
        await _sql(database, """update source set layout = '{"rules": [{"pattern": "{item}"}]}'""")
        service.go_on.set()
        with pytest.raises(Conflict, match="was changed while it was being read"):
            await long
    assert await _keys(database) == []


async def test_a_service_that_goes_away_midway_changes_nothing(database: Database, quick_s3: Bucket) -> None:
    with stalling_s3(cuts=True) as service:
        await _source(database, quick_s3, endpoint=service.endpoint)
        before = await _state(database)
        with pytest.raises(StorageError, match="the service does not answer"):
            await sync(database, "bucket")
    assert await _state(database) == before
    async with database.begin() as session:
        (row,) = await syncs(session)
    assert (row["created"], row["seen"], row["details"]["error"][:15]) == (0, 1000, "Source 'bucket'")


async def test_keys_of_which_no_name_can_be_made_are_listed(database: Database, quick_s3: Bucket, read: Sync) -> None:
    for key in ("P1/S\x01/a", "P1/S1/a", f"P1/S{'x' * 600}/a", "new\tline.lock"):
        quick_s3.put(key)
    report = await read()
    assert (report.seen, report.items) == (1, 1)
    assert sorted(report.unreadable.keys) == sorted(["P1/S\x01/a", f"P1/S{'x' * 600}/a", "new\tline.lock"])


async def test_a_package_of_the_same_name_is_no_item_for_files(
    database: Database, quick_s3: Bucket, read: Sync
) -> None:
    await _sql(database, "insert into item (name, kind) values ('S1', 'package')")
    quick_s3.put("P1/S1/a")
    await read()
    assert await _sql(database, "select * from item_file") == []
