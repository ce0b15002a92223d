"""Packages built from a folder into a folder: their bytes, and what is left when something goes wrong."""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.packing import built, check, file_entry, folder_plan, output, plan

from tidemill.domain.package_plan import FileEntry, StorePlace, TextEntry
from tidemill.errors import Conflict, InvalidInput, StorageError
from tidemill.executors.contract import Progress
from tidemill.publishing import build as building
from tidemill.publishing import package_folder
from tidemill.publishing.build import build
from tidemill.publishing.package_reading import PIECE

BIG = 2 * PIECE + 12345


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for key, data in contents().items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(data)
    return folder


@pytest.fixture
def there(tmp_path: Path) -> Path:
    return tmp_path / "packages"


def contents() -> dict[str, bytes]:
    return {
        "S1/big.h5": bytes(range(256)) * (BIG // 256 + 1),
        "S1/exact.h5": b"x" * PIECE,
        "S1/empty": b"",
        "S2/a name, with ümläuts & 'quotes'.txt": b"hello\n",
        "S2/日本.txt": b"konnichiwa",
        **{f"S3/{n:03}": str(n).encode() * n for n in range(120)},
    }


def _left(there: Path) -> list[Path]:
    return [path for path in there.rglob("*") if path.is_file()]


async def test_what_goes_in_comes_out(here: Path, there: Path, tmp_path: Path) -> None:
    reports: list[Progress] = []
    readme = TextEntry("README.md", "# Grüße\n")
    wanted = folder_plan(here, there, readme)
    made = await built(wanted, reports)
    packed = there / made.key
    assert packed.name == "P1_ALL.zip"
    assert packed.parent.name == wanted.fingerprint[:16]
    check(packed.read_bytes(), made, contents() | {"README.md": readme.text.encode()}, tmp_path / "out")
    assert output(made)["file"] == {
        "store": there.as_uri(),
        "key": made.key,
        "size": packed.stat().st_size,
        "sha256": made.sha256,
        "etag": made.etag,
    }
    assert output(made)["files"] == wanted.files == len(contents()) + 1
    fractions = [one.fraction or 0 for one in reports]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert reports[-1].message.endswith("of 12.62 MB")
    assert _left(there) == [packed]


async def test_the_same_input_gives_the_same_bytes(here: Path, there: Path, tmp_path: Path) -> None:
    first = await built(folder_plan(here, there))
    again = await built(folder_plan(here, tmp_path / "elsewhere"))
    assert (first.sha256, first.key) == (again.sha256, again.key)
    assert (there / first.key).read_bytes() == (tmp_path / "elsewhere" / again.key).read_bytes()


@pytest.mark.parametrize("past_cache", [True, False])
async def test_memory_is_used_again_only_when_nobody_reads_it(
    tmp_path: Path, there: Path, monkeypatch: pytest.MonkeyPatch, past_cache: bool
) -> None:
    """More pieces than are ever on their way at once, none like another, whole and mixed ones in turns."""
    if not past_cache:
        monkeypatch.setattr(package_folder, "_PAST_CACHE", 0)
        monkeypatch.setattr(package_folder, "SYNC_EVERY", PIECE)
    here, dice = tmp_path / "many", random.Random(7)
    here.mkdir()
    sizes = [9 * PIECE + 77, 300_000, 3_000_001, 12, 6 * PIECE, PIECE, 5 * PIECE - 1]
    made = {f"{n}.bin": dice.randbytes(size) for n, size in enumerate(sizes)}
    for name, data in made.items():
        (here / name).write_bytes(data)
    package = await built(folder_plan(here, there))
    check((there / package.key).read_bytes(), package, made, tmp_path / "out")


async def test_two_builds_at_once_do_no_harm(here: Path, there: Path, tmp_path: Path) -> None:
    wanted = folder_plan(here, there)
    made = await asyncio.gather(*(built(wanted) for _ in range(3)))
    assert len({one.sha256 for one in made}) == 1
    check((there / made[0].key).read_bytes(), made[0], contents(), tmp_path / "out")
    assert _left(there) == [there / made[0].key]


async def test_a_file_that_changed_is_not_packed(here: Path, there: Path) -> None:
    wanted = folder_plan(here, there)
    path = here / "S3" / "007"
    path.write_bytes(b"8" * path.stat().st_size)
    os.utime(path, ns=(1, 1))
    with pytest.raises(Conflict, match=r"data: S3/007 changed while it was packed: sync again\."):
        await built(wanted)
    path.unlink()
    with pytest.raises(Conflict, match=r"S3/007 is not there any more: sync again"):
        await built(wanted)
    assert _left(there) == []
    assert not list(there.iterdir())


async def test_a_file_that_changes_while_it_is_packed(here: Path, there: Path) -> None:
    """The first report comes when a piece of the large file is packed and others of it are still to be read."""
    big = here / "S1" / "big.h5"
    with big.open("wb") as file:
        file.truncate(20 * PIECE)
    wanted = folder_plan(here, there)

    def touch(_: Progress) -> None:
        with big.open("r+b") as file:
            file.write(b"other")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "TELL_EVERY", 0)
        with pytest.raises(Conflict, match=r"S1/big\.h5 changed while it was packed"):
            await build(wanted.document, touch)
    assert _left(there) == []


