"""What every engine promises (see `executors/contract.py`), held against each of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.apps import ScriptedApp
from tests.contract import local_engines, step_engines

from tidemill.executors.contract import (
    AppCall,
    Done,
    Executor,
    Failed,
    Outcome,
    Progress,
    Submitted,
    Unavailable,
    Work,
)
from tidemill.executors.fake import Act, FakeExecutor
from tidemill.executors.http import HttpExecutor
from tidemill.executors.python import PythonExecutor, Step


@dataclass
class Engine:
    """One engine and how its app is told to behave: `ok`, `slow`, `fail`, `down`."""

    executor: Executor
    app: AppCall
    behave: Callable[[str], None]
    submits: bool
    can_be_down: bool = True
    many: int = 300
    """How many attempts at once are a fair number for it."""
    document: Callable[[int], bytes] = lambda number: orjson.dumps({"item": number})
    reports: list[Progress] = field(default_factory=list)

    def work(self, number: int = 1, **parameters: Any) -> Work:
        return Work(f"{number}-1", f"item-{number}", self.app, parameters, self.document(number))

    async def submit(self, work: Work) -> Outcome | Submitted:
        return await self.executor.submit(work, self.reports.append)

    async def finish(self, work: Work) -> Outcome:
        """Submit and, where the engine goes on elsewhere, poll until it is finished."""
        answer = await self.submit(work)
        if not isinstance(answer, Submitted):
            return answer
        handle = orjson.loads(orjson.dumps(answer.handle))  # as another worker reads it from the database
        await self.finished(work, handle)
        return await self.executor.collect(work, handle)

    async def finished(self, work: Work, handle: Mapping[str, Any]) -> None:
        async with asyncio.timeout(60):
            while (progress := await self.executor.poll(work, handle)) is not None:
                self.reports.append(progress)
                await asyncio.sleep(min(progress.poll_after, 0.05))


def _fake(submitted: bool) -> Engine:
    executor = FakeExecutor()
    acts = {
        "ok": Act(submitted=submitted),
        "slow": Act(submitted=submitted, progress=(0.0, 0.25, 0.5, 1.0)),
        "fail": Act(Failed("no bars in it"), submitted=submitted),
        "down": Act(Unavailable("connection refused")),
    }

    def behave(how: str) -> None:
        executor.default = acts[how]

    behave("ok")
    return Engine(executor, AppCall("fake", "fake", "fake:", "json"), behave, submitted)


def _python() -> Engine:
    how = ["ok"]

    async def step(document: dict[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
        if how[0] == "fail":
            raise ValueError("no bars in it")
        return {**document, "steps": [*document.get("steps", []), "python"]}

    executor = PythonExecutor({"step": step, "quick": Step(lambda document, _: document, inline=True)})

    def behave(word: str) -> None:
        how[0] = word

    app = AppCall("python", "python", "python:step", "json")
    return Engine(executor, app, behave, submits=False, can_be_down=False)


def _http(scripted: ScriptedApp, submits: bool) -> Engine:
    words = {
        "ok": "async:polls=1" if submits else "json",
        "slow": "async:polls=4,every=0.05" if submits else "json:delay=0.2",
        "fail": "async:polls=1,fail=no bars in it" if submits else "status:code=422,text=no bars in it",
    }

    def behave(how: str) -> None:
        if how == "down":
            scripted.stop()
        else:
            scripted.script(words[how])

    behave("ok")
    return Engine(HttpExecutor(), AppCall("http", "http", scripted.url, "json"), behave, submits)


KINDS = ["fake-inline", "fake-submitted", "python", "http-sync", "http-async", "command", "transfer", "package"]
STEPS = ["in_thread", "in_loop", "in_process"]


@pytest.fixture(params=[*KINDS, *STEPS])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    kind = request.param
    if kind in STEPS:
        executor, app, behave, document = step_engines.make(kind, tmp_path)
        many = 12 if kind == "in_process" else 300
        yield Engine(executor, app, behave, submits=False, can_be_down=False, many=many, document=document)
        await executor.close()
        return
    if kind in ("command", "transfer"):
        executor, app, behave, document = (local_engines.command if kind == "command" else local_engines.transfer)(
            tmp_path
        )
        yield Engine(executor, app, behave, submits=False, many=24 if kind == "command" else 300, document=document)
        await executor.close()
        return
    if kind == "package":
        executor, app, behave, document = local_engines.package(tmp_path)
        yield Engine(executor, app, behave, submits=False, can_be_down=False, many=24, document=document)
        await executor.close()
        return
    if kind.startswith("http"):
        with ScriptedApp() as scripted:
            made = _http(scripted, kind == "http-async")
            yield made
            await made.executor.close()
        return
    made = _python() if kind == "python" else _fake(kind == "fake-submitted")
    yield made
    await made.executor.close()


async def test_done_hands_back_the_output_document(engine: Engine) -> None:
    outcome = await engine.finish(engine.work(7))
    assert isinstance(outcome, Done)
    document = orjson.loads(outcome.document)
    assert document["item"] == 7
    assert len(document.get("steps") or document["process"]) == 1


async def test_what_runs_elsewhere_says_so_and_the_rest_does_not(engine: Engine) -> None:
    assert isinstance(await engine.submit(engine.work()), Submitted if engine.submits else Done)


async def test_failed_gives_the_reason_in_words(engine: Engine) -> None:
    engine.behave("fail")
    outcome = await engine.finish(engine.work())
    assert isinstance(outcome, Failed)
    assert "no bars in it" in outcome.reason


async def test_an_app_that_is_down_is_not_the_items_fault(engine: Engine) -> None:
    if not engine.can_be_down:
        pytest.skip("does not apply: a function in the worker cannot be down")
    engine.behave("down")
    assert isinstance(await engine.finish(engine.work()), Unavailable)


async def test_progress_only_grows(engine: Engine) -> None:
    engine.behave("slow")
    assert isinstance(await engine.finish(engine.work()), Done)
    fractions = [report.fraction for report in engine.reports if report.fraction is not None]
    assert fractions == sorted(fractions)
    assert all(0 <= fraction <= 1 for fraction in fractions)
    if engine.submits:
        assert len(set(fractions)) > 2


async def test_collecting_twice_gives_the_same(engine: Engine) -> None:
    work = engine.work()
    answer = await engine.submit(work)
    if not isinstance(answer, Submitted):
        pytest.skip("does not apply: it finishes within submit")
    await engine.finished(work, answer.handle)
    first = await engine.executor.collect(work, answer.handle)
    assert isinstance(first, Done)
    assert first == await engine.executor.collect(work, answer.handle)
    assert await engine.executor.poll(work, answer.handle) is None


async def test_cancelling_finished_or_unknown_work_is_no_error(engine: Engine) -> None:
    work = engine.work()
    answer = await engine.submit(work)
    unknown: dict[str, Any] = {"job": "99", "status_url": f"{engine.app.url}status/99"}
    if isinstance(answer, Submitted):
        await engine.finished(work, answer.handle)
        await engine.executor.cancel(work, answer.handle)
    await engine.executor.cancel(work, unknown)
    await engine.executor.cancel(work, unknown)


async def test_cancelled_work_does_not_end_well(engine: Engine) -> None:
    engine.behave("slow")
    work = engine.work()
    answer = await engine.submit(work)
    if not isinstance(answer, Submitted):
        pytest.skip("does not apply: it finishes within submit")
    await engine.executor.cancel(work, answer.handle)
    await engine.finished(work, answer.handle)
    assert isinstance(await engine.executor.collect(work, answer.handle), Failed)


async def test_work_that_the_engine_forgot_is_finished_and_failed(engine: Engine) -> None:
    if not engine.submits:
        pytest.skip("does not apply: it finishes within submit")
    handle = {"job": "99", "status_url": f"{engine.app.url}status/99"}
    assert await engine.executor.poll(engine.work(), handle) is None
    outcome = await engine.executor.collect(engine.work(), handle)
    assert isinstance(outcome, Failed)
    assert outcome.retry


async def test_close_can_be_called_twice(engine: Engine) -> None:
    await engine.finish(engine.work())
    await engine.executor.close()
    await engine.executor.close()


async def test_hundreds_at_once_do_not_mix(engine: Engine) -> None:
    engine.behave("slow")
    finish: Callable[[Work], Awaitable[Outcome]] = engine.finish
    outcomes = await asyncio.gather(*(finish(engine.work(number)) for number in range(engine.many)))
    documents = [orjson.loads(outcome.document) for outcome in outcomes if isinstance(outcome, Done)]
    assert [document["item"] for document in documents] == list(range(engine.many))


async def test_a_function_that_is_not_there_names_those_that_are() -> None:
    executor = PythonExecutor({"known": Step(lambda document, _: document, inline=True)})
    app = AppCall("x", "python", "python:missing", "json")
    outcome = await executor.submit(Work("1-1", "i", app, {}, b"{}"), lambda _: None)
    assert isinstance(outcome, Failed)
    assert "known" in outcome.reason


async def test_a_functions_traceback_is_in_the_log() -> None:
    def broken(document: dict[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
        return {"share": 1 / parameters["by"]}

    app = AppCall("x", "python", "python:broken", "json")
    work = Work("1-1", "i", app, {"by": 0}, b"{}")
    for step in (broken, Step(broken, inline=True)):
        outcome = await PythonExecutor({"broken": step}).submit(work, lambda _: None)
        assert isinstance(outcome, Failed)
        assert "ZeroDivisionError" in outcome.reason
        assert "in broken" in outcome.log


async def test_a_function_is_held_to_its_deadline() -> None:
    async def hangs(document: dict[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
        await asyncio.Event().wait()
        return document

    app = AppCall("x", "python", "python:hangs", "json", deadline=0.05)
    outcome = await PythonExecutor({"hangs": hangs}).submit(Work("1-1", "i", app, {}, b"{}"), lambda _: None)
    assert isinstance(outcome, Failed)
    assert outcome.timed_out
