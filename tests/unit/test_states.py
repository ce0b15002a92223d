"""One set of states and moves: in the enum, in the tables, in the drawn diagram, and in what the statements do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from tests.factory import make_run

import tidemill
from tidemill.db.database import Database, Row, fetch
from tidemill.domain.retries import RetryPolicy
from tidemill.domain.states import FINAL, IN_HAND, MOVES, Outcome, RunState, TaskState
from tidemill.executors.contract import Done, Failed
from tidemill.runner import go_back, redo, runs
from tidemill.runner.exchange import Abilities, Exchange
from tidemill.runner.processes import Process
from tidemill.runner.results import judged
from tidemill.storage.documents import DocumentStore

ROOT = Path(__file__).parents[2]
SOURCE = Path(tidemill.__file__).parent


@pytest.mark.parametrize(
    ("constraint", "words"),
    [("task_state_check", TaskState), ("run_state_check", RunState), ("attempt_outcome_check", Outcome)],
)
def test_a_table_lets_in_the_words_of_its_enum_and_no_other(
    database_url: str, constraint: str, words: Iterable[str]
) -> None:
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "select pg_get_constraintdef(oid) from pg_constraint where conname = %s", [constraint]
        ).fetchone()
    assert row is not None
    assert set(re.findall(r"'(\w+)'", row[0])) == {str(word) for word in words}


def test_the_drawn_diagram_has_the_same_moves() -> None:
    drawn = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    block = re.search(r"```task-states\n(.*?)```", drawn, re.DOTALL)
    assert block is not None, "ARCHITECTURE.md has no fenced block named task-states"
    lines = block[1].strip().splitlines()
    moves = [re.fullmatch(r"(\w+) -> (\w+) : \S.*", line) for line in lines]
    assert None not in moves, "each line says: from -> to : why"
    assert sorted((m[1], m[2]) for m in moves if m) == sorted((str(a), str(b)) for a, b in MOVES)
    assert {word for m in moves if m for word in m.groups()} == set(TaskState)


def test_every_state_is_reached_and_final_states_are_left_only_by_a_person() -> None:
    assert {after for _, after in MOVES} == set(TaskState)
    assert not {(before, after) for before, after in MOVES if before in FINAL and after in IN_HAND}
    assert all(before != after for before, after in MOVES)


@pytest.mark.parametrize("path", sorted((SOURCE / "runner").glob("*.py")), ids=lambda path: path.name)
def test_the_runner_never_looks_at_this_machines_calendar(path: Path) -> None:
    """Two machines' clocks differ: leases, due times and attempts' times are the database's, pauses are monotonic."""
    calls = [ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    wall = re.compile(r"(.*\.)?(time\.(time|time_ns|localtime|gmtime)|datetime\.(now|utcnow|today)|date\.today)")
    assert not [call for call in calls if wall.fullmatch(call)]


class Moves:
    """Makes each move with the statements that the product makes it with."""

    def __init__(self, database: Database, documents: DocumentStore) -> None:
        self.database, self.documents = database, documents
        self.exchange = Exchange(database, lease=30, abilities=Abilities(["python"], ("python:noop",)))
        self.run = 0

    async def fresh(self, steps: int = 1) -> Row:
        """A claimed task of a run of its own."""
        if self.run:
            async with self.database.begin() as session:
                await runs.cancel(session, self.run)
        self.run = (await make_run(self.database, items=1, steps=steps)).run
        return await self.claimed()

    async def claimed(self) -> Row:
        _, (task,) = await self.exchange.finish_and_claim([], [], 10)
        return task

    async def finish(self, task: Row, *, well: bool = True) -> None:
        outcome = Done(b'{"made": "%d-%d"}' % (task["id"], task["fence"])) if well else Failed("no", retry=False)
        kept = await self.documents.keep(outcome.document) if isinstance(outcome, Done) else None
        result = judged(task, RetryPolicy(1, 0), outcome, kept)
        await self.exchange.finish_and_claim([result.row], result.documents, 0)

    async def submit(self, task: Row) -> None:
        row = {"task": task["id"], "fence": task["fence"], "handle": {"job": 1}}
        await self.exchange.ask("tasks.submit", tasks=[row])

    async def lose(self, task: Row) -> None:
        """The lease runs out, then the result comes after all."""
        async with self.database.begin() as session:
            late = "update task set lease_until = now() - interval '1 s' where lease_until is not null"
            await session.execute(text(late))
            await fetch(session, "tasks.expire")
        await self.finish(task)

    async def service(self, call: Any, *args: Any, **options: Any) -> None:
        async with self.database.begin() as session:
            await call(session, *args, **options)

    async def all(self) -> None:
        """Every move there is; the name of each is in the order of MOVES."""
        await self.finish(await self.fresh(steps=2))  # waiting → running → waiting
        await self.finish(await self.claimed())  # running → done
        await self.service(redo.rerun, self.run, 0)  # done → waiting
        await self.service(runs.cancel, self.run)  # waiting → cancelled
        await self.service(redo.retry, self.run, redo.Filter(states=["cancelled"]))  # cancelled → waiting
        await self.finish(await self.claimed(), well=False)  # running → failed
        await self.service(redo.retry, self.run)  # failed → waiting
        await self.claimed()
        await self.service(runs.cancel, self.run)  # running → cancelled
        await self._submitted()
        for how in ("waiting", "failed", "cancelled"):
            await self._promoted(how)
        await self._gone_back()

    async def _gone_back(self) -> None:
        """A failure is done again, in each way that it can end, and each time a person goes back."""
        await self.finish(await self.fresh(), well=False)
        await self.service(redo.rerun, self.run, 0)
        await self.service(go_back.go_back, self.run)  # waiting → failed
        await self.service(redo.rerun, self.run, 0)
        await self.finish(await self.claimed())
        await self.service(go_back.go_back, self.run)  # done → failed
        await self.service(redo.rerun, self.run, 0)
        await self.claimed()
        await self.service(runs.cancel, self.run)
        await self.service(go_back.go_back, self.run)  # cancelled → failed
        await self.service(go_back.go_back, self.run)  # failed → cancelled
        await self.service(redo.rerun, self.run, 0)
        await self.finish(await self.claimed())
        await self.service(go_back.go_back, self.run)  # done → cancelled

    async def _submitted(self) -> None:
        await self.submit(task := await self.fresh(steps=2))  # running → submitted
        await self.finish(task)  # submitted → waiting
        await self.submit(task := await self.claimed())
        await self.finish(task)  # submitted → done
        await self.submit(task := await self.fresh())
        await self.finish(task, well=False)  # submitted → failed
        await self.submit(await self.fresh())
        await self.service(runs.cancel, self.run)  # submitted → cancelled

    async def _promoted(self, stands: str) -> None:
        late = await self.fresh()
        await self.lose(late)
        if stands == "failed":
            await self.finish(await self.claimed(), well=False)
        elif stands == "cancelled":
            await self.service(runs.cancel, self.run)
        await self.service(redo.promote, late["id"], late["fence"])  # waiting, failed, cancelled → done


async def test_the_statements_make_each_of_these_moves_and_no_other(
    database: Database, documents: DocumentStore
) -> None:
    async with database.begin() as session:
        await session.execute(text("create table moved (old text, new text)"))
        await session.execute(
            text(
                "create function record_move() returns trigger language plpgsql as "
                "$$ begin insert into moved values (old.state, new.state); return new; end $$"
            )
        )
        await session.execute(
            text(
                "create trigger record after update on task for each row when (old.state <> new.state) "
                "execute function record_move()"
            )
        )
    moves = Moves(database, documents)
    await moves.exchange.register("here", Process.this(), 10)
    await moves.all()
    await moves.exchange.close()
    async with database.begin() as session:
        made = {(row.old, row.new) for row in await session.execute(text("select distinct old, new from moved"))}
    assert made == {(str(before), str(after)) for before, after in MOVES}
