"""A worker behind a firewall as it is in the field: over TLS, with all its engines, files both ways."""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.program import Program
from tests.remote import far_worker, worker_token, working
from tests.step_site import StepSite
from tests.tls_front import pass_on, tls_front
from tests.webserver import Web

from tidemill.catalogue.sync import sync
from tidemill.db.database import Database
from tidemill.db.models import Source
from tidemill.errors import InvalidInput, SiteUnavailable
from tidemill.pipelines import apps, batches, pipelines
from tidemill.pipelines.apps import AppFacts, AppSettings
from tidemill.pipelines.pipelines import StepWish
from tidemill.runner import runs
from tidemill.runner.remote_client import SiteClient
from tidemill.storage.documents import DocumentStore

STEP = """
@step
def pulses(item, task):
    text = item.file("a.dat").path().read_text()
    task.output("a.amp").write_text(text.upper())
    return {"letters": len(text)}
"""


@pytest.fixture
async def site(database: Database, documents: DocumentStore, tmp_path: Path) -> StepSite:
    """A site with one item, whose file lies on the site's machine."""
    site = StepSite(database, documents, tmp_path)
    (tmp_path / "daq").mkdir()
    (tmp_path / "daq" / "a.dat").write_text("noise and pulses")
    async with database.begin() as session:
        layout = {"rules": [{"pattern": "{item}.dat"}]}
        session.add(Source(name="daq", url=(tmp_path / "daq").as_uri(), layout=layout))
    await sync(database, "daq")
    return site


async def begun(site: StepSite, there: Path) -> int:
    """A run of: a Python step, a command over its output, a transfer of all to a folder of the far machine."""
    there.mkdir()
    command = {"command": ["cp", "{file:a.amp}", "copied.amp"], "files": ["copied.amp"]}
    said: dict[str, tuple[str, dict[str, Any]]] = {
        "shell": ("command", command),
        "home": ("transfer", {"to": there.as_uri(), "files": ["*.amp"]}),
    }
    async with site.database.begin() as session:
        for name, (kind, options) in said.items():
            settings = AppSettings(name, f"{kind}:{name}", kind=kind, options=options)
            await apps.register(session, settings, AppFacts("1", "", {}))
        await pipelines.define(session, "chain", [StepWish(name) for name in ("pulses", "shell", "home")])
        await batches.make(session, "all", batches.FromIds(["a"]))
        return await runs.start(session, site.documents, runs.Start("all", "chain"))


async def test_a_chain_of_all_engines_over_tls(site: StepSite, web: Web, tmp_path: Path) -> None:
    steps = await site.load(STEP)
    there = tmp_path / "far" / "results"
    there.parent.mkdir()
    run = await begun(site, there)
    token = await worker_token(site.database)
    async with (
        tls_front(web.port, tmp_path / "tls") as (url, certificate),
        working(far_worker(url, token, tmp_path / "far" / "spool", steps, ca=certificate)),
    ):
        await site.until(site.finished(run))
    assert [(one["outcome"], one["error"]) for one in await site.attempts(run)] == [("done", None)] * 3
    assert {path.name: path.read_text() for path in there.iterdir()} == dict.fromkeys(
        ("a.amp", "copied.amp"), "NOISE AND PULSES"
    )


@pytest.fixture
async def tunnels(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """An HTTP proxy (CONNECT, RFC 9110) that the environment names, as where nothing gets out otherwise: where to it
    has opened tunnels. It wants a password."""
    opened: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            said = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, where, _ = said.split(maxsplit=2)
            if method != "CONNECT" or f"Basic {b64encode(b'me:secret').decode()}" not in said:
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
                writer.close()
                return
            opened.append(where)
            host, port = where.rsplit(":", 1)
            theirs, there = await asyncio.open_connection(host, int(port))
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(pass_on(reader, there), pass_on(theirs, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    for name in ("no_proxy", "NO_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}")
    yield opened
    server.close()


async def test_a_chain_of_all_engines_through_a_proxy(
    site: StepSite, web: Web, tunnels: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = await site.load(STEP)
    (tmp_path / "far").mkdir()
    run = await begun(site, tmp_path / "far" / "results")
    token = await worker_token(site.database)
    async with tls_front(web.port, tmp_path / "tls") as (url, certificate):
        async with working(far_worker(url, token, tmp_path / "far" / "spool", steps, ca=certificate)):
            await site.until(site.finished(run))
        assert set(tunnels) == {url.removeprefix("https://")}
        monkeypatch.setenv("HTTPS_PROXY", os.environ["HTTPS_PROXY"].replace("secret", "guess"))
        client = SiteClient(url, token, ca=certificate)
        with pytest.raises(SiteUnavailable, match="407 Proxy Authentication Required"):
            await client.post("/register", {"hostname": "h"})
        await client.close()
    assert [one["outcome"] for one in await site.attempts(run)] == ["done"] * 3


async def test_a_site_whose_certificate_nobody_vouches_for_is_not_talked_to(
    site: StepSite, web: Web, tmp_path: Path
) -> None:
    token = await worker_token(site.database)
    async with tls_front(web.port, tmp_path / "tls") as (url, certificate):
        for address, ca in ((url, None), (url.replace("127.0.0.1", "localhost"), certificate)):
            client = SiteClient(address, token, ca=ca)
            with pytest.raises(SiteUnavailable, match="certificate"):
                await client.post("/register", {"hostname": "h"})
            await client.close()
    (tmp_path / "empty.pem").write_text("no certificate")
    with pytest.raises(InvalidInput, match="holds no certificates"):
        SiteClient(url, token, ca=tmp_path / "empty.pem")


async def test_the_command_takes_the_certificate(site: StepSite, web: Web, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(await worker_token(site.database))
    (tmp_path / "token").chmod(0o600)
    async with tls_front(web.port, tmp_path / "tls") as (url, certificate):
        words = ("worker", "--url", url, "--token-file", tmp_path / "token", "--spool", tmp_path / "spool")
        program = Program(tmp_path / "far", None, {})
        for more, said in (((), "certificate"), (("--ca", certificate), "Ctrl-C")):
            worker = program.start(*words, *more)
            await asyncio.to_thread(worker.until, said)
            worker.process.terminate()
            await asyncio.to_thread(worker.process.wait)
