"""A folder read into the catalogue: files, items, projects; again and again."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from tests.factory import make_run

from tidemill.catalogue import items, projects, statuses
from tidemill.catalogue.sorting import Blocks
from tidemill.catalogue.sources import syncs
from tidemill.catalogue.sync import sync
from tidemill.catalogue.sync_report import SyncReport
from tidemill.db.database import Database
from tidemill.db.models import Source
from tidemill.db.queries import sql
from tidemill.errors import Conflict, InvalidInput, NotFound, StorageError, TidemillError, UnknownIds

RULES: list[dict[str, Any]] = [
    {"pattern": "ignored/**", "ignore": True},
    {"pattern": "{project}/{item:cpb-[^./]+}.{kind:mp4|txt}", "attributes": {"role": "original"}},
    {"pattern": "{item}.wav", "project": "sound"},
    {"pattern": "{project}.lock", "lock": True},
    {"pattern": "{project}/bulk/*"},
    {"pattern": "{project}/{item}/*.h5", "split": ","},
    {"pattern": "*.csv", "attributes": {"role": "metadata"}},
]


def _write(folder: Path, *keys: str, text: str = "x") -> None:
    for key in keys:
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_text(text)


@pytest.fixture
async def folder(database: Database, tmp_path: Path) -> Path:
    folder = tmp_path / "my recordings"
    folder.mkdir()
    async with database.begin() as session:
        session.add(Source(name="recordings", url=folder.as_uri(), layout={"rules": RULES}))
    return folder


async def _sync(database: Database, *, allow_wipe: bool = False, dry_run: bool = False) -> SyncReport:
    return await sync(database, "recordings", allow_wipe=allow_wipe, dry_run=dry_run)


async def _item(database: Database, name: str) -> dict[str, Any]:
    async with database.begin() as session:
        return await items.get(session, name)


async def test_files_become_items_in_projects(database: Database, folder: Path) -> None:
    _write(
        folder, "slates/cpb-1.mp4", "slates/cpb-1.txt", "news/cpb-2.mp4", "tape 1.wav", "ignored/a/b.mp4", "readme.md"
    )
    _write(folder, ".hidden", ".git/x.wav", "half.wav.part", "slates/cpb-3.mp4~")
    report = await _sync(database)
    assert (report.seen, report.created, report.changed, report.items, report.projects) == (4, 4, 0, 3, 3)
    assert (report.ignored, report.skipped) == (1, 4)
    assert (report.unmatched.count, report.unmatched.keys) == (1, ["readme.md"])
    item = await _item(database, "cpb-1")
    assert item["projects"] == ["slates"]
    assert [(file["key"], file["attributes"]) for file in item["file_list"]] == [
        ("slates/cpb-1.mp4", {"mime": "video/mp4", "kind": "mp4", "role": "original"}),
        ("slates/cpb-1.txt", {"mime": "text/plain", "kind": "txt", "role": "original"}),
    ]
    assert (await _item(database, "tape 1"))["projects"] == ["sound"]


async def test_a_second_sync_makes_the_catalogue_true_to_the_source(database: Database, folder: Path) -> None:
    _write(folder, *(f"{n:02}.wav" for n in range(20)))
    await _sync(database)
    before = await _item(database, "00")
    again = await _sync(database)
    assert (again.seen, again.created, again.changed, again.deleted, again.items) == (20, 0, 0, 0, 0)
    assert await _item(database, "00") == before
    _write(folder, "01.wav", text="longer than before")
    _write(folder, "new.wav")
    (folder / "02.wav").unlink()
    would = await _sync(database, dry_run=True)
    did = await _sync(database)
    for report in (would, did):
        assert (report.created, report.changed, report.deleted, report.items) == (1, 1, 1, 1)
        assert (report.gone.count, report.gone.keys) == (1, ["02.wav"])
    assert (await _item(database, "02"))["file_list"] == []
    assert (await _item(database, "01"))["file_list"][0]["size"] == 18
    async with database.begin() as session:
        kept = await syncs(session, "recordings")
    assert [(row["seen"], row["created"], row["deleted"]) for row in kept] == [
        (20, 1, 1),
        (20, 1, 1),
        (20, 0, 0),
        (20, 20, 0),
    ]
    assert [row["details"]["dry_run"] for row in kept] == [False, True, False, False]
    assert kept[0]["details"]["gone"]["keys"] == ["02.wav"]


async def test_a_source_does_not_lose_much_without_being_told_that_it_may(database: Database, folder: Path) -> None:
    _write(folder, *(f"{n:02}.wav" for n in range(20)))
    await _sync(database)
    for n in range(3):
        (folder / f"{n:02}.wav").unlink()
    with pytest.raises(Conflict, match=r"15% of its 20 files are gone \(3: 00.wav, 01.wav, 02.wav\)") as refused:
        await _sync(database)
    assert "--allow-bucket-wipe" in str(refused.value.hint)
    assert len((await _item(database, "00"))["file_list"]) == 1
    assert (await _sync(database, allow_wipe=True)).deleted == 3
    async with database.begin() as session:
        await session.execute(text("update source set may_lose = 1"))
    for path in folder.glob("*.wav"):
        path.unlink()
    with pytest.raises(Conflict, match="all its 17 files are gone"):
        await _sync(database)
    assert (await _sync(database, allow_wipe=True)).deleted == 17


async def test_files_of_a_locked_project_stay_and_the_lock_may_lie_in_the_source(
    database: Database, folder: Path
) -> None:
    _write(folder, *(f"slates/cpb-{n}.mp4" for n in range(9)), "other.wav")
    await _sync(database)
    _write(folder, "slates.lock")
    (folder / "slates/cpb-0.mp4").unlink()
    report = await _sync(database)
    assert (report.locked, report.kept, report.deleted, report.created) == (1, 1, 0, 1)
    assert len((await _item(database, "cpb-0"))["file_list"]) == 1
    (folder / "slates.lock").unlink()
    report = await _sync(database, allow_wipe=True)
    assert (report.unlocked, report.kept, report.deleted) == (1, 0, 2)
    async with database.begin() as session:
        assert not next(p for p in await projects.listing(session) if p["name"] == "slates")["locked"]


async def test_a_file_may_belong_to_several_items_or_to_a_project_alone(database: Database, folder: Path) -> None:
    _write(folder, "P1/S1,S2/pool.h5", "P1/S1/own.h5", "P1/bulk/counts.tsv", "about.csv")
    await _sync(database)
    for name, keys in (("S1", ["P1/S1,S2/pool.h5", "P1/S1/own.h5"]), ("S2", ["P1/S1,S2/pool.h5"])):
        found = await _item(database, name)
        assert ([file["key"] for file in found["file_list"]], found["projects"]) == (keys, ["P1"])
    async with database.begin() as session:
        rows = await session.execute(
            text("select f.key, p.name from file f left join project p on p.id = f.project_id order by f.key")
        )
        assert [tuple(row) for row in rows.all() if "S" not in row[0]] == [
            ("P1/bulk/counts.tsv", "P1"),
            ("about.csv", None),
        ]


async def test_a_second_sync_at_the_same_time_says_so(database: Database, folder: Path) -> None:
    _write(folder, "a.wav")
    connection = await database.connect()
    async with connection:
        async with database.begin() as session:
            source = await session.scalar(select(Source.id))
        await connection.execute(sql("sync.alone").encode(), {"source": source})
        with pytest.raises(Conflict, match="being synced already"):
            await _sync(database)
    assert (await _sync(database)).created == 1


async def test_a_sync_that_breaks_off_changes_nothing(
    database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(folder, "a.wav")

    def cut(self: Blocks) -> bytes:
        return b"half a li"

    with monkeypatch.context() as patch:
        patch.setattr(Blocks, "__next__", cut)
        with pytest.raises(TidemillError):
            await _sync(database)
    with pytest.raises(NotFound):
        await _item(database, "a")
    assert (await _sync(database)).created == 1


async def test_a_locked_project_takes_no_items(database: Database, folder: Path) -> None:
    _write(folder, "a.wav")
    await _sync(database)
    async with database.begin() as session:
        await projects.lock(session, "sound")
    _write(folder, "b.wav")
    assert (await _sync(database)).held_out == {"sound": 1}
    with pytest.raises(NotFound):
        await _item(database, "b")
    async with database.begin() as session:
        with pytest.raises(Conflict, match="sound"):
            await items.add(session, [{"name": "c", "projects": ["sound"]}])
        await projects.lock(session, "sound", locked=False)
    assert (await _sync(database)).held_out == {}
    assert (await _item(database, "b"))["projects"] == ["sound"]


async def test_names_that_are_not_text_and_links_in_circles_stop_nothing(database: Database, folder: Path) -> None:
    _write(folder, "a.wav")
    (folder / "round").symlink_to(folder, target_is_directory=True)
    (folder / "link.wav").symlink_to(folder / "a.wav")
    (folder / "dangling.wav").symlink_to(folder / "nowhere")
    Path(os.fsdecode(os.fsencode(folder) + b"/b\xe4d.wav")).write_text("x")
    report = await _sync(database)
    assert (report.seen, report.unreadable.keys) == (2, ["b\\xe4d.wav"])


async def test_a_source_that_cannot_be_read_says_so(database: Database, folder: Path) -> None:
    folder.rmdir()
    with pytest.raises(StorageError, match="recordings"):
        await _sync(database)
    async with database.begin() as session:
        session.add(Source(name="odd", url="ftp://host/", layout={"rules": []}))
    with pytest.raises(InvalidInput, match="ftp://host/"):
        await sync(database, "odd")
    with pytest.raises(NotFound):
        await sync(database, "nowhere")


async def _guards(database: Database) -> set[tuple[Any, ...]]:
    """The constraints, indexes and triggers of the catalogue as they stand."""
    async with database.begin() as session:
        found = await session.execute(
            text(
                "select conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated from pg_constraint "
                "where connamespace = 'public'::regnamespace "
                "union all select tablename, indexname, indexdef, true from pg_indexes where schemaname = 'public' "
                "union all select tgrelid::regclass::text, tgname, tgenabled::text, true "
                "from pg_trigger where not tgisinternal"
            )
        )
        return set(map(tuple, found.all()))


@pytest.mark.parametrize("alone", [True, False])
async def test_a_large_first_load_leaves_every_constraint_and_index_as_it_was(
    database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    monkeypatch.setattr("tidemill.catalogue.merging.LARGE", 10)
    _write(folder, *(f"P1/S{n},S{n + 1}/a.h5" for n in range(20)), "P2.lock", "P2/S50/a.h5")
    before = await _guards(database)
    assert (await _sync(database, dry_run=True)).tied == 40
    assert await _guards(database) == before
    async with AsyncExitStack() as stack:
        if not alone:  # somebody looks at the items all the while
            reader = await stack.enter_async_context(database.begin())
            await reader.execute(text("select count(*) from item"))
        report = await _sync(database)
    assert (report.created, report.items, report.tied, report.projects, report.locked) == (22, 21, 40, 2, 1)
    assert report.held_out == {"P2": 1}
    assert await _guards(database) == before
    async with database.begin() as session:
        rows = await session.execute(
            text("select i.name, count(*) from change c join item i on i.id = c.item_id group by 1")
        )
        assert {row[0] for row in rows} == {f"S{n}" for n in range(21)}
    _write(folder, "P1/S1/b.h5")
    assert ((report := await _sync(database)).created, report.tied) == (1, 1)


async def test_adding_items_merges_metadata_and_keeps_status(database: Database) -> None:
    async with database.begin() as session:
        first = await items.add(session, [{"name": "a", "metadata": {"x": 1}}, {"name": "b", "status": "bad"}])
        second = await items.add(session, [{"name": "a", "metadata": {"y": 2}}, {"name": "b"}])
    assert ((first.created, first.changed), (second.created, second.changed)) == ((2, 0), (0, 1))
    assert (await _item(database, "a"))["metadata"] == {"x": 1, "y": 2}
    assert (await _item(database, "b"))["status"] == "bad"
    async with database.begin() as session:
        for wrong in (
            {"metadata": {}},
            {"name": "a", "colour": 1},
            {"name": "a\0"},
            {"name": "a", "metadata": {"x": "\0"}},
        ):
            with pytest.raises(InvalidInput):
                await items.add(session, [wrong])


async def test_the_status_of_many_is_shown_before_and_set_only_where_it_is_as_expected(database: Database) -> None:
    run = await make_run(database, items=3)
    names = [run.item(n) for n in range(3)]
    async with database.begin() as session:
        assert await statuses.change(session, statuses.Which(names[:1]), "bad", reason="no signal") == 1
    which = statuses.Which(search=f"from:{names[0]} to:{names[1]}")
    async with database.begin() as session:
        standing = await statuses.look(session, which, "hidden", expected="good")
        assert standing.changing == [{"status": "good", "items": 1, "names": names[1:2]}]
        assert standing.left == [{"status": "bad", "items": 1, "names": names[:1]}]
        with pytest.raises(UnknownIds, match="nobody"):
            await statuses.change(session, statuses.Which([*names, "nobody"]), "hidden")
        with pytest.raises(InvalidInput):
            await statuses.change(session, statuses.Which(), "hidden")
        assert await statuses.change(session, which, "hidden", expected="good") == standing.items
    found = [await _item(database, name) for name in names]
    assert [row["status"] for row in found] == ["bad", "hidden", "good"]
    assert [row["status_reason"] for row in found] == ["no signal", "", ""]


async def test_twenty_thousand_files_are_one_merge(database: Database, folder: Path) -> None:
    for n in range(20_000):
        (folder / f"{n:06d}.wav").touch()
    report = await _sync(database)
    assert (report.seen, report.created, report.items) == (20_000, 20_000, 20_000)
    async with database.begin() as session:
        page = await items.search(session, "project:sound", limit=2, offset=10)
        assert (page.total, [row["name"] for row in page.rows]) == (20_000, ["000010", "000011"])
        assert page.rows[0]["files"] == 1
        assert (await items.search(session, "project:sound", offset=30_000)).total == 20_000


async def test_several_sources_at_once_share_items_and_projects(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.catalogue.merging.LARGE", 10)
    names = [f"s{n}" for n in range(4)]
    async with database.begin() as session:
        for name in names:
            _write(tmp_path / name, *(f"P{n % 7}/S{n:03}/a.h5" for n in range(100)), "P3.lock")
            session.add(Source(name=name, url=(tmp_path / name).as_uri(), layout={"rules": RULES}))
    reports = await asyncio.gather(*(sync(database, name) for name in names))
    assert [report.created for report in reports] == [101] * 4
    assert sum(report.items for report in reports) == 100 - len(range(3, 100, 7))
    async with database.begin() as session:
        rows = await session.execute(text("select count(*), count(distinct item_id) from item_file"))
        assert tuple(rows.one()) == (4 * 86, 86)
    for name in names:
        assert not (await sync(database, name)).did_something


async def test_a_full_disk_is_said_and_nothing_is_changed(
    database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    _write(folder, *(f"{n}.txt" for n in range(1100)), "a.wav")
    with monkeypatch.context() as patch:
        patch.setattr("tempfile.TemporaryFile", lambda **_: Path("/dev/full").open("wb", buffering=0))  # noqa: SIM115
        with pytest.raises(StorageError, match="temporary file: No space left on device"):
            await _sync(database)
    assert (await _sync(database)).created == 1
