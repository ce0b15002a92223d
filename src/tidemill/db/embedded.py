"""The database of a site that names none: one PostgreSQL in the site's folder, shared by its processes."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

from tidemill.db.embedded_binaries import binaries_for
from tidemill.db.embedded_folder import give_to_owner, log_tail, open_lock, server_account, try_lock
from tidemill.errors import EmbeddedServerError

LOOK_SECONDS = 0.02
START_LIMIT_SECONDS = 300.0
WATCH_SECONDS = 0.5
ROOT = str(Path(__file__).parents[2])
SUPERVISE = (  # without site-packages: it starts sooner, and whatever is installed cannot break it
    "import sys; sys.path.insert(0, sys.argv[1]); from tidemill.db.embedded_supervisor import main; "
    "sys.exit(main(*sys.argv[2:]))"
)


class EmbeddedServer:
    """One PostgreSQL server of a site, shared by every process of that site.

    No process owns it. A small supervisor of its own (`tidemill.db.embedded_supervisor`) keeps it: restarts it
    when it dies, and stops it in order when the last process of the site has let go or died. If the supervisor
    is killed, the kernel has the server stop in order too, and the next `ensure` of any process starts both.
    """

    def __init__(self, folder: Path, *, durable: bool = True, cache: Path | None = None) -> None:
        """`folder` is <site>/database; `durable=False` gives up safety for speed and is for tests only.

        `cache` is where programs are copied to if the server's user cannot reach those installed (root only).
        """
        self.folder = folder.absolute()
        self._durable = durable
        self._cache = cache
        self._users: int | None = None

    async def start(self) -> str:
        """Start the server or join it, and return its address; to call it again does no harm.

        The address is `postgresql://app:PASSWORD@127.0.0.1:PORT/tidemill`, as libpq and psycopg read it.
        Raises EmbeddedServerError, with the end of the server's log, if it cannot be had.
        """
        try:
            if self._users is None:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._users = await self._join()
            return await self.ensure()
        except OSError as error:
            self._let_go()
            raise EmbeddedServerError(f"The embedded database in {self.folder} cannot be used: {error}") from error
        except BaseException:
            self._let_go()
            raise

    async def url(self) -> str:
        """The present address; the port only changes if another program took it while the server was down."""
        state = self._state()
        return self._address(state["port"]) if state.get("state") == "ready" else await self.ensure()

    async def ensure(self) -> str:
        """The address of a server that answers; to be called after a lost connection.

        Waits while the server is being restarted, and starts a supervisor if there is none, which any number
        of processes may do at once. Raises EmbeddedServerError.
        """
        if self._users is None:
            raise EmbeddedServerError("The embedded server is not in use by this process.", hint="Call start() first.")
        try:
            async with asyncio.timeout(START_LIMIT_SECONDS):
                return await self._until_it_answers()
        except TimeoutError:
            raise self._failure(f"PostgreSQL was not ready within {START_LIMIT_SECONDS:.0f} s.") from None

    async def stop(self) -> None:
        """Let go of the server; if no other process of the site uses it, stop it and wait until it has ended."""
        if self._users is None:
            return
        if try_lock(self._users, fcntl.LOCK_EX):  # the last one; nobody joins until this lock is released
            with suppress(ProcessLookupError, PermissionError):  # not ours to signal: it will see for itself
                while self._supervised():
                    if self._state().get("state") in ("starting", "ready"):
                        os.kill(int(self._state()["pid"]), signal.SIGTERM)
                    await asyncio.sleep(LOOK_SECONDS)
        self._let_go()

    async def watch(self) -> None:
        """Until cancelled, bring the server back when its supervisor is gone, not only at the next use."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self._users is not None and not self._supervised():
                await self.ensure()

    async def _join(self) -> int:
        """Count among the users; waits while the server is being stopped because it had none."""
        users = open_lock(self.folder, "users.lock")
        try:
            while not try_lock(users, fcntl.LOCK_SH):  # noqa: ASYNC110 - other processes set no Event
                await asyncio.sleep(LOOK_SECONDS)
        except BaseException:
            os.close(users)
            raise
        return users

    def _let_go(self) -> None:
        if self._users is not None:
            os.close(self._users)
            self._users = None

    async def _until_it_answers(self) -> str:
        before, launched = self._state().get("supervisor"), 0
        while True:
            state = self._state()
            if not self._supervised():
                state = self._state()  # of after its end
                if state.get("state") == "failed" and state["supervisor"] != before:
                    raise EmbeddedServerError(state["error"], hint=f"Its whole log is {self.folder / 'server.log'}.")
                if launched == 3:
                    raise self._failure("The supervisor of PostgreSQL ended without a word.")
                await self._launch_supervisor()
                launched += 1
            elif state.get("state") == "ready" and await _answers(address := self._address(state["port"])):
                return address
            await asyncio.sleep(LOOK_SECONDS)

    async def _launch_supervisor(self) -> None:
        """Start a supervisor; when this returns it, or that of another process, holds its lock."""
        binaries = await asyncio.to_thread(binaries_for, server_account(self.folder), self._cache)
        mode = "durable" if self._durable else "fast"
        with (self.folder / "server.log").open("ab") as log:
            give_to_owner(self.folder, log.fileno())
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", "-c", SUPERVISE, ROOT, str(self.folder), str(binaries), mode,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True,
            )  # fmt: skip
            await process.wait()

    def _supervised(self) -> bool:
        lock = open_lock(self.folder, "supervisor.lock")
        try:
            return not try_lock(lock, fcntl.LOCK_SH)
        finally:
            os.close(lock)

    def _state(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads((self.folder / "server.json").read_text())
        except FileNotFoundError:
            return {}
        return state

    def _address(self, port: int) -> str:
        try:
            password = (self.folder / "password").read_text().strip()
        except FileNotFoundError:
            raise self._failure(f"The file {self.folder / 'password'} is missing; put it back.") from None
        return f"postgresql://app:{password}@127.0.0.1:{port}/tidemill"

    def _failure(self, what: str) -> EmbeddedServerError:
        return EmbeddedServerError(f"{what} The end of its log:\n{log_tail(self.folder / 'server.log')}")


async def _answers(address: str) -> bool:
    """Whether a connection can be made; a refusal that will not pass is an EmbeddedServerError."""
    try:
        connection = await psycopg.AsyncConnection.connect(address, connect_timeout=5)
    except psycopg.OperationalError as error:
        if "authentication failed" in str(error) or "does not exist" in str(error):
            raise EmbeddedServerError(f"The embedded server refuses its own password or database: {error}") from error
        return False
    await connection.close()
    return True
