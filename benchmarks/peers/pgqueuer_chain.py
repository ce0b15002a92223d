"""PgQueuer at the engine's work: a job per step stores 1 KB of JSON and enqueues the next, in one transaction.

Run by the peers' own Python: `pgqueuer_chain.py URL ITEMS STEPS`; prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time
from importlib.metadata import version

import asyncpg
import uvloop
from pgqueuer import PgQueuer, Queries
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job

BATCH = 100
PAYLOAD = "x" * 900


async def main(url: str, items: int, steps: int) -> None:
    pool = await asyncpg.create_pool(url, min_size=10, max_size=10)
    listener = await asyncpg.connect(url)
    await Queries.from_asyncpg_connection(listener).install()
    await listener.execute(
        "create table peer_document (sha256 bytea primary key, size bigint not null, body text not null)"
    )
    queue = PgQueuer.from_asyncpg_pool(pool)

    @queue.entrypoint("step")
    async def step(job: Job) -> None:
        document = json.loads(job.payload or b"{}")
        output = {"item": document["item"], "step": document["step"] + 1, "begun": time.time(), "payload": PAYLOAD}
        body = json.dumps(output)
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "insert into peer_document values ($1, $2, $3) on conflict do nothing",
                *(hashlib.sha256(body.encode()).digest(), len(body), body),
            )
            if output["step"] < steps:
                await Queries(AsyncpgDriver(connection)).enqueue("step", body.encode())

    sources = [json.dumps({"item": n, "step": 0}).encode() for n in range(items)]
    await Queries.from_asyncpg_pool(pool).enqueue(["step"] * items, sources, [0] * items)
    began = time.perf_counter()
    job = asyncio.create_task(queue.run(batch_size=BATCH))
    while (  # noqa: ASYNC110 - only the database knows
        await pool.fetchval("select count(*) from pgqueuer")
        or await pool.fetchval("select count(*) from peer_document") < items * steps
    ):
        await asyncio.sleep(0.05)
    seconds = time.perf_counter() - began
    queue.shutdown.set()
    await job
    print(
        json.dumps({"library": "PgQueuer", "version": version("pgqueuer"), "steps_per_second": items * steps / seconds})
    )


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
