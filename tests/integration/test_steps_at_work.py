"""Steps that `@step` has declared, done by a real worker for a real site."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from tests.step_site import StepSite
from tests.webserver import until

from tidemill.db.database import Database
from tidemill.errors import Conflict
from tidemill.pipelines import apps
from tidemill.pipelines.apps import AppFacts, AppSettings
from tidemill.pipelines.pipelines import StepWish
from tidemill.pipelines.steps import register_steps
from tidemill.runner import attempt_views, look, redo, runs
from tidemill.runner.results import LOG_LIMIT
from tidemill.sdk.loading import load_steps
from tidemill.storage.documents import DocumentStore

BOTH = pytest.mark.parametrize("where", ["thread", "process"])


@pytest.fixture
async def site(database: Database, documents: DocumentStore, tmp_path: Path) -> StepSite:
    return StepSite(database, documents, tmp_path)


async def item(site: StepSite, name: str) -> dict[str, Any]:
    async with site.database.begin() as session:
        return (await look.item(session, name)).item


@BOTH
async def test_a_chain_passes_records_results_and_files_on(site: StepSite, where: str) -> None:
    data = site.folder / "ma22.dat"
    data.write_text("raw")
    steps = await site.load(
        f"""
@step(run_in="{where}")
def convert(item, task):
    raw = item.file("ma22.dat").path().read_text()
    task.output("ma22.root").write_text(raw + " converted")
    task.set(converted=True, gone=None)
    return {{"events": 3, "threshold": task.parameters["threshold"]}}

@step(run_in="{where}")
def pulses(item, task):
    before = item.output("convert")
    text = item.file("ma22.root").open("r").read()
    path = task.folder / "x.tmp"
    path.write_text(text + " with pulses")
    task.keep(path, "ma22.amp.root")
    return {{"amplitudes": [1.5] * before["events"], "detector": item.metadata["detector"], "item": item.name}}
"""
    )
    await site.item("ma22", {"detector": "ge3", "gone": 1}, [data])
    run = await site.begin(["ma22"], StepWish("convert", parameters={"threshold": 0.5}), "pulses")
    attempts = await site.do(steps, run)

    assert [a["outcome"] for a in attempts] == ["done", "done"]
    (document,) = await site.final_documents(run)
    first, second = document["process"]
    assert first["output"] == {"events": 3, "threshold": 0.5}
    assert second["output"] == {"amplitudes": [1.5, 1.5, 1.5], "detector": "ge3", "item": "ma22"}
    assert (second["name"], second["app"], second["version"]) == ("pulses", "pulses", steps["pulses"].version)
    kept = attempts[1]["files"][0]
    assert kept["name"] == "ma22.amp.root"
    stored = await site.files.fetch(kept["url"], site.folder)
    assert stored.read_text() == "raw converted with pulses"
    assert kept["sha256"] == hashlib.sha256(stored.read_bytes()).hexdigest()
    assert (await item(site, "ma22"))["metadata"] == {"detector": "ge3", "converted": True}
    assert list((site.folder / "work").glob("*")) == []


@BOTH
async def test_how_a_step_ends_is_what_becomes_of_the_item(site: StepSite, where: str) -> None:
    steps = await site.load(
        f"""
@step(run_in="{where}", tries=2)
def judge(item, task):
    print("looking at", item.name)
    if item.name == "skip":
        raise Skip("no pulses in it")
    if item.name == "bad":
        raise Bad("no conditions")
    if item.name == "retry" and task.key.endswith("-1"):
        raise Retry("the robot is busy", after=0)
    if item.name == "fails":
        raise ValueError("no light in the tunnel")
    if item.name == "nonsense":
        return [1, 2]
    return {{}}
"""
    )
    names = ["good", "skip", "bad", "retry", "fails", "nonsense"]
    for name in names:
        await site.item(name)
    async with site.database.begin() as session:
        await session.execute(text("update app set backoff = 0"))
    run = await site.begin(names, "judge")
    async with site.at_work(steps) as worker:
        await site.until(site.finished(run))
        await until(lambda: worker.in_hand == 0, "it has nothing in hand")
    found = {task["item"]: task for task in await site.tasks(run)}
    assert {name: task["state"] for name, task in found.items()} == {
        "good": "done", "skip": "done", "bad": "failed", "retry": "done", "fails": "failed", "nonsense": "failed",
    }  # fmt: skip
    tries = {name: [a["outcome"] for a in await site.attempts(run, name)] for name in names}
    assert tries == {
        "good": ["done"], "skip": ["skipped"], "bad": ["failed"], "retry": ["failed", "done"],
        "fails": ["failed", "failed"], "nonsense": ["failed"],
    }  # fmt: skip
    bad = await item(site, "bad")
    assert (bad["status"], (await item(site, "fails"))["status"]) == ("bad", "good")
    assert found["bad"]["reason"] == "no conditions"
    failed = (await site.attempts(run, "fails"))[0]
    assert failed["error"] == "ValueError: no light in the tunnel"
    assert failed["log"].startswith("looking at fails\nTraceback (most recent call last):\n  File ")
    assert failed["log"].count("File ") == 1
    assert "in judge" in failed["log"]


async def test_nothing_that_a_step_does_stops_the_worker(site: StepSite) -> None:
    steps = await site.load(
        """
