"""Procrastinate at the engine's work: a job per step stores 1 KB of JSON and defers the next.

Run by the peers' own Python: `procrastinate_chain.py URL ITEMS STEPS`; prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time
from importlib.metadata import version

import procrastinate
import uvloop
from psycopg_pool import AsyncConnectionPool

CONCURRENCY = 20
PAYLOAD = "x" * 900


async def main(url: str, items: int, steps: int) -> None:
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url, min_size=10, max_size=10))

    async with app.open_async(), AsyncConnectionPool(url, min_size=10, max_size=10) as pool:
        await app.schema_manager.apply_schema_async()
        async with pool.connection() as connection:
            await connection.execute(
                "create table peer_document (sha256 bytea primary key, size bigint not null, body text not null)"
            )

        @app.task(name="step")
        async def step(item: int, number: int, payload: str) -> None:
            output = {"item": item, "step": number + 1, "begun": time.time(), "payload": PAYLOAD}
            body = json.dumps(output)
            async with pool.connection() as connection:
                await connection.execute(
                    "insert into peer_document values (%s, %s, %s) on conflict do nothing",
                    [hashlib.sha256(body.encode()).digest(), len(body), body],
                )
            if number + 1 < steps:
                await step.defer_async(item=item, number=number + 1, payload=PAYLOAD)

        await step.batch_defer_async(*({"item": n, "number": 0, "payload": ""} for n in range(items)))
        began = time.perf_counter()
        await app.run_worker_async(wait=False, concurrency=CONCURRENCY, install_signal_handlers=False)
        seconds = time.perf_counter() - began
        async with pool.connection() as connection:
            row = await (await connection.execute("select count(*) from peer_document")).fetchone()
        assert row == (items * steps,), f"{row} documents were kept, not {items * steps}"
    found = {
        "library": "Procrastinate",
        "version": version("procrastinate"),
        "steps_per_second": items * steps / seconds,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
