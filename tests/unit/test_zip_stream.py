"""The zip writer beyond what an old zip can hold, read back by Python's own."""

from __future__ import annotations

import random
import zipfile
import zlib
from pathlib import Path

from zlib_ng import zlib_ng

from tidemill.publishing.zip_stream import ZipLayout, zip_size

HUGE = (4 << 30) + 5


def test_the_quick_crc_is_the_usual_one() -> None:
    """zlib-ng chooses among ways of its own by what the processor has, by length and by alignment."""
    data = random.Random(3).randbytes(70_000)
    for length in (*range(130), 1000, 4095, 4096, 65_537):
        for start in range(0, 67, 3):
            part = memoryview(data)[start : start + length]
            assert zlib_ng.crc32(part, length) == zlib.crc32(part, length)


def test_more_members_than_an_old_zip_can_have(tmp_path: Path) -> None:
    names = [f"{n:05}" for n in range(70_000)]
    layout = ZipLayout()
    with (tmp_path / "many.zip").open("wb") as file:
        for name in names:
            file.write(
                layout.header(name, 5, zlib.crc32(name.encode()))
                + name.encode()
                + layout.footer(zlib.crc32(name.encode()))
            )
        file.write(layout.directory())
        assert file.tell() == layout.offset == zip_size([(name, 5) for name in names])
    with zipfile.ZipFile(tmp_path / "many.zip") as archive:
        assert archive.namelist() == names
        assert archive.read("65536") == b"65536"


def test_a_member_of_more_than_four_gigabytes_and_one_behind_it(tmp_path: Path) -> None:
    """The bytes of the first are a hole in the file."""
    layout = ZipLayout()
    with (tmp_path / "huge.zip").open("wb") as file:
        file.write(layout.header("huge ü", HUGE, 0))
        file.seek(HUGE, 1)
        file.write(layout.footer(7))
        file.write(layout.header("small", 5, zlib.crc32(b"after")) + b"after" + layout.footer(zlib.crc32(b"after")))
        file.write(layout.directory())
        assert file.tell() == layout.offset == zip_size([("huge ü", HUGE), ("small", 5)])
    with zipfile.ZipFile(tmp_path / "huge.zip") as archive:
        huge, small = archive.infolist()
        assert (huge.filename, huge.file_size, huge.CRC) == ("huge ü", HUGE, 7)
        assert small.header_offset > HUGE
        assert archive.read("small") == b"after"
        with archive.open("huge ü") as member:
            assert member.read(3) == b"\0\0\0"