import ctypes, signal, sys
WHAT = {"exit": SystemExit(3), "stop": StopIteration("x"), "key": KeyboardInterrupt()}

@step(tries=1)
async def in_loop(item):
    raise WHAT.get(item.name, ValueError("x"))

@step(tries=1)
def in_thread(item):
    raise WHAT.get(item.name, ValueError("x"))

@step(tries=1, run_in="process")
def in_process(item):
    print("before the end", flush=True)
    if item.name == "exit":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGSEGV if item.name == "stop" else signal.SIGKILL)
"""
    )
    names = ["exit", "stop", "key", "other"]
    for name in names:
        await site.item(name)
    ids = [await site.begin(names, name, name=name) for name in steps]
    async with site.at_work(steps):
        await site.until(site.all_finished(*ids))
    for run in ids:
        assert await site.states(run) == {"failed": 4}
    ended = {a["item"]: a for a in await site.attempts(ids[2])}
    assert "exit code 3" in ended["exit"]["error"]
    assert "SIGSEGV" in ended["stop"]["error"]
    assert "SIGKILL" in ended["other"]["error"]
    assert ended["exit"]["log"] == "before the end\n"


async def test_a_killed_child_fails_its_attempt_alone_and_is_tried_again(site: StepSite) -> None:
    steps = await site.load(
        """
@step(run_in="process")
def waits(item, task):
    (task.folder.parent / "pid").write_text(str(os.getpid()))
    if task.key.endswith("-1"):
        time.sleep(600)
    return {"second": True}
"""
    )
    async with site.database.begin() as session:
        await session.execute(text("update app set backoff = 0"))
    await site.item("one")
    run = await site.begin(["one"], "waits")
    pid = site.folder / "work" / "pid"

    async def started() -> bool:
        return pid.is_file() and bool(pid.read_text())

    async with site.at_work(steps):
        await site.until(started)
        os.kill(int(pid.read_text()), signal.SIGKILL)
        await site.until(site.finished(run))
    first, second = await site.attempts(run)
    assert "killed by SIGKILL" in first["error"]
    assert second["outcome"] == "done"


@BOTH
async def test_a_step_is_held_to_its_deadline(site: StepSite, where: str) -> None:
    await site.item("one")
    for seconds in (2, 20) if where == "process" else (0.2, 20):  # a busy machine may need longer to begin
        steps = await site.load(
            f"""
@step(run_in="{where}", tries=1, deadline={seconds})
def hangs(item, task):
    os.system("sleep 600 & echo $! > {site.folder}/pid") if "{where}" == "process" else None
    print("at work", flush=True)
    while not task.cancelled:
        time.sleep(0.01)
"""
        )
        (attempt,) = await site.do(steps, await site.begin(["one"], "hangs"))
        if attempt["log"]:
            break
    assert attempt["error"] == f"hangs did not finish within {seconds} seconds."
    assert attempt["log"] == "at work\n"
    if where == "process":  # what it had started is gone with it
        sleeper = int((site.folder / "pid").read_text())
        await site.until(lambda: _gone(sleeper))


async def _gone(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


@BOTH
async def test_a_cancelled_step_stops_where_it_can(site: StepSite, where: str) -> None:
    steps = await site.load(
        f"""
@step(run_in="{where}")
def endless(item, task):
    (task.folder.parent / "started").write_text("")
    try:
        while True:
            time.sleep(0.01)
            task.progress(0.5)
    finally:
        (task.folder.parent / "stopped").write_text("")
