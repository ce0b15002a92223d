"""Commands as steps: what they are given, what is kept of them, and how they end."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
from tests.local_steps import Bench, command_bench
from tests.sftp_server import SftpServer

from tidemill.executors.contract import Done, Failed, Progress, Skipped, Unavailable
from tidemill.storage.files import FileStore

Json = dict[str, Any]

PYTHON = [sys.executable, "-I", "-c"]
TELL = "import json, sys; json.dump({'arguments': sys.argv[2:]}, open(sys.argv[1], 'w'))"
"""Writes its arguments to the output."""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return command_bench(tmp_path)


def python(text: str, *arguments: str, **options: Any) -> Json:
    """Options of a command that runs this program."""
    return {"command": [*PYTHON, text.replace("{", "{{").replace("}", "}}"), *arguments], **options}


async def arguments_of(bench: Bench, *arguments: str, parameters: Json | None = None, **options: Any) -> list[str]:
    entry = await bench.done(python(TELL, "{output}", *arguments, **options), parameters)
    found: list[str] = entry["output"]["arguments"]
    return found


NASTY = [
    "$(touch hacked); rm -rf",
    "`touch hacked`",
    "a b  c",
    "line\nbreak",
    "-rf",
    "--output=x",
    "'\"",
    "é ü 日本",
    "*",
    "~",
    "a;b&c|d>e",
    "{input}",
    "%s$HOME",
]


@pytest.mark.parametrize("name", NASTY)
async def test_names_reach_the_program_as_they_are_and_no_shell_reads_them(
    bench: Bench, tmp_path: Path, name: str
) -> None:
    file = tmp_path / "data" / f"{name}.root"
    file.parent.mkdir()
    file.write_text("pulses")
    bench.record([file], {"note": name}, item=name)
    got = await arguments_of(
        bench, "{file}", "{files}", "{file:*.root}", "--", "{item}", "{metadata.note}", "{note}",
        parameters={"note": name},
    )  # fmt: skip
    assert got == [str(file)] * 3 + ["--", name, name, name]
    assert not list(tmp_path.rglob("hacked"))


async def test_placeholders_stand_for_what_they_say(bench: Bench, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.root", "b.root", "c.txt")]
    for file in files:
        file.write_text(file.name)
    bench.record(files, {"run": {"number": 7}})
    parameters = {"threshold": 0.5, "deep": True, "channels": [1, 2], "none": None, "table": {"a": 1}}
    got = await arguments_of(
        bench, "-t", "{threshold}", "{deep}", "--channel={channels}", "--{none}", "{table}", "{{braces}}",
        "{metadata.run.number}", "in:{file:*.root}", "{files}",
        parameters=parameters,
    )  # fmt: skip
    assert got == [
        "-t", "0.5", "true", "--channel=1", "--channel=2", '{"a":1}', "{braces}", "7",
        f"in:{files[0]}", f"in:{files[1]}", *map(str, files),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["{treshold}"], "The command has {treshold}, which its step does not give"),
        (["{file}"], "The item has 2 files, so {file} does not say which; there are: a.root, b.root."),
        (["{file:*.fits}"], "no file that fits '*.fits'; there are: a.root, b.root."),
        (["{metadata.run}"], "The record has no metadata.run."),
        (["a{b"], "a brace that begins or ends no placeholder"),
        (["{files}{files}"], "two placeholders that stand for several"),
    ],
)
async def test_what_nothing_fills_fails_at_once_and_is_named(
    bench: Bench, tmp_path: Path, arguments: list[str], reason: str
) -> None:
    files = [tmp_path / "a.root", tmp_path / "b.root"]
    for file in files:
        file.touch()
    bench.record(files)
    outcome = await bench.do({"command": ["true", *arguments]})
    assert isinstance(outcome, Failed)
    assert reason in outcome.reason
    assert not outcome.retry


@pytest.mark.parametrize(
    "command", [["sh", "-c", "cat {item}"], ["/bin/bash", "-ec", "ls {item}"], [*PYTHON, "{item}"]]
)
async def test_a_placeholder_in_the_text_of_a_program_is_refused(bench: Bench, command: list[str]) -> None:
    bench.record(item="$(touch hacked)")
    outcome = await bench.do({"command": command})
    assert isinstance(outcome, Failed)
    assert "would be read as commands" in outcome.reason


async def test_the_environment_holds_nothing_of_the_site(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TIDEMILL_DATABASE_URL", "PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "LD_PRELOAD_NOT"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    bench.record(item="x")
    tell = "import json, os, sys; json.dump(dict(os.environ), open(sys.argv[1], 'w'))"
    options = python(tell, "{output}", environment={"OMP_NUM_THREADS": "1", "ITEM": "it is {item}"})
    environment = (await bench.done(options))["output"]
    assert set(environment) - {"LC_CTYPE"} == {"PATH", "HOME", "LANG", "TMPDIR", "OMP_NUM_THREADS", "ITEM"}
    assert environment["ITEM"] == "it is x"
    assert environment["LANG"] == "de_DE.UTF-8"
    assert environment["PATH"] == os.environ["PATH"]


async def test_it_starts_in_its_own_folder_or_in_the_one_that_the_site_names(bench: Bench, tmp_path: Path) -> None:
    bench.record()
    tell = "import json, os, sys; json.dump({'at': os.getcwd(), 'tmp': os.environ['TMPDIR']}, open(sys.argv[1], 'w'))"
    own = (await bench.done(python(tell, "{output}")))["output"]
    assert own["at"].startswith(str(tmp_path / "work"))
    assert own["tmp"].startswith(str(tmp_path / "work"))
    (tmp_path / "steps").mkdir()
    named = (await bench.done(python(tell, "{output}", folder=str(tmp_path / "steps"))))["output"]
    assert named["at"] == str(tmp_path / "steps")
    assert not list((tmp_path / "work").iterdir()), "the attempts' folders are gone"


async def test_its_input_is_the_document_and_its_output_becomes_the_next_entry(bench: Bench) -> None:
    bench.record(metadata={"run": 7}, process=[{"name": "before", "output": {"pulses": 3}}])
    twice = (
        "import json, sys; i = json.load(open(sys.argv[1])); "
        "json.dump({'pulses': 2 * i['process'][0]['output']['pulses']}, open(sys.argv[2], 'w'))"
    )
    outcome = await bench.do(python(twice, "{input}", "{output}"), version="1.2")
    assert isinstance(outcome, Done)
    document = orjson.loads(outcome.document)
    assert document["metadata"] == {"run": 7}
    assert document["process"][1] == {
        "name": "step", "app": "app", "version": "1.2", "output": {"pulses": 6}, "files": [],
    }  # fmt: skip


async def test_without_an_output_file_a_json_object_on_standard_output_is_the_output(bench: Bench) -> None:
    bench.record()
    said = await bench.do(python("print('{\"pulses\": 3}')"))
    assert isinstance(said, Done)
    assert orjson.loads(said.document)["process"][0]["output"] == {"pulses": 3}
    assert said.log == ""
    nothing = await bench.do(python("print('{nearly json'); print('hello')"))
    assert isinstance(nothing, Done)
    assert orjson.loads(nothing.document)["process"][0]["output"] == {}
    assert nothing.log == "{nearly json\nhello\n"


@pytest.mark.parametrize("written", ["[1]", "{", "NaN", '"text"'])
async def test_an_output_that_is_no_json_object_fails(bench: Bench, written: str) -> None:
    bench.record()
    outcome = await bench.do(python(f"import sys; open(sys.argv[1], 'w').write({written!r})", "{output}"))
    assert isinstance(outcome, Failed)
    assert "output is no JSON" in outcome.reason
    assert not outcome.retry


async def test_files_that_it_leaves_are_kept_by_pattern(bench: Bench, tmp_path: Path) -> None:
    bench.record()
    make = (
        "import os, pathlib, sys; f = pathlib.Path(sys.argv[1]); (f / 'deep').mkdir(); "
        "(f / 'a.npz').write_text('pulses'); (f / 'deep' / 'b c.npz').write_text('more'); (f / 'c.txt').touch(); "
        "os.symlink('/etc/passwd', f / 'link.npz')"
    )
    outcome = await bench.do(python(make, "{folder}", files=["**/*.npz"]))
    assert isinstance(outcome, Done)
    assert [(file.name, file.size) for file in outcome.files] == [("a.npz", 6), ("deep/b c.npz", 4)]
    assert outcome.files[0].sha256 == hashlib.sha256(b"pulses").hexdigest()
    listed = orjson.loads(outcome.document)["process"][0]["files"]
    assert [file["name"] for file in listed] == ["a.npz", "deep/b c.npz"]
    fetched = await FileStore((tmp_path / "files").as_uri()).fetch(outcome.files[1].url, tmp_path)
    assert fetched.read_text() == "more"

    bench.document = outcome.document
    assert await arguments_of(bench, "{file:*.npz}") == [str(tmp_path / "files" / _key(f)) for f in outcome.files]
    none = await bench.do(python(make, "{folder}", files=["*.root"]))
    assert isinstance(none, Failed)
    assert "left no file that fits *.root in {folder}; there: a.npz, c.txt, deep/b c.npz, link.npz." in none.reason


def _key(file: Any) -> str:
    return f"{file.sha256[:2]}/{file.sha256}/{file.name}"


async def test_side_inputs_are_found_by_the_record_and_noted_with_their_checksum(bench: Bench, tmp_path: Path) -> None:
    template = tmp_path / "pulse-2013.npz"
    template.write_text("template")
    bench.record(metadata={"year": 2013})
    options = python(TELL, "{output}", "{template}", inputs={"template": str(tmp_path / "pulse-{metadata.year}.npz")})
    outcome = await bench.do(options)
    assert isinstance(outcome, Done)
    (noted,) = outcome.inputs
    assert (noted.name, noted.size, noted.url) == ("template", 8, template.as_uri())
    assert noted.sha256 == hashlib.sha256(b"template").hexdigest()
    template.write_text("tempLate")
    again = await bench.do(options)
    assert isinstance(again, Done)
    assert again.inputs[0].sha256 == hashlib.sha256(b"tempLate").hexdigest()

    bench.record(metadata={"year": 2014})
    missing = await bench.do(options)
    assert isinstance(missing, Failed), "other years' items go on"
    assert missing.retry
    assert "pulse-2014.npz" in missing.reason
    same_for_all = python(TELL, "{output}", inputs={"template": str(tmp_path / "gone.npz")})
    assert isinstance(await bench.do(same_for_all), Unavailable), "no item is to blame"
    bench.record(metadata={"year": "../../etc"})
    assert isinstance(await bench.do(options), Failed)


async def test_a_side_input_that_changes_meanwhile_fails_the_attempt(bench: Bench, tmp_path: Path) -> None:
    template = tmp_path / "pulse.npz"
    template.write_text("template")
    bench.record()
    writes = "import sys; open(sys.argv[1], 'a').write('more')"
    outcome = await bench.do(python(writes, "{template}", inputs={"template": str(template)}))
    assert isinstance(outcome, Failed)
    assert outcome.reason == "The side input template changed while the command was at work."
    assert outcome.retry


async def test_exit_codes_mean_what_the_site_says(bench: Bench) -> None:
    bench.record()

    async def ends(code: int, **options: Any) -> Any:
        return await bench.do(
            python(
                f"import sys; print('so', file=sys.stderr); print('why', file=sys.stderr); sys.exit({code})", **options
            )
        )

    assert await ends(3) == Failed("The command exited with 3: why", "so\nwhy\n", retry=True)
    assert await ends(3, exit_retry=[75]) == Failed("The command exited with 3: why", "so\nwhy\n", retry=False)
    assert (await ends(75, exit_retry=[75])).retry
    assert await ends(4, exit_skip=[4]) == Skipped("why", "so\nwhy\n")
    assert await ends(5, exit_bad=[5]) == Failed("why", "so\nwhy\n", retry=False, status="bad")


async def test_a_program_that_is_not_there_is_not_the_items_fault(bench: Bench) -> None:
    bench.record()
    outcome = await bench.do({"command": ["no-such-program"]})
    assert outcome == Unavailable("The command 'no-such-program' cannot be started: No such file or directory.")
    outcome = await bench.do({"command": ["true"], "folder": "/no/such/folder"})
    assert isinstance(outcome, Unavailable)


async def test_too_many_arguments_are_the_items_own_trouble(bench: Bench) -> None:
    bench.record()
    outcome = await bench.do({"command": ["true", "{list}"]}, {"list": ["x" * 100_000] * 100})
    assert isinstance(outcome, Failed)
    assert "Argument list too long" in outcome.reason


async def test_a_file_name_that_no_document_can_hold_fails_clearly(bench: Bench) -> None:
    bench.record()
    leaves = "import os, sys; open(os.fsencode(sys.argv[1]) + b'/\\xff.npz', 'w')"
    outcome = await bench.do(python(leaves, "{folder}", files=["*"]))
    assert isinstance(outcome, Failed)
    assert "not UTF-8" in outcome.reason


async def test_a_signal_is_named(bench: Bench) -> None:
    bench.record()
    outcome = await bench.do(python("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"))
    assert isinstance(outcome, Failed)
    assert outcome.reason == "The command was killed by SIGSEGV."


async def test_memory_beyond_the_limit_ends_it_and_is_told(bench: Bench) -> None:
    bench.record()
    # Two processes, each of which stays below the limit alone.
    greedy = "import os, time; os.fork(); x = b'x' * 60_000_000; time.sleep(30)"
    outcome = await bench.do(python(greedy, memory=100_000_000))
    assert isinstance(outcome, Failed)
    assert outcome.reason == "The command was killed: it used more than its 100 MB of memory."


async def test_shared_memory_counts_once(bench: Bench) -> None:
    bench.record()
    shared = "import os, time; x = b'x' * 60_000_000; os.fork(); time.sleep(0.5)"
    assert isinstance(await bench.do(python(shared, memory=100_000_000)), Done)


async def test_processor_time_beyond_the_limit_ends_it_and_is_told(bench: Bench) -> None:
    bench.record()
    outcome = await bench.do(python("while True: pass", cpu_time=1.0))
    assert isinstance(outcome, Failed)
    assert outcome.reason == "The command was killed: it used more than its 1 s of processor time."


STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
sleep = [sys.executable, "-I", "-c", deaf]
subprocess.Popen([*sleep, {mark!r}])
subprocess.Popen([*sleep, {mark!r}], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sleep[0], [*sleep, {mark!r}])
    os._exit(0)
print("ready", flush=True)
time.sleep({seconds})
"""
"""Starts children that ignore SIGTERM: in its group, in another session, and orphaned as a daemon is."""


