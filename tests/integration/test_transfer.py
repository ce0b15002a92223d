"""Transfers: every kind of place as either end, what is there already, what changes on the way, what goes wrong."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.store import from_url
from tests.local_steps import Bench, transfer_bench
from tests.s3_server import CREDENTIALS, s3_server
from tests.sftp_server import SSHD, SftpServer

from tidemill.executors.contract import Done, Failed, Progress, Unavailable
from tidemill.executors.places.contract import Seen, Trouble, part_name
from tidemill.executors.places.folder import FolderPlace

Json = dict[str, Any]
MB = 1024 * 1024
BIG = 12 * MB


@pytest.fixture
async def bench() -> Any:
    made = transfer_bench()
    yield made
    await made.executor.close()


@dataclass
class End:
    """One place: its URL, what an app says of it, and how a test sees what lies there."""

    url: str
    options: Json
    folder: Path | None = None
    store: Any = None

    def names(self) -> list[str]:
        if self.folder is not None:
            return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())
        return sorted(one["path"] for page in obstore.list(self.store) for one in page)

    def read(self, key: str) -> bytes:
        return (self.folder / key).read_bytes() if self.folder else bytes(obstore.get(self.store, key).bytes())

    def write(self, key: str, data: bytes) -> str:
        if self.folder is None:
            obstore.put(self.store, key, data)
        else:
            (self.folder / key).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / key).write_bytes(data)
        return f"{self.url}/{key}"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server("data") as endpoint:
        yield endpoint


@pytest.fixture
def folder(tmp_path: Path) -> End:
    (tmp_path / "there").mkdir()
    return End((tmp_path / "there").as_uri(), {}, tmp_path / "there")


KINDS = ["folder", "asyncssh" if SSHD is None else "openssh", "s3"]
"""OpenSSH's server where it is installed; its stand-in passes the first tests in any case."""


