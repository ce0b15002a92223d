"""What people or accidents changed in the catalogue: the next sync finds each difference, and makes it true again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tidemill.catalogue.sync import sync
from tidemill.db.database import Database
from tidemill.db.models import Source

KEYS = ("P1/S1,S2/pool.h5", "P1/S1/own.h5", "P1/bulk/counts.tsv", "about.csv", "P2/S3/a.h5")
RULES: list[dict[str, Any]] = [
    {"pattern": "{project}/bulk/*"},
    {"pattern": "{project}/{item}/*.h5", "split": ","},
    {"pattern": "*.csv", "attributes": {"role": "metadata"}},
]
UNDONE = {
    "a file's bytes": "update file set etag = 'other' where key = 'P1/S1,S2/pool.h5'",
    "its size": "update file set size = 0 where key = 'P1/bulk/counts.tsv'",
    "its attributes": "update file set attributes = attributes || '{\"role\": \"other\"}' where key = 'about.csv'",
    "its project": "update file set project_id = null where key = 'P1/bulk/counts.tsv'",
    "another's project": "update file set project_id = p.id from project p where p.name = 'P1' and key = 'about.csv'",
    "a project": "delete from project where name = 'P1'",
    "a project's name": "update project set name = 'P9' where name = 'P2'",
    "a file": "delete from file where key = 'P1/S1,S2/pool.h5'",
    "a file that no key names": "insert into file (source_id, key, size) select id, 'P7/odd', 1 from source",
    "one link of two": "delete from item_file using item i where i.id = item_id and i.name = 'S2'",
    "a link too many": "insert into item_file (item_id, file_id) select i.id, f.id from item i, file f "
                       "where i.name = 'S3' and f.key = 'P1/S1,S2/pool.h5'",
    "a link where there should be none": "insert into item_file (item_id, file_id) select i.id, f.id "
                                         "from item i, file f where i.name = 'S3' and f.key = 'about.csv'",
    "an item": "delete from item where name = 'S2'",
    "a membership": "delete from project_item using item i where i.id = item_id and i.name = 'S3'",
}  # fmt: skip


@pytest.mark.parametrize("undone", UNDONE)
async def test_a_sync_mends_whatever_is_not_as_the_source_says(database: Database, tmp_path: Path, undone: str) -> None:
    for key in KEYS:
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_text("x")
    async with database.begin() as session:
        session.add(Source(name="originals", url=tmp_path.as_uri(), layout={"rules": RULES}))
    await sync(database, "originals")
    before = await _catalogue(database)
    async with database.begin() as session:
        await session.execute(text(UNDONE[undone]))
    assert await _catalogue(database) != before
    await sync(database, "originals", allow_wipe=True)
    assert await _catalogue(database) == before
    assert not (await sync(database, "originals")).did_something


async def _catalogue(database: Database) -> list[tuple[Any, ...]]:
    """Every file with what the source and the rules say of it, and the projects of its items."""
    async with database.begin() as session:
        found = await session.execute(
            text(
                "select f.key, f.size, f.etag, f.attributes::text, p.name, "
                "array(select i.name from item_file x join item i on i.id = x.item_id "
                "where x.file_id = f.id order by 1), "
                "array(select q.name from item_file x join project_item m on m.item_id = x.item_id "
                "join project q on q.id = m.project_id where x.file_id = f.id and q.name <> 'P9' order by 1) "
                "from file f left join project p on p.id = f.project_id order by 1"
            )
        )
        return list(map(tuple, found.all()))
