"""A worker's link to its site over HTTP: the other end of `remote_desk.py`."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from tidemill.db.database import Row
from tidemill.errors import SiteUnavailable, WrongProtocol
from tidemill.runner.exchange import Abilities
from tidemill.runner.outbox import Outbox
from tidemill.runner.processes import Process
from tidemill.runner.remote_client import SiteClient
from tidemill.runner.remote_protocol import VERBS
from tidemill.runner.results import Result
from tidemill.runner.spool import Spool

log = structlog.get_logger()

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds between tries to reach the site: doubled each time, with jitter, so that workers do not come all at once."""

HOST = socket.gethostname()


@dataclass(slots=True)
class Terms:
    """What the site said when the worker registered."""

    worker: int = 0
    lease: float = 30.0
    inline_limit: int = 256 * 1024
    files_url: str = ""


class RemoteLink:
    """Over HTTP, with a spool on disk for what is finished."""

    keeps_house = False
    largest_exchange = 1024 * 1024
    """Bytes of results in one request: what proxies let pass as they come."""

    def __init__(self, client: SiteClient, spool: Spool) -> None:
        self.client = client
        self.terms = Terms()
        self._outbox = Outbox(client, spool)
        self._said: dict[str, Any] = {}

    @property
    def outbox(self) -> Outbox:
        return self._outbox

    def exchange(self, lease: float, abilities: Abilities) -> RemoteExchange:
        self._said = {"lease": lease, "kinds": list(abilities.kinds), "functions": list(abilities.functions)}
        return RemoteExchange(self, self._said)

    async def recover(self) -> None:
        await self._outbox.recover(self._said)

    async def notices(self) -> AsyncIterator[str]:
        after = ""
        while True:
            answer = await self.client.get("/notices", after=after)
            after = str(answer["after"])
            for notice in answer["notices"]:
                yield notice
            await asyncio.sleep(0.05)  # what comes in a flood is taken together

    def pause(self, failures: int) -> float:
        return min(FIRST_PAUSE * 2.0 ** min(failures, 10), LONGEST_PAUSE) * random.uniform(0.5, 1.0)


class RemoteExchange:
    """See `Exchanging`. Of the two that a worker has, the first registers, and both speak for the same worker."""

    def __init__(self, link: RemoteLink, said: dict[str, Any]) -> None:
        self._link = link
        self._said = said | {"turn": 0}
        self.worker = 0

    async def register(self, hostname: str, process: Process, slots: int) -> int:
        about = {"hostname": hostname, "pid": process.pid, "slots": slots}
        answer = await self._link.client.post("/register", self._said | about)
        try:
            self.worker = int(answer["worker"])
            terms = Terms(self.worker, float(answer["lease"]), int(answer["inline_limit"]), str(answer["files_url"]))
        except (KeyError, TypeError, ValueError) as error:
            raise WrongProtocol("The site's answer is not understood.", hint="Bring the worker up to date.") from error
        self._link.terms = terms
        self._link.outbox.worker = self.worker
        if unknown := answer.get("unknown"):
            log.warning("no app of the site, or none that this token is for, has these functions", functions=unknown)
        if terms.lease < self._said["lease"]:
            log.warning("the site grants a shorter lease than asked for", seconds=terms.lease)
        return self.worker

    async def finish_and_claim(
        self,
        results: Sequence[dict[str, Any]],
        documents: Sequence[dict[str, Any]],
        n: int,
        rooms: Mapping[str, int] | None = None,
    ) -> tuple[list[Row], list[Row]]:
        """As `Exchange` does. What the site refuses for good is set aside and comes back as moved, `refused`."""
        by_key = {document["sha256"]: document for document in documents}
        whole = [
            Result(row, [by_key[key] for key in {row.get("input"), row.get("output")} if key in by_key])
            for row in results
        ]
        reply = await self._link.outbox.hand_in(self.worker, whole, self._said | {"n": n, "rooms": dict(rooms or {})})
        return reply.moved, reply.claimed

    async def disown(self, tasks: Sequence[Mapping[str, int]]) -> list[Row]:
        """As `Exchange` does. A claim whose answer was lost may still be on its way there: it comes too late."""
        self._said["turn"] += 1
        return await self._rows("disown", {"tasks": tasks})

    async def close_runs(self) -> list[int]:
        """The site does that by itself."""
        return []

    async def ask(self, name: str, *, notify: bool = False, **params: Any) -> list[Row]:
        """One of the statements of `VERBS`; the site tells others by itself."""
        ids = params.get("apps", params.get("versions", params.get("items")))
        asked = {"ids": ids} if ids is not None else params
        rows = await self._rows(VERBS[name], asked)
        if name == "workers.records" and not rows:
            raise SiteUnavailable("The item is no longer in this worker's hand.")
        return rows

    async def close(self) -> None:
        await self._link.client.close()

    async def _rows(self, verb: str, asked: dict[str, Any]) -> list[Row]:
        answer = await self._link.client.post(f"/{verb}", self._said | {"worker": self.worker} | asked)
        rows: list[Row] | None = answer.get("rows")
        if rows is None:
            raise SiteUnavailable(f"What answers at {self._link.client.url} is not a Tidemill site.")
        return rows