def alive(mark: str) -> list[int]:
    """Processes that have this word in their command line."""
    found = []
    for process in psutil.process_iter():
        try:
            if mark in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


async def at_its_deadline(bench: Bench, options: Json) -> tuple[Failed, float]:
    """How it ends at its deadline, once it has got as far as saying something before; and that deadline, in seconds."""
    for deadline in (1.5, 6.0, 24.0):
        outcome = await bench.do(options, deadline=deadline)
        assert isinstance(outcome, Failed)
        assert outcome.timed_out
        if outcome.log:
            return outcome, deadline
    raise AssertionError("it never got ready")


async def test_at_the_deadline_all_that_it_started_goes_with_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemill.executors.command_process.GRACE", 0.2)
    bench.record()
    mark = f"mark-{os.getpid()}-deadline"
    outcome, deadline = await at_its_deadline(bench, python(STUBBORN.format(mark=mark, seconds=60)))
    assert outcome.reason == f"The command did not finish within its deadline of {deadline:g} s."
    assert outcome.log == "ready\n"
    assert not alive(mark)


async def test_cancelling_stops_all_that_it_started(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemill.executors.command_process.GRACE", 0.2)
    bench.record()
    mark = f"mark-{os.getpid()}-cancel"
    job = asyncio.create_task(bench.do(python(STUBBORN.format(mark=mark, seconds=60))))
    await until(lambda: len(alive(mark)) == 3 and "ready" in bench.log)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert not alive(mark)


async def test_what_it_leaves_running_is_over_when_it_is_over(bench: Bench) -> None:
    bench.record()
    mark = f"mark-{os.getpid()}-leaves"
    assert isinstance(await bench.do(python(STUBBORN.format(mark=mark, seconds=0))), Done)
    assert not alive(mark)


async def test_a_program_that_heeds_sigterm_may_tidy_up(bench: Bench) -> None:
    bench.record()
    heeds = (
        "import signal, sys, time\n"
        "def end(*_): print('tidied', flush=True); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end); print('ready', flush=True); time.sleep(60)"
    )
    outcome, _ = await at_its_deadline(bench, python(heeds))
    assert outcome.log == "ready\ntidied\n"


async def test_a_killed_minder_is_told_and_leaves_no_command(bench: Bench) -> None:
    bench.record()
    mark = f"mark-{os.getpid()}-minder"
    job = asyncio.create_task(
        bench.do(python(f"import time; print('ready', flush=True); time.sleep(60) # {mark}", mark))
    )
    await until(lambda: "ready" in bench.log)
    (pid,) = alive(mark)
    os.kill(psutil.Process(pid).ppid(), signal.SIGKILL)
    outcome = await job
    assert isinstance(outcome, Failed)
    assert "killed together with the process that minds it" in outcome.reason
    await until(lambda: not alive(mark))


async def test_progress_and_log_come_while_it_runs(bench: Bench, tmp_path: Path) -> None:
    bench.record()
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    steps = (
        "import sys\n"
        "def say(text): print(text, file=sys.stderr, flush=True)\n"
        "print('reading', flush=True); say('progress: 0.2'); say('40%')\n"
        'say(\'{"progress": 0.6, "message": "fitting"}\')\n'
        "say('progress: 30%'); sys.stderr.write(' 70%|███   | 7/10 [00:01<00:01]\\r'); say('a line with 50% in it')\n"
        "open(sys.argv[1]).read()\n"
        "say('tidemill progress'); say('Progress = 90 %')"
    )
    job = asyncio.create_task(bench.do(python(steps, str(gate))))
    await until(lambda: "a line with 50% in it\n" in bench.log)
    assert bench.fractions == [0.2, 0.4, 0.6, 0.6, 0.7], "what is reported never goes back"
    assert Progress(0.6, "fitting") in bench.reports
    gate.write_text("go")
    outcome = await job
    assert isinstance(outcome, Done)
    assert set(outcome.log.splitlines()) == {"reading", "fitting", "a line with 50% in it", "tidemill progress"}
    assert bench.fractions[-1] == 0.9
    assert set(bench.log.splitlines()) == set(outcome.log.splitlines())


async def test_a_flood_is_bounded_and_garbage_is_no_trouble(bench: Bench) -> None:
    bench.record()
    flood = "import sys; sys.stdout.buffer.write(b'first\\n' + bytes(range(256)) * 200_000 + b'\\nlast\\n')"
    outcome = await bench.do(python(flood))
    assert isinstance(outcome, Done)
    assert outcome.log.startswith("first\n")
    assert outcome.log.endswith("\nlast\n")
    assert "characters left out" in outcome.log
    assert len(outcome.log) < 64 * 1024
    endless = await bench.do(python("import sys\nwhile True: sys.stderr.write('x' * 100000)"), deadline=0.5)
    assert isinstance(endless, Failed)
    assert endless.timed_out


MMIF = {"metadata": {"mmif": "http://mmif.clams.ai/1.0.0"}, "documents": [], "views": []}


async def test_in_an_mmif_chain_the_document_that_it_writes_is_the_next_one(bench: Bench) -> None:
    bench.document = orjson.dumps(MMIF)
    adds = (
        "import json, sys; m = json.load(open(sys.argv[1])); "
        "m['views'].append({'id': 'v1', 'metadata': {'app': 'http://apps.clams.ai/bars/v1.2'}, 'annotations': []}); "
        "json.dump(m, open(sys.argv[2], 'w'))"
    )
    outcome = await bench.do(python(adds, "{input}", "{output}"))
    assert isinstance(outcome, Done)
    assert [view["id"] for view in orjson.loads(outcome.document)["views"]] == ["v1"]
    assert outcome.app_version == "v1.2"
    nothing = await bench.do(python("import shutil, sys; shutil.copy(*sys.argv[1:])", "{input}", "{output}"))
    assert isinstance(nothing, Failed)
    assert "it added no view" in nothing.reason


async def test_a_file_that_lies_behind_a_server_is_fetched_and_held_against_its_record(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (there / "a b.root").write_text("pulses")
    sha256 = hashlib.sha256(b"pulses").hexdigest()
    with SftpServer(tmp_path / "server", "asyncssh") as server:
        home = tmp_path / "home"
        (home / ".ssh").mkdir(parents=True)
        (home / ".ssh" / "id_ed25519").write_bytes((server.folder / "user").read_bytes())
        host = f"[127.0.0.1]:{server.port} {(server.folder / 'host.pub').read_text()}"
        (home / ".ssh" / "known_hosts").write_text(host)
        monkeypatch.setenv("HOME", str(home))
        url = server.url(there) + "/a%20b.root"
        moved = {"name": "a b.root", "url": url, "size": 6, "sha256": sha256}
        bench.record(process=[{"name": "move", "output": {}, "files": [moved]}])
        read = python(
            "import shutil, sys; shutil.copy(sys.argv[1], sys.argv[2])", "{file:*.root}", "{folder}", files=["*"]
        )
        outcome = await bench.do(read)
        assert isinstance(outcome, Done), outcome
        assert [(file.name, file.sha256) for file in outcome.files] == [("a b.root", sha256)]
        (there / "a b.root").write_text("spoilt")
        spoilt = await bench.do(read)
        assert isinstance(spoilt, Failed)
        assert spoilt.reason == f"{url} has other bytes than are on record."
    gone = await bench.do(read)
    assert isinstance(gone, Failed)
    assert "connection refused" in gone.reason
