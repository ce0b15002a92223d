"""The experiment's demo: data files arrive, a watching run takes them in, and what was found is held against what
their maker wrote down."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.cli import door
from tidemill.cli.demo_stages import pages, say_farewell, script, stage, until_interrupted
from tidemill.cli.exits import Exit
from tidemill.cli.output import SIGNS, duration, say, table, tell
from tidemill.errors import TidemillError

if TYPE_CHECKING:
    from tidemill.main import Site
    from tidemill.runner.look import ItemView

WATCH = "physics"
FILES, EVERY = 8, 2.0
"""Data files that arrive, and seconds between them."""

PATIENCE = 90.0
"""Seconds without any news after which the demo gives up."""

ENDS = {None: "done", "cut-short": "failed", "damaged-on-the-way": "failed", "no-conditions": "", "bad-status": ""}
"""How a data file ends up that has this fault; empty: it never enters."""

MOST_FALSE, MOST_BIAS, MOST_SCATTER = 2, 1.0, 2.5
"""Pulses found where there are none in one file; percent; resolutions."""


async def show_experiment(folder: Path, port: int, stay: bool, every: float) -> Exit:
    """The whole demo; OK if every data file ended as its maker says that it should."""
    python = folder / ".venv" / "bin" / "python"
    say("Tidemill's experiment: data files come out of a detector, and their pulses are found.\n")
    async with AsyncExitStack() as house:
        with stage("The steps' environment: NumPy, SciPy, uproot (about 270 MB, once)"):
            await script(_this_python(), folder / "setup_env.py")
        with stage("PostgreSQL, in the site's folder"):
            site = await house.enter_async_context(door.opened())
        with stage("The site file: two places, a transfer, two steps in Python, a watching run"):
            run = await _prepare(site, folder)
        with stage("The pages"):
            address = await house.enter_async_context(pages(site, port))
        with stage("A worker that brings the steps"):
            await house.enter_async_context(_worker(site, python, folder))
        where = address.replace("/?", f"/runs/{run}?")
        tell(f"\nWatch it live:  {where}\n")
        arrivals = Arrivals(site)
        async with asyncio.TaskGroup() as group:
            group.create_task(arrivals.receive(python, folder, every))
            group.create_task(arrivals.follow())
        exit_code = await _tell_results(arrivals, python, folder)
        if stay:
            tell(f"\nLook at it:  {where}")
            _tell_what_next(arrivals, folder)
            await until_interrupted()
        else:
            say_farewell(site)
    return exit_code


def _this_python() -> str:
    import sys

    return sys.executable


async def _prepare(site: Site, folder: Path) -> int:
    """Make the folders and apply the site file, as the command does; the run that takes in what matches."""
    from tidemill.pipelines import apply, watching
    from tidemill.pipelines.site_file import read_site_file

    for name in ("underground", "sps"):
        (folder / "data" / name).mkdir(parents=True, exist_ok=True)
    site_file = read_site_file(folder / "site.toml")
    facts = await apply.look_at_apps(site.addresses, site_file)
    async with site.database.begin() as session:
        await apply.carry_out(session, await apply.plan(session, site_file, facts))
        return int((await watching.get(session, WATCH))["run"])


@asynccontextmanager
async def _worker(site: Site, python: Path, folder: Path) -> AsyncIterator[None]:
    """`tidemill worker --steps steps.py` in the example's environment, until we leave, however we do."""
    theirs, ours = os.pipe()
    log = site.settings.site / "worker.log"
    with log.open("wb") as said:
        process = await asyncio.create_subprocess_exec(
            str(python), "-m", "tidemill.cli", "--site", str(site.settings.site.absolute()), "worker",
            "--steps", str(folder / "steps.py"), "--lifeline", str(theirs),
            stdin=asyncio.subprocess.DEVNULL, stdout=said, stderr=said, pass_fds=(theirs,), start_new_session=True,
        )  # fmt: skip
    os.close(theirs)
    try:
        await _registered(site, process, log)
        yield
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            await process.wait()
        os.close(ours)


