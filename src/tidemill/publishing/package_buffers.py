"""The memory that a package's bytes pass through, used again and again.

Memory that was never touched before costs nearly as much to fill as its bytes cost to hash.
"""

from __future__ import annotations

import mmap
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Chunk:
    """Some bytes on their way. Their memory is used for others once the last who holds them has let go."""

    __slots__ = ("_holders", "_memory", "_pool", "data", "size")

    def __init__(self, data: Buffer, size: int, pool: Buffers | None = None, memory: mmap.mmap | None = None) -> None:
        self.data, self.size = data, size
        self._pool, self._memory = pool, memory
        self._holders = 1

    @property
    def is_pooled(self) -> bool:
        """Whether its memory is of a pool, and begins with a page."""
        return self._memory is not None

    def hold(self) -> None:
        """One holder more, who lets go some time. Whoever made the chunk holds it from the beginning."""
        self._holders += 1

    def let_go(self) -> None:
        """One holder less, who does not look at the bytes again. Where this is forgotten, nothing is used again."""
        self._holders -= 1
        if not self._holders and self._pool is not None and self._memory is not None:
            self._pool.give_back(self._memory)


class Buffers:
    """Pieces of memory of `size` bytes. Only for one thread, the event loop's."""

    def __init__(self, size: int, *, reuse: bool) -> None:
        """Without `reuse` each is fresh: for those who go on reading what they were given and never say until when."""
        self.size = size
        self._reuse = reuse
        self._free: list[mmap.mmap] = []

    def chunk(self, size: int) -> Chunk:
        """Room for so many bytes, at most `self.size`, to be written to."""
        memory = self._free.pop() if self._free else _memory(self.size)
        return Chunk(memoryview(memory)[:size], size, self, memory)

    def is_whole(self, chunk: Chunk) -> bool:
        """Whether it can be written as it is: a full one, and not in others' memory, which lies anywhere, on its way to
        a disk."""
        return chunk.size == self.size and (chunk.is_pooled or not self._reuse)

    def give_back(self, memory: mmap.mmap) -> None:
        """Nobody reads it any more. The one that was used last is used next: it may still be in a cache."""
        if self._reuse:
            self._free.append(memory)


def _memory(size: int) -> mmap.mmap:
    """Whole pages, large ones where there are any: the disk takes bytes from such memory without copying them."""
    memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel that was built without
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory
