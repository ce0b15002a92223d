"""Files whose stores need more than a URL: an endpoint, a key. Steps read them wherever an earlier step put them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from tests.s3_server import CREDENTIALS, s3_server
from tests.sftp_server import SftpServer
from tests.step_site import StepSite

from tidemill.catalogue.sync import sync
from tidemill.db.database import Database
from tidemill.db.models import Source
from tidemill.executors.command import CommandExecutor
from tidemill.executors.contract import Executor
from tidemill.executors.transfer import TransferExecutor
from tidemill.pipelines import apps, batches, pipelines
from tidemill.pipelines.apps import AppFacts, AppSettings
from tidemill.pipelines.pipelines import StepWish
from tidemill.runner import runs
from tidemill.storage.documents import DocumentStore

STEP = """
@step
def first(item, task):
    return {"text": item.file("a.dat").path().read_text()}

@step
def after(item, task):
    moved = item.step("move").files[0]
    return {"text": moved.path().read_text(), "url": moved.url}
"""


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server("lab", "centre") as endpoint:
        yield endpoint


@pytest.fixture
async def site(
    database: Database, documents: DocumentStore, tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch
) -> StepSite:
    """A site whose one source is a bucket of a service with an address of its own."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3", endpoint_url=s3).put_object(Bucket="lab", Key="a.dat", Body=b"pulses")
    site = StepSite(database, documents, tmp_path)
    layout = {"rules": [{"pattern": "{item}.dat"}]}
    async with database.begin() as session:
        session.add(Source(name="lab", url="s3://lab", options={"endpoint": s3}, layout=layout))
    await sync(database, "lab")
    return site


async def moved(site: StepSite, options: dict[str, object]) -> list[dict[str, object]]:
    """The outputs of: a step at the bucket, a move, a command and a step at where it was moved to."""
    steps = await site.load(STEP)
    command = {"command": ["cat", "{file:a.dat}"]}
    async with site.database.begin() as session:
        await apps.register(
            session, AppSettings("move", "transfer:move", kind="transfer", options=options), AppFacts("1", "", {})
        )
        await apps.register(
            session, AppSettings("look", "command:look", kind="command", options=command), AppFacts("1", "", {})
        )
        await pipelines.define(session, "chain", [StepWish(name) for name in ("first", "move", "look", "after")])
        await batches.make(session, "all", batches.FromIds(["a"]))
        run = await runs.start(session, site.documents, runs.Start("all", "chain"))
    engines: dict[str, Executor] = {"transfer": TransferExecutor(), "command": CommandExecutor(site.bench)}
    async with site.at_work(steps, executors=engines):
        await site.until(site.finished(run))
    return await site.attempts(run)


async def test_an_endpoint_goes_along_from_the_source_to_every_step(site: StepSite, s3: str) -> None:
    attempts = await moved(site, {"to": "s3://centre/run", "endpoint": s3})
    assert [(one["outcome"], one["error"]) for one in attempts] == [("done", None)] * 4


async def test_so_does_the_key_of_an_sftp_server(site: StepSite, tmp_path: Path) -> None:
    with SftpServer(tmp_path / "server", "asyncssh") as server:
        there = tmp_path / "there"
        there.mkdir()
        attempts = await moved(site, {"to": server.url(there), **server.login})
    assert [(one["outcome"], one["error"]) for one in attempts] == [("done", None)] * 4
