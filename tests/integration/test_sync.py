"""A folder read into the catalogue: files, items, projects; again and again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.factory import make_run

from tidemill.catalogue import items, projects, statuses
from tidemill.catalogue.sync import SyncReport, sync
from tidemill.db.database import Database
from tidemill.db.models import Source
from tidemill.errors import Conflict, InvalidInput, NotFound, StorageError, UnknownIds

RULES: list[dict[str, Any]] = [
    {"pattern": "ignored/**", "ignore": True},
    {"pattern": "{project}/{item:cpb-[^./]+}.{kind:mp4|txt}", "attributes": {"role": "original"}},
    {"pattern": "{item}.wav", "project": "sound"},
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


async def _sync(database: Database) -> SyncReport:
    async with database.begin() as session:
        return await sync(session, "recordings")


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


async def test_a_second_sync_finds_what_is_new_changed_and_gone_and_takes_nothing_away(
    database: Database, folder: Path
) -> None:
    _write(folder, "a.wav", "b.wav", "c.wav")
    await _sync(database)
    before = await _item(database, "a")
    again = await _sync(database)
    assert (again.seen, again.created, again.changed, again.items, again.gone.count) == (3, 0, 0, 0, 0)
    _write(folder, "b.wav", text="longer than before")
    _write(folder, "d.wav")
    (folder / "c.wav").unlink()
    third = await _sync(database)
    assert (third.created, third.changed, third.items) == (1, 1, 1)
    assert (third.gone.count, third.gone.keys) == (1, ["c.wav"])
    assert len((await _item(database, "c"))["file_list"]) == 1
    assert (await _item(database, "b"))["file_list"][0]["size"] == 18
    assert await _item(database, "a") == before


async def test_a_locked_project_takes_no_items(database: Database, folder: Path) -> None:
    _write(folder, "a.wav")
    await _sync(database)
    async with database.begin() as session:
        await projects.lock(session, "sound")
    _write(folder, "b.wav")
    assert (await _sync(database)).held_out == {"sound": 1}
    assert (await _item(database, "b"))["projects"] == []
    async with database.begin() as session:
        with pytest.raises(Conflict, match="sound"):
            await items.add(session, [{"name": "c", "projects": ["sound"]}])


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
        session.add(Source(name="bucket", url="s3://bucket/", layout={"rules": []}))
    async with database.begin() as session:
        with pytest.raises(InvalidInput, match="s3://bucket/"):
            await sync(session, "bucket")
        with pytest.raises(NotFound):
            await sync(session, "nowhere")


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
