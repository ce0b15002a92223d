"""Following a site's change feed from a program: for ever, across cuts, without a gap and without going back."""

from __future__ import annotations

import queue
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from tidemill.errors import NotFound, SiteUnavailable, TidemillError
from tidemill.sdk.connection import Connection, Params, error_of, line_of

Change = dict[str, Any]

HEARTBEAT = 10.0
SILENCE = 3 * HEARTBEAT
"""Seconds without a sign of life after which a connection is given up."""

PAUSES = (0.1, 10.0)
"""Seconds before the first attempt to connect again; doubled up to the second."""

READ_AHEAD = 1000
"""Changes that may wait for the loop."""

SAVE_AFTER, SAVE_EVERY = 200, 1.0
"""Changes, or seconds, after which a busy loop's position is handed in; a loop that waits hands it in at once."""

SAVE_PATIENCE = 3.0
"""Seconds that handing it in may take, and that go by before it is tried again."""


class Changes(Iterator[Change]):
    """The changes of a site as they come: `for change in client.changes(cursor="mine")`.

    With a `cursor` the site keeps the position. A change counts as dealt with when the next one is asked for, so a
    program that dies gets the change that it was at once more, and none that it had finished. Cuts and restarts of the
    site are waited out. Raises in the loop what cannot be: AccessRefused, InvalidInput, ChangesGone.
    """

    def __init__(self, connection: Connection, params: Params, *, cursor: str | None, since: str) -> None:
        self._connection = connection
        self._cursor = f"/cursors/{quote(cursor, safe='')}" if cursor is not None else None
        self._reader = _Reader(connection, params, self._cursor, since)
        self._given: str | None = None
        self._unsaved = 0
        self._saved_at = self._failed_at = float("-inf")
        self.last_seq: str | None = None
        """Everything up to here has been dealt with. None: nothing yet."""
        # The thread knows the reader alone: a loop that is left without a word can be forgotten, and then it ends.
        threading.Thread(target=self._reader.run, name="tidemill changes", daemon=True).start()

    def __next__(self) -> Change:
        if self._given is not None:
            self._moved(self._given)
            self._given = None
        while not self._reader.stopped:
            if self._reader.idle or self._unsaved >= SAVE_AFTER or time.monotonic() > self._saved_at + SAVE_EVERY:
                self._save()
            arrived = self._reader.take()
            if isinstance(arrived, TidemillError):
                self.stop()
                raise arrived
            if arrived is not None and "seq" in arrived:
                self._given = arrived["seq"]
                return arrived
            if arrived is not None:
                self._moved(arrived["last_seq"])
        self._save()
        raise StopIteration

    def stop(self) -> None:
        """End the loop at once, from another thread, a signal's handler, or the loop itself.

        The change that the loop is at counts as dealt with only if the next one is asked for.
        """
        self._reader.stop()

    def __enter__(self) -> Changes:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __del__(self) -> None:
        self.stop()

    def _moved(self, seq: str) -> None:
        if seq != self.last_seq:
            self.last_seq = seq
            self._unsaved += 1

    def _save(self) -> None:
        """Hand the position in, where there is a cursor. What does not get through now does later."""
        if self._cursor is None or not self._unsaved or time.monotonic() < self._failed_at + SAVE_PATIENCE:
            return
        try:
            self._connection.call("PUT", self._cursor, body={"seq": self.last_seq}, wait=SAVE_PATIENCE)
        except SiteUnavailable:
            self._failed_at = time.monotonic()
            return
        self._saved_at, self._unsaved = time.monotonic(), 0


class _Reader:
    """Reads the feed in a thread of its own, and connects again for as long as it takes."""

    def __init__(self, connection: Connection, params: Params, cursor: str | None, since: str) -> None:
        self._connection, self._params = connection, params
        self._cursor, self._begin = cursor, since
        self._arrived: queue.SimpleQueue[Change | TidemillError | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(READ_AHEAD)
        self._wake = threading.Event()
        self._open: Any = None
        self.stopped = False

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be taken."""
        return self._arrived.empty()

    def take(self) -> Change | TidemillError | None:
        """What has arrived next; waits for it. None: it has been stopped."""
        arrived = self._arrived.get()
        if isinstance(arrived, dict):
            self._room.release()
        return arrived

    def stop(self) -> None:
        """End it at once. May be called in a signal's handler: it takes no lock that the loop may hold."""
        if self.stopped:
            return
        self.stopped = True
        self._wake.set()
        self._arrived.put(None)
        with suppress(Exception):  # wakes the thread from waiting for bytes, where it does
            self._open.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        """Read until stopped, or until something is wrong that waiting does not mend."""
        since: str | None = None
        pause = PAUSES[0]
        while not self.stopped:
            try:
                since = since or self._first()
                for said in self._lines(since):
                    since, pause = said.get("seq") or said["last_seq"], PAUSES[0]
                    self._hand_over(said)
            except SiteUnavailable:
                self._wake.wait(pause * random.uniform(0.5, 1))
                pause = min(2 * pause, PAUSES[1])
            except TidemillError as error:
                self._arrived.put(error)
                return
            except Exception as error:  # noqa: BLE001 - the loop raises it: a thread has nobody to tell
                self._arrived.put(None if self.stopped else TidemillError(f"The feed cannot be read: {error!r}"))
                return

    def _first(self) -> str:
        if self._cursor is not None:
            with suppress(NotFound):
                return str(self._connection.call("GET", self._cursor)["seq"])
        return self._begin

    def _lines(self, since: str) -> Iterator[Change]:
        more = [("since", since), ("feed", "continuous"), ("heartbeat", str(int(1000 * HEARTBEAT)))]
        with self._connection.stream("/changes", [*self._params, *more], SILENCE) as answer:
            self._open = answer.extensions.get("network_stream")
            try:
                for line in answer.iter_lines():
                    if self.stopped:
                        return
                    if line:
                        said = line_of(line)
                        if error := error_of(said):
                            raise error
                        yield said
            finally:
                self._open = None
        raise SiteUnavailable("The stream has ended: the site is being restarted.")

    def _hand_over(self, said: Change) -> None:
        while not self._room.acquire(timeout=0.2):
            if self.stopped:
                return
        self._arrived.put(said)