@pytest.fixture(params=KINDS)
def end(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> End:
    """Each kind of place, empty."""
    return make_end(request, request.param, tmp_path, monkeypatch)


def make_end(request: pytest.FixtureRequest, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> End:
    if kind == "s3":
        for name, value in CREDENTIALS.items():
            monkeypatch.setenv(name, value)
        options = {"endpoint": request.getfixturevalue("s3"), "allow_http": True}
        url = f"s3://data/{tmp_path.name}"
        store = from_url(url, endpoint=options["endpoint"], client_options={"allow_http": True})
        return End(url, options, store=store)
    there = tmp_path / "there"
    there.mkdir()
    if kind == "folder":
        return End(there.as_uri(), {}, there)
    server = request.getfixturevalue(kind)
    return End(server.url(there), server.login, there)


@pytest.fixture(scope="module")
def asyncssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    with SftpServer(tmp_path_factory.mktemp("asyncssh") / "server", "asyncssh") as server:
        yield server


@pytest.fixture(scope="module")
def openssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    if SSHD is None:
        pytest.skip("OpenSSH's server is not installed here")
    with SftpServer(tmp_path_factory.mktemp("openssh") / "server", "openssh") as server:
        yield server


def made(folder: Path, name: str, size: int = 1000) -> Path:
    """A data file of random bytes."""
    path = folder / "here" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(os.urandom(size))
    return path


def to(end: End, **options: Any) -> Json:
    return {"to": end.url, **end.options, **options}


async def failed(bench: Bench, options: Json, **app: Any) -> Failed:
    outcome = await bench.do(options, **app)
    assert isinstance(outcome, Failed), outcome
    return outcome


@pytest.mark.parametrize("end", ["folder", "asyncssh", "openssh", "s3"], indirect=True)
async def test_files_arrive_whole_and_are_on_record(bench: Bench, end: End, tmp_path: Path) -> None:
    files = [made(tmp_path, "a b.root", 3000), made(tmp_path, "-c#ü?%41.root", 0), made(tmp_path, "big.root", BIG)]
    bench.record(files)
    outcome = await bench.do(to(end, key="{item}/{name}"))
    assert isinstance(outcome, Done), outcome
    assert end.names() == sorted(f"ma22a000_000/{file.name}" for file in files)
    for file, kept in zip(files, outcome.files, strict=True):
        data = file.read_bytes()
        assert end.read(f"ma22a000_000/{file.name}") == data
        assert (kept.name, kept.size, kept.sha256) == (file.name, len(data), hashlib.sha256(data).hexdigest())
    assert bench.fractions == sorted(bench.fractions)
    assert bench.fractions[-1] == 1
    assert "big.root: 12.58 MB copied, SHA-256" in outcome.log


@pytest.mark.parametrize("end", ["folder", "asyncssh", "openssh", "s3"], indirect=True)
async def test_files_come_back_from_where_the_record_says_that_they_are_now(
    bench: Bench, end: End, tmp_path: Path
) -> None:
    files = [made(tmp_path, "a b.root", 3000), made(tmp_path, "big.root", BIG)]
    data = {file.name: file.read_bytes() for file in files}
    bench.record(files)
    await bench.done(to(end, key="{item}/{name}"))
    for file in files:
        file.unlink()
    back = tmp_path / "back"
    back.mkdir()
    entry = await bench.done({"to": back.as_uri(), **end.options})
    assert [one["from"] for one in entry["output"]["files"]][1] == f"{end.url}/ma22a000_000/big.root"
    assert {path.name: path.read_bytes() for path in back.iterdir()} == data


async def test_what_is_there_already_is_not_copied_again(bench: Bench, end: End, tmp_path: Path) -> None:
    bench.record([made(tmp_path, "a.root")])
    first = await bench.done(to(end))
    bench.record([tmp_path / "here" / "a.root"])
    outcome = await bench.do(to(end))
    assert isinstance(outcome, Done)
    assert "a.root: 1 kB was there already" in outcome.log
    again = await bench.done(to(end))
    assert again == first, "equal work gives equal documents"


@pytest.mark.parametrize("size", [1000, 1001])
async def test_other_bytes_of_that_name_are_left_alone(bench: Bench, end: End, tmp_path: Path, size: int) -> None:
    file = made(tmp_path, "a.root")
    bench.record([file])
    end.write("a.root", b"x" * size)
    outcome = await failed(bench, to(end))
    assert "is there already and holds other bytes; nothing was overwritten" in outcome.reason
    assert not outcome.retry
    assert end.read("a.root") == b"x" * size
    assert end.names() == ["a.root"]
    await bench.done(to(end, overwrite=True))
    assert end.read("a.root") == file.read_bytes()
    assert end.names() == ["a.root"]


async def test_two_attempts_at_once_do_not_harm_each_other(bench: Bench, end: End, tmp_path: Path) -> None:
    file = made(tmp_path, "big.root", BIG)
    bench.record([file])
    outcomes = await asyncio.gather(bench.do(to(end)), bench.do(to(end)), transfer_bench_of(bench).do(to(end)))
    assert {type(outcome) for outcome in outcomes} == {Done}, outcomes
    assert end.names() == ["big.root"]
    assert end.read("big.root") == file.read_bytes()


def transfer_bench_of(bench: Bench) -> Bench:
    """Another worker with the same task."""
    other = transfer_bench()
    other.document = bench.document
    return other


async def test_a_checksum_in_the_record_is_held_against_the_file(bench: Bench, end: End, tmp_path: Path) -> None:
    file = made(tmp_path, "a.root", BIG)
    right = hashlib.md5(file.read_bytes()).hexdigest()
    bench.record([file], {"md5sum": right[::-1]})
    outcome = await failed(bench, to(end, md5="metadata.md5sum"))
    assert outcome.reason.endswith(f"a.root has the MD5 {right}, but its record says {right[::-1]}.")
    assert end.names() == []
    bench.record([file], {"md5sum": right.upper()})
    entry = await bench.done(to(end, md5="metadata.md5sum"))
    assert entry["output"]["files"][0]["md5"] == right
    bench.record([file], {"md5sum": "?"})
    assert "which is no MD5" in (await failed(bench, to(end, md5="metadata.md5sum"))).reason
    bench.record([file])
    assert "The record has no metadata.md5sum" in (await failed(bench, to(end, md5="metadata.md5sum"))).reason


def at(fraction: float, act: Callable[[], object]) -> Callable[[Progress], None]:
    """A listener that does something once when the transfer has come that far."""
    acted = False

    def hear(progress: Progress) -> None:
        nonlocal acted
        if not acted and (progress.fraction or 0) >= fraction:
            acted = True
            act()

    return hear


async def test_a_file_that_changes_on_the_way_is_not_taken_for_whole(bench: Bench, end: End, tmp_path: Path) -> None:
    file = made(tmp_path, "big.root", BIG)
    bench.record([file])

    def grow() -> None:
        with file.open("ab") as more:
            more.write(b"more")

    outcome = await bench.executor.submit(bench.work(to(end)), at(0.1, grow))
    assert isinstance(outcome, Failed)
    assert outcome.retry
    assert "big.root changed while it was being copied" in outcome.reason
    assert end.names() == []
    await bench.done(to(end))
    assert end.read("big.root") == file.read_bytes()
    assert end.names() == ["big.root"]


@pytest.mark.parametrize("end", KINDS[:2], indirect=True)
async def test_bytes_that_went_bad_at_the_other_end_are_found_and_thrown_away(
    bench: Bench, end: End, tmp_path: Path
) -> None:
    bench.record([made(tmp_path, "big.root", BIG)])
    assert end.folder is not None

    def spoil() -> None:
        (part,) = end.folder.glob(".big.root.*.tidemill.part")  # type: ignore[union-attr]
        with part.open("r+b") as bad:
            bad.seek(100)
            bad.write(b"bad")

    outcome = await bench.executor.submit(bench.work(to(end)), at(0.5, spoil))
    assert isinstance(outcome, Failed)
    assert outcome.retry
    assert "was read back with other bytes than were sent" in outcome.reason
    assert end.names() == []
    await bench.done(to(end))


@pytest.mark.parametrize("end", KINDS[:2], indirect=True)
@pytest.mark.parametrize("there", ["whole chunks", "a piece", "garbage", "too much"])
async def test_a_cut_transfer_goes_on_where_it_was(bench: Bench, end: End, tmp_path: Path, there: str) -> None:
    file = made(tmp_path, "big.root", BIG)
    data = file.read_bytes()
    lies = {"whole chunks": data[: 8 * MB], "a piece": data[: 9 * MB + 7], "garbage": os.urandom(9 * MB)}
    assert end.folder is not None
    seen = await FolderPlace(file.parent).look(file.name)
    assert seen is not None
    (end.folder / part_name(file.name, seen)).write_bytes(lies.get(there, data + b"more"))
    bench.record([file])
    outcome = await bench.do(to(end))
    assert isinstance(outcome, Done)
    assert ("copied from byte" in outcome.log) is (there != "garbage")
    assert end.names() == ["big.root"]
    assert end.read("big.root") == data


async def test_a_cancelled_transfer_leaves_nothing_under_the_name(bench: Bench, end: End, tmp_path: Path) -> None:
    file = made(tmp_path, "big.root", BIG)
    bench.record([file])
    here = asyncio.Event()
    job = asyncio.ensure_future(bench.executor.submit(bench.work(to(end)), at(0.2, here.set)))
    await here.wait()
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert "big.root" not in end.names()
    outcome = await bench.do(to(end))
    assert isinstance(outcome, Done)
    assert end.names() == ["big.root"]
    assert end.read("big.root") == file.read_bytes()


async def test_a_write_that_outlives_a_cancelled_wait_goes_to_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    incoming = await FolderPlace(tmp_path / "there").receive("a.root", Seen(6, "one"))
    begun, go, really, over = threading.Event(), threading.Event(), os.pwrite, threading.Event()

    def slow(handle: int, data: bytes, at: int) -> int:
        """A disk that takes its time, and one byte at first."""
        if not begun.is_set():
            begun.set()
            go.wait(60)
            return really(handle, data[:1], at)
        try:
            return really(handle, data, at)
        finally:
            over.set()

    monkeypatch.setattr(os, "pwrite", slow)
    writing = asyncio.ensure_future(incoming.write(0, b"abcdef"))
    assert await asyncio.to_thread(begun.wait, 60)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await incoming.close()
    others = [(tmp_path / f"other-{number}").open("w+b") for number in range(8)]
    go.set()
    assert await asyncio.to_thread(over.wait, 60)
    for other in others:
        with other:
            assert other.read() == b""
    (part,) = (tmp_path / "there").iterdir()
    assert part.read_bytes() == b"abcdef"
    with pytest.raises(Trouble):
        await incoming.write(0, b"abcdef")


async def test_the_deadline_is_kept(bench: Bench, end: End, tmp_path: Path) -> None:
    bench.record([made(tmp_path, "big.root", BIG)])
    outcome = await failed(bench, to(end), deadline=0.001)
    assert outcome.timed_out
    assert "big.root" not in end.names()


async def test_which_files_are_taken_and_what_they_are_called(bench: Bench, folder: End, tmp_path: Path) -> None:
    files = [made(tmp_path, name) for name in ("a.root", "b.root", "c.log")]
    bench.record(files, {"run": {"number": 7}})
    entry = await bench.done(to(folder, files=["*.root"], key="run{metadata.run.number}/{stem}-{item}.dat"))
    assert [one["name"] for one in entry["output"]["files"]] == ["a.root", "b.root"]
    assert folder.names() == ["run7/a-ma22a000_000.dat", "run7/b-ma22a000_000.dat"]
    bench.record()
    here = (tmp_path / "here").as_uri()
    unlisted = to(folder, **{"from": here, "files": ["{item}.root"]})
    bench.record(item="b")
    assert (await bench.done(unlisted))["output"]["files"][0]["from"] == f"{here}/b.root"
    assert folder.read("b.root") == files[1].read_bytes()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"key": "all"}, "would both be called 'all'"),
        ({"key": "../{name}"}, "'../a.root' cannot be the name of a file below a folder"),
        ({"key": "/{name}"}, "'/a.root' cannot be the name"),
        ({"key": "{metadata.run}/{name}"}, "which cannot be a part of a path"),
        ({"files": ["*.fits"]}, "The item has no file that fits *.fits; there are: file://"),
        ({"from": "file:///elsewhere"}, "The item has no file that is its own in file:///elsewhere"),
        ({"md5": "metadata.sum"}, "one metadata.sum, but 2 files are to be copied"),
    ],
)
async def test_what_makes_no_sense_fails_at_once(
    bench: Bench, folder: End, tmp_path: Path, options: Json, reason: str
) -> None:
    bench.record([made(tmp_path, "a.root"), made(tmp_path, "b.root")], {"run": "../..", "sum": "0" * 32})
    outcome = await failed(bench, to(folder, **options))
    assert reason in outcome.reason
    assert not outcome.retry
    assert folder.names() == []


