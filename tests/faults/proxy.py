"""A TCP proxy before PostgreSQL that loses a commit's answer, or the connection on which a statement is under way."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

COMMITTED = b"C\x00\x00\x00\x0bCOMMIT\x00"
"""CommandComplete of a COMMIT, as the server sends it (PostgreSQL protocol 3.0): the commit has happened."""
GOODBYE = b"X\x00\x00\x00\x04"
"""Terminate, the last that a client says before it closes its connection."""


@dataclass
class Proxy:
    """Forwards until told to cut. `url` leads through it."""

    target: str
    url: str = ""
    lose_answer: Callable[[bytes], bool] = lambda _: False
    """Asked with what the server said; True: the client never gets it, and both sides are cut."""
    cut_after: Callable[[bytes], bool] = lambda _: False
    """Asked with what the client said; True: it is passed on, then the client is cut and the server is not told."""
    hides_goodbyes: bool = False
    """Whether the server is not told when a client closes its connection, as one that is slow to notice."""
    down: bool = False
    """Whether it takes no connections at all."""
    cuts: int = 0
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.down:
            writer.transport.abort()
            return
        parts = urlsplit(self.target)
        server_reader, server = await asyncio.open_connection(parts.hostname, parts.port)
        both = (writer, server)
        self._open |= set(both)
        up = asyncio.create_task(self._pump(reader, server, both, self.cut_after_said))
        down = asyncio.create_task(self._pump(server_reader, writer, both, self.lose_said))
        await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
        if not any(one.done() and one.result() == "held" for one in (up, down)):
            for one in both:
                one.close()
            self._open -= set(both)
        for one in (up, down):
            one.cancel()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        both: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
        act: Callable[[bytes], str],
    ) -> str:
        with suppress(ConnectionError):
            while chunk := await reader.read(65536):
                what = act(chunk)
                if what == "lose":
                    for one in both:
                        one.transport.abort()
                    return what
                if what == "hide":
                    return "held"
                writer.write(chunk)
                await writer.drain()
                if what == "held":  # the server's side stays open, as when a cable is cut
                    both[0].transport.abort()
                    return what
        return "over"

    def lose_said(self, chunk: bytes) -> str:
        if self.lose_answer(chunk):
            self.cuts += 1
            return "lose"
        return ""

    def cut_after_said(self, chunk: bytes) -> str:
        if self.hides_goodbyes and chunk.endswith(GOODBYE):
            return "hide"
        if self.cut_after(chunk):
            self.cuts += 1
            return "held"
        return ""

    def cut(self) -> None:
        """Take no connections from here on, and cut those that there are."""
        self.down = True
        self.close()

    def close(self) -> None:
        for writer in self._open:
            writer.transport.abort()


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[Proxy]:
    """A proxy on a free port of this machine, before the server at `url`."""
    proxy = Proxy(url)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    proxy.url = re.sub(r":\d+/", f":{port}/", url, count=1)
    try:
        yield proxy
    finally:
        server.close()
        proxy.close()