@pytest.mark.parametrize("limit", [PIECE, PIECE + 4097])
async def test_a_full_disk_is_told_and_leaves_nothing(here: Path, there: Path, limit: int) -> None:
    """The limit of this process stands for a quota: the first write past it fails as on a full disk."""
    wanted = folder_plan(here, there)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(StorageError, match=r"There is no space left in .*packages: the package needs 12\.\d+ MB"):
            await built(wanted)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert list(there.iterdir()) == []


async def test_a_disk_that_is_too_small_is_not_begun_with(here: Path, there: Path) -> None:
    big = here / "vast"
    with big.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(StorageError, match=r"There is no space left in .*: 1\.1 TB are needed, .* are free"):
        await built(folder_plan(here, there))
    assert list(there.iterdir()) == []


async def test_cancelling_stops_it_soon_and_leaves_nothing(here: Path, there: Path) -> None:
    begun = asyncio.Event()
    with (here / "vast").open("wb") as file:
        file.truncate(2 << 30)
    work = asyncio.ensure_future(build(folder_plan(here, there).document, lambda _: begun.set()))
    await begun.wait()
    work.cancel()
    async with asyncio.timeout(60):
        with pytest.raises(asyncio.CancelledError):
            await work
    assert list(there.iterdir()) == []


async def test_what_a_killed_build_left_goes_with_the_next(here: Path, there: Path) -> None:
    wanted = folder_plan(here, there)
    (there.parent / "plan.json").write_bytes(wanted.document)
    program = (
        "import asyncio, os, sys\n"
        "from tidemill.publishing import build\n"
        "build.TELL_EVERY = 0\n"
        f"plan = open({str(there.parent / 'plan.json')!r}, 'rb').read()\n"
        "asyncio.run(build.build(plan, lambda progress: progress.fraction > 0.3 and os.kill(os.getpid(), 9)))\n"
    )
    killed = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program])
    assert killed.returncode == -9
    assert [path.suffix for path in _left(there)] == [".part"]
    made = await built(wanted)
    assert _left(there) == [there / made.key]


async def test_the_part_of_a_living_build_stays(here: Path, there: Path) -> None:
    wanted = folder_plan(here, there)
    part = there / wanted.fingerprint[:16] / ".somebody.part"
    part.parent.mkdir(parents=True)
    with part.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        await built(wanted)
        assert part.exists()


@pytest.mark.parametrize("into", ["../S1", "/etc/passwd", "a\nb", "S1//x", "C:/x", "a\\b", "MANIFEST.SHA256"])
async def test_a_plan_with_impossible_names_is_refused(here: Path, there: Path, into: str) -> None:
    entry = file_entry(here, "S1/empty", into)
    with pytest.raises(InvalidInput, match=r"S1/empty"):
        await built(plan({"data": StorePlace(here.as_uri())}, StorePlace(there.as_uri()), [entry]))
    assert not there.exists()


async def test_a_key_cannot_lead_out_of_its_source(here: Path, there: Path) -> None:
    (here.parent / "secret").write_text("s")
    entry = FileEntry("x", "data", "../secret", 1, "")
    with pytest.raises(InvalidInput, match=r"\.\./secret leads out of its source"):
        await built(plan({"data": StorePlace(here.as_uri())}, StorePlace(there.as_uri()), [entry]))


async def test_a_folder_that_is_away_can_be_tried_again(here: Path, there: Path) -> None:
    wanted = folder_plan(here, there)
    here.rename(here.with_name("away"))
    with pytest.raises(StorageError, match=r"The folder .*data of the source data is not there"):
        await built(wanted)
