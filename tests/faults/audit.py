"""What must hold after any fault: nothing lost, nothing applied twice, every document whole, the feed complete."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import Database, Row
from tidemill.storage.documents import DocumentStore

FINAL = {"done", "failed", "cancelled"}
IN_HAND = {"running", "submitted"}

_TASKS = """
select t.id, t.position, t.step, t.state, t.fence, t.document, t.lease_until, t.finished_at, t.tries, r.steps,
       r.total, r.state as run_state
from task t join run r on r.id = t.run_id where t.run_id = :run order by t.position"""
_ATTEMPTS = """
select a.task_id, a.fence, a.step, a.outcome, a.input, a.output, a.superseded_at
from attempt a join task t on t.id = a.task_id where t.run_id = :run order by a.task_id, a.fence"""
_CHANGES = "select task_id, step, state from change where kind = 'task' and run_id = :run order by xid, id"
_DOCUMENTS = "select sha256, size, body, location from document"


async def audit(database: Database, documents: DocumentStore, run: int, *, gone_back: bool = False) -> dict[str, int]:
    """Check a run from end to end; how many tasks stand in each state. Fails with all that it found wrong.

    `gone_back`: a person let old results stand again, of which the feed then tells once more.
    """
    async with database.begin() as session:
        await session.execute(text("set transaction isolation level repeatable read, read only"))
        tasks = await _rows(session, _TASKS, run)
        attempts = await _rows(session, _ATTEMPTS, run)
        changes = await _rows(session, _CHANGES, run)
        stored = await _rows(session, _DOCUMENTS, None)
    of_task: dict[int, list[Row]] = defaultdict(list)
    for attempt in attempts:
        of_task[attempt["task_id"]].append(attempt)
    told: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for change in changes:
        told[change["task_id"]].append((change["step"], change["state"]))

    wrong = [fault for task in tasks for fault in _faults(task, of_task[task["id"]], told[task["id"]], gone_back)]
    if tasks and len(tasks) != tasks[0]["total"]:
        wrong.append(f"the run took in {tasks[0]['total']} items and has {len(tasks)} tasks")
    if [task["position"] for task in tasks] != list(range(len(tasks))):
        wrong.append("positions are not 0, 1, 2, …")
    wrong += await _breaks(documents, stored, of_task)
    wrong += await _broken_documents(documents, stored, _referred(tasks, attempts))
    assert not wrong, "\n".join(wrong[:40])
    return dict(Counter(task["state"] for task in tasks))


def _faults(task: Row, attempts: list[Row], told: list[tuple[int, str]], gone_back: bool) -> Iterable[str]:
    name, state = f"task {task['id']}", task["state"]
    if state not in FINAL | IN_HAND | {"waiting"}:
        yield f"{name} is {state}: no such state"
    if (state in FINAL) != (task["finished_at"] is not None) or (state in IN_HAND) != (task["lease_until"] is not None):
        yield f"{name} is {state}, which its times deny"
    if task["run_state"] != "active" and state not in FINAL:
        yield f"{name} is {state} in a run that is over"
    if any(attempt["fence"] > task["fence"] for attempt in attempts):
        yield f"{name} has an attempt that no claim began"
    applied = _applied(attempts)
    yield from _chain_faults(name, task, applied)
    yield from _feed_faults(name, task, attempts, told, gone_back)


def _applied(attempts: list[Row]) -> list[Row]:
    """The attempts that count. One that was skipped leaves the document that it came with (`left`)."""
    counting = [one for one in attempts if one["outcome"] in ("done", "skipped") and one["superseded_at"] is None]
    return [one | {"left": one["input"] if one["outcome"] == "skipped" else one["output"]} for one in counting]


async def _breaks(documents: DocumentStore, stored: list[Row], of_task: dict[int, list[Row]]) -> list[str]:
    """Steps that began with another document than the last one left, unless it is the same one renewed: the record had
    been edited, so its revision is a later one, and what the steps put out is as it was."""
    by_digest = {bytes(row["sha256"]): row for row in stored}
    wrong = []
    for task, attempts in of_task.items():
        for before, after in pairwise(_applied(attempts)):
            if before["left"] != after["input"]:
                rows = [by_digest[bytes(digest)] for digest in (before["left"], after["input"])]
                old, new = [
                    orjson.loads(await documents.read(bytes(row["sha256"]).hex(), row["body"], row["location"]))
                    for row in rows
                ]
                same = [old.get(key) == new.get(key) for key in ("item", "process")]
                if not (all(same) and "revision" in old and new["revision"] > old["revision"]):
                    wrong.append(f"task {task}: step {after['step']} did not start from what the one before left")
    return wrong


def _chain_faults(name: str, task: Row, applied: list[Row]) -> Iterable[str]:
    """Exactly the steps before the cursor are applied, once each, in order."""
    progress = task["steps"] if task["state"] == "done" else task["step"]
    if [attempt["step"] for attempt in applied] != list(range(progress)):
        yield f"{name} is {task['state']} at step {task['step']}, and applied are {[a['step'] for a in applied]}"
    if applied and task["document"] != applied[-1]["left"]:
        yield f"{name} does not hold the output of its last step"


def _feed_faults(
    name: str, task: Row, attempts: list[Row], told: list[tuple[int, str]], gone_back: bool
) -> Iterable[str]:
    """Each step that was ever applied has told of it as often, and how the task stands has been told.

    Not in this order, though: a transaction that takes its number first may write last.
    """
    told_of = Counter((step, state) for step, state in told if state in {"waiting", "done"})
    for step, times in Counter(a["step"] for a in attempts if a["outcome"] == "done").items():
        arrived = (step, "done") if step + 1 == task["steps"] else (step + 1, "waiting")
        if told_of[arrived] < times:
            yield f"{name}: step {step} was applied {times} times and the feed told of {told_of[arrived]}"
    if not gone_back and told_of[task["steps"] - 1, "done"] > sum(
        a["outcome"] == "done" and a["step"] + 1 == task["steps"] for a in attempts
    ):
        yield f"{name}: the feed told of an end that no attempt has"
    if task["fence"] and (task["step"], task["state"]) not in told:
        yield f"{name} stands at {(task['step'], task['state'])}, of which the feed says nothing"


def _referred(tasks: list[Row], attempts: list[Row]) -> set[bytes]:
    found = {bytes(task["document"]) for task in tasks}
    found |= {bytes(attempt[side]) for attempt in attempts for side in ("input", "output") if attempt[side] is not None}
    return found


async def _broken_documents(documents: DocumentStore, stored: list[Row], referred: set[bytes]) -> list[str]:
    by_digest = {bytes(row["sha256"]): row for row in stored}
    wrong = [f"document {digest.hex()[:12]} is referred to and not there" for digest in referred - by_digest.keys()]
    for digest, row in by_digest.items():
        content = await documents.read(digest.hex(), row["body"], row["location"])
        if hashlib.sha256(content).digest() != digest or len(content) != row["size"]:
            wrong.append(f"document {digest.hex()[:12]} is not what its checksum and size say")
    return wrong


async def _rows(session: AsyncSession, statement: str, run: int | None) -> list[Row]:
    found = await session.execute(text(statement), {} if run is None else {"run": run})
    return [dict(row) for row in found.mappings()]


def executed(log: Path) -> Counter[tuple[str, str]]:
    """How often each (item, step) was begun, from the lines that the steps themselves appended."""
    lines = log.read_text().splitlines() if log.exists() else []
    return Counter((item, step) for item, step in (line.split("\t")[:2] for line in lines))
