"""Apps that misbehave over real HTTP, seen from the run: states, reasons, tries, circuits, and the others' peace."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.apps import ScriptedApp
from tests.faults.app_site import AppMill
from tests.faults.audit import audit
from tests.faults.worker_process import WorkerProcess

from tidemill.db.database import Database
from tidemill.runner import results
from tidemill.runner.exchange import Abilities, Exchange
from tidemill.storage.documents import DocumentStore

pytestmark = pytest.mark.fault


@pytest.fixture
async def mill(database: Database, documents: DocumentStore) -> AppMill:
    return AppMill(database, documents)


CLAMS = {
    # behaviour: (attempts, words of the reason)
    "hang": (2, "did not finish its answer within 1.5 seconds"),
    "error_view:message=No bars in this tape": (2, "No bars in this tape"),
    "error_text:text=Out of memory": (2, "500 Internal Server Error: Out of memory"),
    "html": (2, "HTML page"),
    "cut_json": (2, "JSON"),
    "cut_body": (2, "The connection to the app broke"),
    "endless": (1, "longer than allowed"),
    "redirect:to=http://169.254.169.254/secrets": (1, "169.254.169.254"),
    "lost_view": (1, "view"),
    "lost_document": (1, "document"),
    "no_view": (1, "view"),
    "empty": (2, "empty"),
    "garbage": (2, "broke"),
}
JSON = {
    "hang": (2, "did not finish its answer within 1.5 seconds"),
    "error_text:text=Out of memory": (2, "500 Internal Server Error: Out of memory"),
    "html": (2, "HTML page"),
    'status:code=200,text={"item": "cut': (2, "JSON object"),
    "endless": (1, "longer than allowed"),
    "redirect:to=http://169.254.169.254/secrets": (1, "169.254.169.254"),
    "status:code=422,text=No such field": (1, "No such field"),
}


@pytest.mark.parametrize("protocol", ["clams", "json"])
async def test_each_fault_of_an_app_fails_its_item_with_words_and_disturbs_no_other(
    mill: AppMill, protocol: str
) -> None:
    faults, good = (CLAMS, "ok") if protocol == "clams" else (JSON, "json")
    first, healthy = ScriptedApp(good, outputs=("TimeFrame",)), ScriptedApp(f"{good}:delay=0.01", name="healthy")
    broken = {behaviour: ScriptedApp(behaviour, name="broken", inputs=("TimeFrame",)) for behaviour in faults}
    limits = {"protocol": protocol, "deadline": 60, "max_answer": 200_000}
    try:
        for app in (first, healthy, *broken.values()):
            app.start()
        failing = {
            behaviour: await mill.start_apps([first, app], prefix=f"fault{n}", **limits)
            for n, (behaviour, app) in enumerate(broken.items())
        }
        async with mill.database.begin() as session:  # nothing else is waited for on purpose
            await session.execute(text("update app set deadline = 1.5 where url = :url"), {"url": broken["hang"].url})
        other = await mill.start_apps([healthy, healthy], prefix="fine", items=20, protocol=protocol)
        async with mill.calling():
            await mill.until(mill.all_finished(other, *failing.values()))
    finally:
        for app in (first, healthy, *broken.values()):
            app.stop()

    assert await audit(mill.database, mill.documents, other) == {"done": 20}
    assert not [a for a in await mill.attempts(other) if a["outcome"] != "done"]
    for behaviour, run in failing.items():
        attempts, words = faults[behaviour]
        assert await audit(mill.database, mill.documents, run) == {"failed": 1}, behaviour
        (task,) = await mill.tasks(run)
        assert words in task["reason"], (behaviour, task["reason"])
        assert "Traceback" not in task["reason"]
        outcomes = [(a["step"], a["outcome"]) for a in await mill.attempts(run)]
        assert (behaviour, outcomes) == (behaviour, [(0, "done"), *[(1, "failed")] * attempts])


async def test_an_app_that_is_down_holds_its_items_back_and_uses_up_no_try(
    mill: AppMill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "UNAVAILABLE_PAUSE", 0.05)
    with ScriptedApp("ok", name="down") as down, ScriptedApp("ok", name="up") as up:
        held = await mill.start_apps([down], prefix="held", items=10)
        down.stop()
        async with mill.calling():
            await mill.until(lambda: _open(mill, "held"))
            fine = await mill.start_apps([up], prefix="fine", items=30)
            await mill.until(mill.finished(fine))
            assert await mill.states(fine) == {"done": 30}

            tasks = await mill.tasks(held)
            assert {t["state"] for t in tasks} <= {"waiting", "running"}
            assert {t["tries"] for t in tasks} == {0}
            assert any("cannot be reached" in (t["reason"] or "") for t in tasks)
            (step,) = await mill.steps(held)
            assert "refused" in step["circuit_reason"]
            assert step["circuit_open_until"] is not None

            down.start()
            await mill.until(mill.finished(held))
    assert await audit(mill.database, mill.documents, held) == {"done": 10}
    assert Counter(a["outcome"] for a in await mill.attempts(held))["failed"] == 0
    app = await mill.app("held")
    assert (app["circuit_failures"], app["circuit_open_until"], app["circuit_reason"]) == (0, None, None)


async def test_an_open_circuit_lets_one_attempt_through_at_a_time(
    mill: AppMill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "UNAVAILABLE_PAUSE", 0.05)
    with ScriptedApp("status:code=503", name="busy") as app:
        run = await mill.start_apps([app], prefix="busy", items=20)
        async with mill.calling():
            await mill.until(lambda: _open(mill, "busy"))
            await mill.until(lambda: _none_in_hand(mill, run))
            app.script(
                "status:code=503,delay=0.2", "error_text:delay=0.2,text=Oops", "ok"
            )  # an error is an answer as well
            at_once: set[int] = set()

            async def closed() -> bool:
                now = app.open
                if await _closed(mill, "busy"):
                    return True
                at_once.add(now)
                return False

            await mill.until(closed)
            assert at_once <= {0, 1}
            await mill.until(mill.finished(run))
        assert app.count() > 20
    assert await audit(mill.database, mill.documents, run) == {"done": 20}


async def test_submitted_work_survives_the_worker_and_is_called_for_once(
    mill: AppMill, database_url: str, tmp_path: Path
) -> None:
    with ScriptedApp("async:polls=1000000", name="slow") as app:
        run = await mill.start_apps([app], prefix="slow", items=3)
        worker = WorkerProcess(database_url, tmp_path / "documents", tmp_path / "log", lease=30)
        await mill.until(lambda: _all(mill, run, "submitted"))
        worker.kill()
        app.finish_jobs()
        async with mill.calling():
            await mill.until(mill.finished(run))
        assert len(app.calls) == 3
    assert await audit(mill.database, mill.documents, run) == {"done": 3}
    attempts = await mill.attempts(run)
    assert [(a["fence"], a["outcome"]) for a in attempts] == [(1, "done")] * 3


async def test_an_app_that_forgets_what_it_accepted_is_asked_again(mill: AppMill) -> None:
    with ScriptedApp("async:seconds=60,every=0.3", "async:polls=1", name="forgetful") as app:
        run = await mill.start_apps([app], prefix="forgetful")
        async with mill.calling():
            await mill.until(lambda: _all(mill, run, "submitted"))
            app.stop()
            app._jobs.clear()
            app.start()
            await mill.until(mill.finished(run))
        assert len(app.calls) == 2
    assert await audit(mill.database, mill.documents, run) == {"done": 1}
    first, second = await mill.attempts(run)
    assert (first["outcome"], second["outcome"]) == ("failed", "done")
    assert "no longer knows of this work" in first["error"]


async def test_a_worker_that_is_stopped_hands_submitted_work_on(mill: AppMill) -> None:
    with ScriptedApp("async:polls=1000000", name="slow") as app:
        run = await mill.start_apps([app], prefix="slow")
        async with mill.calling() as worker:
            await mill.until(lambda: _all(mill, run, "submitted"))
            worker.abandon()
        assert await mill.states(run) == {"submitted": 1}
        app.finish_jobs()
        async with mill.calling():
            await mill.until(mill.finished(run))
        assert len(app.calls) == 1
    assert await audit(mill.database, mill.documents, run) == {"done": 1}


async def test_submitted_work_is_held_to_its_deadline_and_stopped_whoever_follows_it(mill: AppMill) -> None:
    with ScriptedApp("async:polls=1000000", name="endless") as app:
        run = await mill.start_apps([app], prefix="endless", deadline=60, tries=1)
        async with mill.calling() as worker:
            await mill.until(lambda: _all(mill, run, "submitted"))
            worker.abandon()
        async with mill.database.begin() as session:  # as if it had been submitted long ago
            await session.execute(text("update task set started_at = started_at - interval '1 hour'"))
        async with mill.calling():
            await mill.until(mill.finished(run))
        assert app.cancelled == ["1"]
    assert await audit(mill.database, mill.documents, run) == {"failed": 1}
    (failed,) = await mill.tasks(run)
    assert "deadline of 60 s" in failed["reason"]


async def test_a_worker_adopts_only_what_its_engines_can_run(mill: AppMill) -> None:
    with ScriptedApp("async:seconds=60", name="slow") as app:
        run = await mill.start_apps([app], prefix="slow")
        async with mill.calling() as worker:
            await mill.until(lambda: _all(mill, run, "submitted"))
            worker.abandon()
    found = []
    for kind in ("python", "http"):
        exchange = Exchange(mill.database, lease=30, abilities=Abilities([kind]))
        found.append(len(await exchange.ask("tasks.adopt", n=10)))
        await exchange.close()
    assert found == [0, 1]


async def test_a_step_that_raises_what_no_text_can_hold_fails_with_words(mill: AppMill) -> None:
    def odd(document: dict[str, str], _: dict[str, str]) -> dict[str, str]:
        if document["item"] == "item-1":
            raise ValueError("half a pair: \ud800, and NUL: \x00.")
        return document

    run = await mill.start(items=4, steps=["a"], functions={"f": odd}, use=["f"], tries=2, backoff=0.01)
    await mill.work({"f": odd}, until=mill.finished(run))
    assert await audit(mill.database, mill.documents, run) == {"done": 3, "failed": 1}
    (failed,) = [task for task in await mill.tasks(run) if task["state"] == "failed"]
    assert failed["reason"] == "ValueError: half a pair: ?, and NUL: \ufffd."


@pytest.mark.parametrize(
    "behaviour", ["error_text:text=NUL \x00 and more", "async:polls=3,fail=NUL \x00", "async:polls=1e60"]
)
async def test_odd_words_and_numbers_of_an_app_do_not_stop_the_worker(mill: AppMill, behaviour: str) -> None:
    with ScriptedApp(behaviour, name="odd") as odd, ScriptedApp("ok", name="even") as even:
        strange = await mill.start_apps([odd], prefix="odd")
        if "1e60" in behaviour:
            async with mill.calling(lease=0.6):
                await mill.until(lambda: _progressed(mill, strange))
                await asyncio.sleep(1.5)  # several leases long: who has no heartbeat loses the task
                (task,) = await mill.tasks(strange)
                assert (task["state"], task["fence"]) == ("submitted", 1)
                odd.script("ok")
                odd._jobs.clear()
                await mill.until(mill.finished(strange))
            return
        other = await mill.start_apps([even], prefix="even", items=5)
        async with mill.calling():
            await mill.until(mill.all_finished(strange, other))
    assert await audit(mill.database, mill.documents, strange) == {"failed": 1}
    (task,) = await mill.tasks(strange)
    assert "NUL �" in task["reason"]
    assert await audit(mill.database, mill.documents, other) == {"done": 5}


async def _open(mill: AppMill, prefix: str) -> bool:
    return (await mill.app(prefix))["circuit_open_until"] is not None


async def _closed(mill: AppMill, prefix: str) -> bool:
    return (await mill.app(prefix))["circuit_failures"] == 0


async def _none_in_hand(mill: AppMill, run: int) -> bool:
    return set(await mill.states(run)) == {"waiting"}


async def _all(mill: AppMill, run: int, state: str) -> bool:
    return set(await mill.states(run)) == {state}


async def _progressed(mill: AppMill, run: int) -> bool:
    return (await mill.tasks(run))[0]["progress"] is not None
