"""Stored members as a zip whose every byte, but for the members' own and their CRCs, is known before one is read.

zipstream-ng, which packs documents elsewhere, takes the time of members from the clock and reads while it is asked to
write; here the same input must give the same bytes, and reading, hashing and writing go on side by side.

PKWARE's APPNOTE 6.3.10: stored, times fixed at 1980-01-01, zip64 where needed, UTF-8 names. A member whose CRC is known
before it is written has it in its header; behind a larger one stands a data descriptor.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

DESCRIBED_FROM = 4 * 1024 * 1024
"""Members of more bytes than this have a data descriptor: they are not held until their CRC is known."""

_DATE = (0 << 9) | (1 << 5) | 1
_LIMIT = 0xFFFFFFFF
_MOST = 0xFFFF
_UNIX = 3 << 8
_MODE = 0o100644 << 16
_UTF8, _DESCRIBED = 0x800, 0x08
_OLD, _ZIP64 = 20, 45


@dataclass(frozen=True, slots=True)
class _Member:
    name: bytes
    flags: int
    crc: int
    size: int
    offset: int


class ZipLayout:
    """What stands between the members. Call `header`, write the member, call `footer`; in the end `directory`."""

    def __init__(self) -> None:
        self.offset = 0
        """Bytes up to now, those of members included."""
        self._members: list[_Member] = []

    def header(self, name: str, size: int, crc: int) -> bytes:
        """What stands before a member; `crc` counts only where the member is not described (see `described`)."""
        raw = name.encode()
        flags = (0 if name.isascii() else _UTF8) | (_DESCRIBED if described(size) else 0)
        self._members.append(_Member(raw, flags, crc, size, self.offset))
        large, told = size >= _LIMIT, (0, 0) if described(size) else (crc, size)
        sizes = _LIMIT if large else told[1]
        extra = struct.pack("<HHQQ", 1, 16, told[1], told[1]) if large else b""
        made = struct.pack(
            "<IHHHHHIIIHH",
            0x04034B50,
            _ZIP64 if large else _OLD,
            flags,
            0,
            0,
            _DATE,
            told[0],
            sizes,
            sizes,
            len(raw),
            len(extra),
        )
        self.offset += len(made) + len(raw) + len(extra) + size
        return made + raw + extra

    def footer(self, crc: int) -> bytes:
        """What stands behind the member that was begun last; often nothing."""
        last = self._members[-1]
        self._members[-1] = _Member(last.name, last.flags, crc, last.size, last.offset)
        if not described(last.size):
            return b""
        made = struct.pack("<IIQQ" if last.size >= _LIMIT else "<IIII", 0x08074B50, crc, last.size, last.size)
        self.offset += len(made)
        return made

    def directory(self) -> bytes:
        """What stands at the end."""
        start = self.offset
        made = b"".join(_central(member) for member in self._members)
        count, size = len(self._members), len(made)
        if count >= _MOST or size >= _LIMIT or start >= _LIMIT:
            made += struct.pack(
                "<IQHHIIQQQQ", 0x06064B50, 44, _UNIX | _ZIP64, _ZIP64, 0, 0, count, count, size, start
            ) + struct.pack("<IIQI", 0x07064B50, 0, start + size, 1)
        made += struct.pack(
            "<IHHHHIIH",
            0x06054B50,
            0,
            0,
            min(count, _MOST),
            min(count, _MOST),
            min(size, _LIMIT),
            min(start, _LIMIT),
            0,
        )
        self.offset += len(made)
        return made


def described(size: int) -> bool:
    """Whether a member of so many bytes has its CRC behind it."""
    return size > DESCRIBED_FROM


def zip_size(members: Iterable[tuple[str, int]]) -> int:
    """The bytes of the whole zip, from its members' names and sizes."""
    layout = ZipLayout()
    for name, size in members:
        layout.header(name, size, 0)
        layout.footer(0)
    layout.directory()
    return layout.offset


def _central(member: _Member) -> bytes:
    large, far = member.size >= _LIMIT, member.offset >= _LIMIT
    fields = [member.size, member.size] * large + [member.offset] * far
    extra = struct.pack(f"<HH{len(fields)}Q", 1, 8 * len(fields), *fields) if fields else b""
    needed = _ZIP64 if fields else _OLD
    return (
        struct.pack(
            "<IHHHHHHIIIHHHHHII",
            0x02014B50,
            _UNIX | needed,
            needed,
            member.flags,
            0,
            0,
            _DATE,
            member.crc,
            min(member.size, _LIMIT),
            min(member.size, _LIMIT),
            len(member.name),
            len(extra),
            0,
            0,
            0,
            _MODE,
            min(member.offset, _LIMIT),
        )
        + member.name
        + extra
    )