async def test_a_file_that_is_not_there_fails_and_may_come(bench: Bench, end: End, tmp_path: Path) -> None:
    file = made(tmp_path, "a.root")
    bench.record([file])
    file.unlink()
    outcome = await failed(bench, to(end))
    assert outcome.reason == f"{file} is not there."
    assert outcome.retry


async def test_a_folder_that_is_not_mounted_is_waited_for_and_not_made(bench: Bench, tmp_path: Path) -> None:
    bench.record([made(tmp_path, "a.root")])
    outcome = await bench.do({"to": (tmp_path / "mount").as_uri()})
    assert outcome == Unavailable(f"The folder {tmp_path}/mount is not there.")
    assert not (tmp_path / "mount").exists()


async def test_a_server_without_the_folder_is_waited_for(bench: Bench, asyncssh: SftpServer, tmp_path: Path) -> None:
    bench.record([made(tmp_path, "a.root")])
    outcome = await bench.do({"to": asyncssh.url(tmp_path / "mount"), **asyncssh.login})
    assert isinstance(outcome, Unavailable)
    assert f"There is no folder {tmp_path}/mount on" in outcome.reason


async def test_a_bucket_that_is_not_there_is_waited_for(
    bench: Bench, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    bench.record([made(tmp_path, "a.root")])
    outcome = await bench.do({"to": "s3://nothing/here", "endpoint": s3, "allow_http": True})
    assert isinstance(outcome, Unavailable)
    assert "s3://nothing/here" in outcome.reason


async def test_servers_that_are_not_who_they_were_or_do_not_know_us(
    bench: Bench, asyncssh: SftpServer, tmp_path: Path
) -> None:
    bench.record([made(tmp_path, "a.root")])
    target = {"to": asyncssh.url(tmp_path), **asyncssh.login}
    stranger = (asyncssh.folder / "stranger.pub").read_text().strip()
    other = await bench.do(target | {"host_key": stranger})
    assert isinstance(other, Unavailable)
    assert "shows a host key that is not known here" in other.reason
    empty = tmp_path / "known_hosts"
    empty.touch()
    unknown = await bench.do({k: v for k, v in target.items() if k != "host_key"} | {"known_hosts": str(empty)})
    assert isinstance(unknown, Unavailable)
    empty.write_text(f"[127.0.0.1]:{asyncssh.port} {(asyncssh.folder / 'host.pub').read_text()}")
    target["to"] += "/there"
    (tmp_path / "there").mkdir()
    assert isinstance(
        await bench.do({k: v for k, v in target.items() if k != "host_key"} | {"known_hosts": str(empty)}), Done
    )
    unwanted = await bench.do(target | {"key_file": str(asyncssh.folder / "stranger")})
    assert isinstance(unwanted, Unavailable)
    assert "does not let us log in" in unwanted.reason


async def test_originals_are_removed_by_a_later_step_once_their_copies_are_verified(
    bench: Bench, end: End, tmp_path: Path
) -> None:
    file = made(tmp_path, "a.root")
    bench.record([file])
    remove = {"mode": "remove", "from": (tmp_path / "here").as_uri(), **end.options}
    assert "has no copy on record in an earlier step" in (await failed(bench, remove)).reason
    await bench.done(to(end))
    before = bench.document

    data = file.read_bytes()
    file.write_bytes(b"new data")
    assert "has changed since it was copied, so it is not removed" in (await failed(bench, remove)).reason
    file.write_bytes(data)
    assert "no copy in s3://other on record" in (await failed(bench, remove | {"to": "s3://other"})).reason
    end.write("a.root", b"spoilt")
    assert "has other bytes than are on record" in (await failed(bench, remove)).reason
    assert file.read_bytes() == data

    end.write("a.root", data)
    entry = await bench.done(remove)
    assert entry["output"]["files"][0]["removed"] == file.as_uri()
    assert not file.exists()
    assert end.read("a.root") == data
    bench.document = before
    assert (await bench.done(remove)) == entry, "done again, as after a lost result, it is the same"


async def test_a_full_disk_is_no_items_fault_and_what_was_copied_stays(
    bench: Bench, full: Path, tmp_path: Path
) -> None:
    file = made(tmp_path, "big.root", BIG)
    seen = await FolderPlace(file.parent).look(file.name)
    assert seen is not None
    bench.record([file])
    outcome = await bench.do({"to": full.as_uri()})
    assert isinstance(outcome, Unavailable)
    assert f"There is no space left in {full}." in outcome.reason
    assert [path.name for path in full.iterdir()] == [part_name("big.root", seen)]


async def test_a_full_disk_behind_a_server_is_told(
    bench: Bench, full: Path, openssh: SftpServer, tmp_path: Path
) -> None:
    bench.record([made(tmp_path, "big.root", BIG)])
    outcome = await bench.do({"to": openssh.url(full), **openssh.login})
    assert isinstance(outcome, Unavailable)
    assert "There is no space left in sftp://" in outcome.reason


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB, where one can be mounted."""
    import subprocess

    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", small], capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    yield small
    subprocess.run(["umount", small], check=True)
