"""Whoever is killed between packing, finishing, publishing and removing: each package is published once, and no
bytes that somebody may fetch are gone."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.packaging import Portal
from tests.program import Program

from tidemill.db.database import Database
from tidemill.storage.documents import DocumentStore

pytestmark = pytest.mark.fault


@pytest.fixture
async def portal(database: Database, documents: DocumentStore, tmp_path: Path, database_url: str) -> Portal:
    portal = Portal(database, documents, tmp_path, database_url)
    await portal.lay("S1")
    return portal


@pytest.fixture
def tidemill(portal: Portal, tmp_path: Path, database_url: str) -> Program:
    settings = {"TIDEMILL_DOCUMENTS": (tmp_path / "documents").as_uri(), "TIDEMILL_LEASE": "2"}
    return Program(portal.settings.site, database_url, settings)


WAITING_FOR_A_LOCK = (
    "select count(*) > 0 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
)


async def killed_at_a_lock(portal: Portal, tidemill: Program, lock: str) -> None:
    """A housekeeper that is killed with kill -9 in the moment in which it waits for what is locked here."""
    async with portal.database.begin() as session:
        await session.execute(text(lock))
        with tidemill.start("worker") as worker:
            await portal.until(WAITING_FOR_A_LOCK)
            worker.signal(signal.SIGKILL)
            worker.end()
        await session.rollback()
    await portal.until(f"select not exists ({WAITING_FOR_A_LOCK.replace('count(*) > 0', '1')})")


async def published(portal: Portal) -> list[tuple[str, bool]]:
    """Every computed file that there ever was, and whether it is current."""
    rows = await portal.rows("select name, replaced_at is null as current from computed_file order by name, id")
    return [(row["name"], row["current"]) for row in rows]


async def test_killed_between_upload_and_finish(portal: Portal, tidemill: Program) -> None:
    """The bytes lie there, and no result says so: the next worker makes the same again, over them."""
    folder = portal.folder.parent
    packed, go = folder / "packed", folder / "go"
    program = Path(sys.executable).with_name("tidemill")
    script = f"{program} build-package $1 $2 && touch {packed} && until test -e {go}; do sleep 0.05; done"
    site = folder / "site.toml"
    site.write_text(
        f'[publishing]\nengine = "packer"\n[[apps]]\nname = "packer"\nkind = "command"\n'
        f'command = ["sh", "-c", "{script}", "sh", "{{input}}", "{{output}}"]\n'
    )
    tidemill("apply", site, "--yes")
    await portal.run_sql("update site set packages = cast(:to as jsonb)", to='[{"name": "one", "per": "item",'
        ' "file": "{item}.zip", "files": [{"into": "{name}"}]}]')  # fmt: skip
    with tidemill.start("generate-computed-files") as making:
        making.until("Run 1: 1 package of")
        await portal.until_there(packed)
        lay = portal.lying()
        making.signal(signal.SIGKILL)
        making.end()
    assert len(lay) == 1
    assert await published(portal) == []
    go.touch()
    assert "Packages: 1 made." in tidemill("generate-computed-files").out
    assert await published(portal) == [("S1.zip", True)]
    assert portal.lying() == lay


async def test_killed_between_finish_and_publishing(portal: Portal, tidemill: Program) -> None:
    begun = await portal.begin()
    await portal.work(begun.run)
    await killed_at_a_lock(portal, tidemill, "lock table computed_file in share mode")
    assert await published(portal) == []
    with tidemill.start("worker"):
        await portal.until("select count(*) = 2 from computed_file")
    await portal.register()
    assert await published(portal) == [("P1_ALL.zip", True), ("S1.zip", True)]


async def test_killed_between_publishing_and_removing(portal: Portal, tidemill: Program) -> None:
    """Killed when the bytes are gone and no row says so: the next one says so, and takes nothing else."""
    await portal.made()
    await portal.publish(keep_replaced=0)
    before = {row["key"] for row in (await portal.current()).values()}
    await portal.change("S1", "other")
    await portal.made()
    now = {row["key"] for row in (await portal.current()).values()}
    await killed_at_a_lock(portal, tidemill, "select 1 from computed_file where name = 'S1.zip' for update")
    assert (
        await portal.value("select count(*) from computed_file where removed_at is not null and name = 'S1.zip'") == 0
    )
    assert portal.lying() == now  # gone already
    with tidemill.start("worker"):
        await portal.until("select count(*) = 2 from computed_file where removed_at is not null")
    assert portal.lying() == now
    assert not before & now
    assert {row["key"] for row in (await portal.current()).values()} == now


async def test_two_housekeepers_and_a_command_publish_each_package_once(portal: Portal, tidemill: Program) -> None:
    begun = await portal.begin()
    await portal.work(begun.run)
    with tidemill.start("worker"), tidemill.start("worker"):
        tidemill("generate-computed-files")
        await portal.until("select count(*) = 2 from computed_file")
    assert await published(portal) == [("P1_ALL.zip", True), ("S1.zip", True)]
    assert await portal.value("select count(*) from change where kind = 'package' and state = 'published'") == 2