async def _registered(site: Site, process: asyncio.subprocess.Process, log: Path) -> None:
    """Wait until the worker is there."""
    from tidemill.runner import look

    ends = time.monotonic() + 60
    while True:
        async with site.database.begin() as session:
            if any(row["live"] and row["pid"] == process.pid for row in await look.workers(session)):
                return
        if process.returncode is not None or time.monotonic() > ends:
            tail = "\n".join(log.read_text(errors="replace").strip().splitlines()[-5:])
            raise TidemillError(f"The worker did not start:\n{tail}")
        await asyncio.sleep(0.1)


@dataclass
class Arrivals:
    """The data files that came during the demo, and what is known of each."""

    site: Site
    names: list[str] = field(default_factory=list)
    views: dict[str, ItemView] = field(default_factory=dict)
    missed: dict[str, str] = field(default_factory=dict)
    """Why those that did not enter did not."""
    told: set[tuple[str, int, int]] = field(default_factory=set)
    all_here: bool = False

    async def receive(self, python: Path, folder: Path, every: float) -> None:
        """Let the detector write data files, and add each record that it prints."""
        from tidemill.catalogue import edits

        command = [python, folder / "make_data.py", folder / "data", "--files", FILES, "--every", every, "--faults"]
        process = await asyncio.create_subprocess_exec(
            *(str(part) for part in command), stdout=asyncio.subprocess.PIPE, start_new_session=True
        )
        try:
            assert process.stdout is not None
            async for line in process.stdout:
                row = json.loads(line)
                async with self.site.database.begin() as session:
                    answer = await edits.apply_one(session, row)
                if answer.error is not None:
                    raise answer.error
                self.names.append(row["name"])
                _tell_news(row["name"], "", "arrived")
            if await process.wait():
                raise TidemillError(f"make_data.py ended with {process.returncode}.")
            self.all_here = True
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def follow(self) -> None:
        """Tell what happens to each, until nothing more will. Raises TidemillError when nothing happens for long."""
        quiet_since = time.monotonic()
        while not (self.all_here and all(map(self._over, self.names))):
            news = [await self._look(name) for name in self.names if not self._over(name)]
            if any(news) or not self.all_here:
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since > PATIENCE:
                left = ", ".join(name for name in self.names if not self._over(name))
                raise TidemillError(f"Nothing has happened for {PATIENCE:.0f} s; still waiting: {left}.")
            await asyncio.sleep(0.25)

    def _over(self, name: str) -> bool:
        if name in self.missed:
            return True
        tasks = self.views[name].tasks if name in self.views else []
        return bool(tasks) and tasks[0]["state"] in ("done", "failed", "cancelled")

    async def _look(self, name: str) -> bool:
        """What is new about a data file is told; whether anything was."""
        from tidemill.runner import look, watch_steering

        async with self.site.database.begin() as session:
            view = self.views[name] = await look.item(session, name)
            reasons = [] if view.tasks else await watch_steering.why(session, name, WATCH)
        for reason in reasons:
            if reason.missed:
                self.missed[name] = "; ".join(reason.missed)
                _tell_news(name, "", f"does not enter: {self.missed[name]}")
        fresh = [row for row in view.attempts if (name, row["task_id"], row["fence"]) not in self.told]
        for row in fresh:
            self.told.add((name, row["task_id"], row["fence"]))
            _tell_attempt(name, row, await self._output(row["output"]))
        return bool(fresh or reasons)

    async def _output(self, sha256: str | None) -> dict[str, Any]:
        """What the step returned that put out this document."""
        from tidemill.runner import look

        if sha256 is None:
            return {}
        async with self.site.database.begin() as session:
            document = json.loads(await look.document(session, self.site.documents, sha256))
        output = document["process"][-1]["output"]
        return output if isinstance(output, dict) else {}

    def state(self, name: str) -> str:
        """As in `ENDS`."""
        tasks = self.views[name].tasks
        return str(tasks[0]["state"]) if tasks else ""


def _tell_news(name: str, step: str, news: str) -> None:
    tell(f"  {time.strftime('%H:%M:%S')}  {name}  {step:18} {news}".rstrip())