"""
    )
    await site.item("one")
    run = await site.begin(["one"], "endless")
    work = site.folder / "work"

    async def there(name: str) -> bool:
        return (work / name).exists()

    async with site.at_work(steps) as worker:
        await site.until(lambda: there("started"))
        async with site.database.begin() as session:
            await runs.cancel(session, run)
        if where == "thread":
            await site.until(lambda: there("stopped"))

        async def empty() -> bool:
            return worker.in_hand == 0

        await site.until(empty)
    assert await site.states(run) == {"cancelled": 1}


async def test_side_inputs_are_recorded_with_their_checksum(site: StepSite) -> None:
    (site.folder / "templates").mkdir()
    template = site.folder / "templates" / "ge3.npy"
    template.write_text("first")
    steps = await site.load(
        """
def by_date(item):
    return None if item.name == "b" else "templates/ge3.npy"

@step(inputs={"template": "templates/{metadata.detector}.npy", "dated": by_date}, tries=1)
def fit(item, task):
    return {"with": task.input("template").read_text(), "names": sorted(task.inputs)}
"""
    )
    await site.item("a", {"detector": "ge3"})
    await site.item("b", {"detector": "ge3"})
    await site.item("c", {"detector": "ge4"})
    await site.item("d")
    run = await site.begin(["a", "b", "c", "d"], "fit")
    found = {a["item"]: a for a in await site.do(steps, run)}
    sha256 = hashlib.sha256(b"first").hexdigest()
    wanted = {"name": "template", "size": 5, "sha256": sha256, "url": template.as_uri()}
    assert found["a"]["inputs"] == [wanted, wanted | {"name": "dated"}]
    assert found["b"]["inputs"] == [wanted]
    assert "template" in found["c"]["error"]
    assert "ge4.npy" in found["c"]["error"]
    assert "metadata.detector" in found["d"]["error"]

    template.write_text("other")  # as long as the first
    again = await site.begin(["a"], "fit")
    (attempt,) = await site.do(steps, again)
    assert attempt["origin_task_id"] is None
    assert attempt["inputs"][0]["sha256"] == hashlib.sha256(b"other").hexdigest()
    (document,) = await site.final_documents(again)
    assert document["process"][0]["output"]["with"] == "other"


async def test_a_side_input_that_changes_meanwhile_fails_the_attempt(site: StepSite) -> None:
    (site.folder / "t.npy").write_text("first")
    steps = await site.load(
        """
@step(inputs={"t": "t.npy"}, tries=1)
def fit(item, task):
    task.input("t").write_text("second")
    return {}
"""
    )
    await site.item("a")
    (attempt,) = await site.do(steps, await site.begin(["a"], "fit"))
    assert attempt["outcome"] == "failed"
    assert "side input t changed" in attempt["error"]


async def test_what_many_steps_say_at_once_stays_apart(site: StepSite) -> None:
    steps = await site.load(
        """
import asyncio, logging, sys
log = logging.getLogger("mine")

@step
def in_thread(item, task):
    for n in range(20):
        print(item.name, n); time.sleep(0.001)
    log.warning("%s warns", item.name)
    print(item.name, "errs", file=sys.stderr)
    task.log(f"{item.name} logs")

@step
async def in_loop(item):
    for n in range(20):
        print(item.name, n); await asyncio.sleep(0)
"""
    )
    names = [f"item{n}" for n in range(6)]
    for name in names:
        await site.item(name)
    run = await site.begin(names, "in_thread", "in_loop")
    for attempt in await site.do(steps, run):
        lines = attempt["log"].splitlines()
        assert len(lines) == (23 if attempt["step"] == 0 else 20)
        assert all(attempt["item"] in line for line in lines)


async def test_a_log_is_live_while_the_step_is_at_work(site: StepSite) -> None:
    steps = await site.load(
        """
@step
def talks(item, task):
    print("begun")
    task.progress(0.25)
    while not (task.folder.parent / "go").exists():
        time.sleep(0.01)
    print("ended")
"""
    )
    await site.item("one")
    run = await site.begin(["one"], "talks")
    async with site.at_work(steps):
        (task,) = await site.tasks(run)

        async def heard() -> bool:
            async with site.database.begin() as session:
                if not (await site.tasks(run))[0]["fence"]:
                    return False
                part = await attempt_views.log(session, task["id"], 1)
            return part.live and part.text == "begun\n" and part.progress == 0.25

        await site.until(heard)
        following = asyncio.create_task(_followed(site, task["id"]))
        (site.folder / "work" / "go").write_text("")
        await site.until(site.finished(run))
        assert await following == "begun\nended\n"
    async with site.database.begin() as session:
        part = await attempt_views.log(session, task["id"], 1, since=6)
        assert (part.live, part.text, part.state) == (False, "ended\n", "done")
        assert await attempt_views.newest(session, "one") == (task["id"], 1)


async def _followed(site: StepSite, task: int) -> str:
    return "".join([piece async for piece in attempt_views.follow(site.database, site.files, task, 1)])


async def test_a_long_log_is_kept_whole(site: StepSite) -> None:
    steps = await site.load(
        """