def _tell_attempt(name: str, row: Mapping[str, Any], output: Mapping[str, Any]) -> None:
    done = row["outcome"] == "done"
    took = duration((row["finished_at"] - row["started_at"]).total_seconds())
    news = f"{SIGNS['done' if done else 'failed']} {row['outcome']} in {took}"
    if output.get("pulses"):
        news += f": {output['pulses']} pulses, {output['mean_amplitude']:.1f} ADU in the mean"
    elif not done and row["error"]:
        news += f": {row['error']}"
    _tell_news(name, row["step_name"], news)


async def _tell_results(arrivals: Arrivals, python: Path, folder: Path) -> Exit:
    """Tables of what was found and of what did not come through; whether all is as the maker says that it should be."""
    truth = {name: _fault(folder, name) for name in arrivals.names}
    found = await _compared(arrivals, python, folder)
    tell("")
    table(
        ["data file", "clear pulses#", "found#", "false#", "amplitudes off by#", "scatter#"],
        (
            [
                one["item"],
                one["clear"],
                one["found"],
                one["false"],
                f"{one['bias_percent']:+.2f} %",
                f"{one['scatter']} σ",
            ]
            for one in found
        ),
        empty="Nothing was found.",
    )
    tell("")
    others = (
        [name, truth[name] or "nothing", arrivals.state(name) or "not entered", _why(arrivals, name)]
        for name in arrivals.names
        if arrivals.state(name) != "done"
    )
    table(["data file", "what was made wrong", "state", "why"], others, empty="All came through.")
    right = {one["item"] for one in found if _as_it_should(one)}
    wrong = [
        name
        for name in arrivals.names
        if arrivals.state(name) != ENDS[truth[name]] or (truth[name] is None and name not in right)
    ]
    if wrong:
        say(f"Not as it should be: {', '.join(wrong)}")
    return Exit.SOME_FAILED if wrong or len(arrivals.names) < FILES else Exit.OK


def _fault(folder: Path, name: str) -> str | None:
    told = json.loads((folder / "data" / "truth" / f"{name}.json").read_text(encoding="utf-8"))
    return str(told["fault"]) if told["fault"] else None


def _why(arrivals: Arrivals, name: str) -> str:
    tasks = arrivals.views[name].tasks
    return str(tasks[0]["reason"]) if tasks else arrivals.missed.get(name, "")


def _as_it_should(one: Mapping[str, Any]) -> bool:
    """All clear pulses found but one in a hundred, hardly any others, amplitudes right within what noise allows."""
    return bool(
        one["clear"] >= 100
        and one["found"] >= 0.99 * one["clear"]
        and one["false"] <= MOST_FALSE
        and abs(one["bias_percent"]) <= MOST_BIAS
        and one["scatter"] <= MOST_SCATTER
    )


async def _compared(arrivals: Arrivals, python: Path, folder: Path) -> Sequence[Mapping[str, Any]]:
    """What the example's `compare.py` says of the files of amplitudes that were made."""
    asked = []
    for name in arrivals.names:
        for row in arrivals.views[name].attempts:
            for file in row["files"] or ():
                if row["outcome"] == "done" and file["name"].endswith(".amp.root"):
                    path = await arrivals.site.files.fetch(file["url"], arrivals.site.settings.site)
                    asked.append(json.dumps({"item": name, "file": str(path)}))
    process = await asyncio.create_subprocess_exec(
        str(python), str(folder / "compare.py"), str(folder / "data"),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    answer, _ = await process.communicate("\n".join(asked).encode())
    if process.returncode:
        raise TidemillError(f"compare.py ended with {process.returncode}.")
    return [json.loads(line) for line in answer.splitlines()]


def _tell_what_next(arrivals: Arrivals, folder: Path) -> None:
    from tidemill.cli.application import invoked

    site = f"--site {invoked.site}"
    for name, why in arrivals.missed.items():
        if "conditions" in why:
            say(f"\nGive {name} its conditions, and it goes through:")
            say(f"  tidemill {site} items set {name} conditions:='{{\"temperature\": 0.0205}}'")
            break
    say("Let more data files come:")
    maker = f"{folder / '.venv' / 'bin' / 'python'} {folder / 'make_data.py'} {folder / 'data'}"
    say(f"  {maker} | tidemill {site} items add -")
    say("Ctrl-C ends the demo.")