@step(tries=1)
def talks(item):
    for n in range(20_000):
        print("line", n)
    raise ValueError("in the end")
"""
    )
    await site.item("one")
    (attempt,) = await site.do(steps, await site.begin(["one"], "talks"))
    assert len(attempt["log"]) == LOG_LIMIT
    assert attempt["log"].endswith("ValueError: in the end\n")
    whole = await _followed(site, attempt["task_id"])
    assert whole.startswith("line 0\nline 1\n")
    assert whole.endswith("ValueError: in the end\n")
    assert whole.count("\n") > 20_000


async def test_versions_side_by_side_are_kept_apart(site: StepSite) -> None:
    old = await site.load("@step\ndef x(item):\n    return {'by': 'old'}\n", "one.py")
    new = await site.load("@step\ndef x(item):\n    return {'by': 'new'}\n", "two.py")
    await site.item("a")
    # The site takes the newest for its version; a worker with the old one is still about.
    (first,) = await site.do(old, await site.begin(["a"], "x"))
    run = await site.begin(["a"], "x")
    (second,) = await site.do(new, run)
    third_run = await site.begin(["a"], "x")
    (third,) = await site.do(old, third_run)
    assert first["app_version_id"] != second["app_version_id"]
    assert second["origin_task_id"] is None
    assert third["origin_task_id"] == second["task_id"]
    async with site.database.begin() as session:
        process = (await look.item(session, "a")).process
    assert [step["version"] for step in process] == [old["x"].version, new["x"].version, new["x"].version]
    (document,) = await site.final_documents(third_run)
    assert document["process"][0]["output"] == {"by": "new"}


async def test_a_version_that_nobody_registered_is_recorded_and_not_taken_for_another(site: StepSite) -> None:
    known = await site.load("@step\ndef x(item):\n    return {'by': 'known'}\n", "one.py")
    path = site.folder / "stranger.py"
    path.write_text("from tidemill import step\n@step(version='9')\ndef x(item):\n    return {'by': 'stranger'}\n")
    await site.item("a")
    await site.do(load_steps([path]), await site.begin(["a"], "x"))
    (attempt,) = await site.do(known, await site.begin(["a"], "x"))
    assert attempt["origin_task_id"] is None
    async with site.database.begin() as session:
        assert [step["version"] for step in (await look.item(session, "a")).process] == ["9", known["x"].version]


async def test_steps_of_similar_names_are_different_steps(site: StepSite) -> None:
    steps = await site.load(
        """
@step
def move(item):
    return {"by": "move"}

@step
def move_v2(item):
    return {"by": "move_v2", "before": item.output("move")["by"]}
"""
    )
    await site.item("a")
    run = await site.begin(["a"], "move", "move_v2")
    await site.do(steps, run)
    async with site.database.begin() as session:
        await redo.rerun(session, run, 1)
    await site.do({"move_v2": steps["move_v2"]}, run)
    (document,) = await site.final_documents(run)
    assert [entry["name"] for entry in document["process"]] == ["move", "move_v2"]
    assert document["process"][1]["output"] == {"by": "move_v2", "before": "move"}


async def test_registering_keeps_what_the_site_says_of_an_app(site: StepSite) -> None:
    text_of = "@step(concurrency=2, deadline=60, tries=5)\ndef x(item): ...\n"
    steps = await site.load(text_of)
    async with site.database.begin() as session:
        made = await apps.settings_of(session, "x")
        assert (made.kind, made.url, made.concurrency, made.deadline, made.tries) == ("python", "python:x", 2, 60, 5)
        await apps.register(session, AppSettings("x", "python:x", "python", concurrency=7), AppFacts(""))
        (again,) = await register_steps(session, steps)
        assert (await apps.settings_of(session, "x")).concurrency == 7
    assert (again.before, again.version, again.pipelines) == (steps["x"].version, steps["x"].version, [])
    async with site.database.begin() as session:
        await apps.register(session, AppSettings("y", "http://127.0.0.1:1", protocol="json"), AppFacts("1"))
    with pytest.raises(Conflict, match="named y already"):
        await site.load("@step\ndef y(item): ...\n")
