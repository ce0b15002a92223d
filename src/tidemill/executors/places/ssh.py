"""Connections to SSH servers: one for each server and way to log in, kept open for all transfers of a worker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote

import asyncssh

from tidemill.executors.places.contract import Unusable

logging.getLogger("asyncssh").setLevel(logging.WARNING)

CONNECT_SECONDS, LOGIN_SECONDS = 15, 30
KEEPALIVE_SECONDS = 15
"""A server that does not answer three such questions is gone, whatever TCP believes."""


@dataclass(frozen=True, slots=True)
class Login:
    """Where and how to log in. `key_file`, `known_hosts`: paths; empty: the agent and files in ~/.ssh, as for `ssh`.

    `host_key`: the server's public key (`ssh-ed25519 AAAA…`), where known_hosts does not have it.
    """

    host: str
    port: int | None = None
    user: str = ""
    key_file: str = ""
    known_hosts: str = ""
    host_key: str = ""

    @classmethod
    def of(cls, parts: SplitResult, config: Mapping[str, Any]) -> Login:
        """From an sftp:// URL and an app's options."""
        said = {name: str(config.get(name) or "") for name in ("key_file", "known_hosts", "host_key")}
        return cls(parts.hostname or "", parts.port, unquote(parts.username or ""), **said)

    def __str__(self) -> str:
        who = f"{self.user}@" if self.user else ""
        return f"{who}{self.host}" + (f":{self.port}" if self.port else "")

    def arguments(self) -> dict[str, Any]:
        """As asyncssh wants them."""
        given: dict[str, Any] = {}
        if self.port:
            given["port"] = self.port
        if self.user:
            given["username"] = self.user
        if self.key_file:
            given["client_keys"] = [str(Path(self.key_file).expanduser())]
        if self.host_key:
            given["known_hosts"] = ([asyncssh.import_public_key(self.host_key)], [], [])
        elif self.known_hosts:
            given["known_hosts"] = str(Path(self.known_hosts).expanduser())
        return given


@dataclass(slots=True)
class Server:
    """One server: logs in when it is needed, and again after the connection was lost."""

    login: Login
    _connection: asyncssh.SSHClientConnection | None = None
    _client: asyncssh.SFTPClient | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def client(self) -> asyncssh.SFTPClient:
        """An open SFTP session. Raises Unusable, saying why there is none."""
        async with self._turn:
            if self._client is None or self._connection is None or self._connection.is_closed():
                await self._close()
                self._client = await self._connect()
            return self._client

    async def _connect(self) -> asyncssh.SFTPClient:
        try:
            self._connection = await asyncssh.connect(
                self.login.host,
                connect_timeout=CONNECT_SECONDS,
                login_timeout=LOGIN_SECONDS,
                keepalive_interval=KEEPALIVE_SECONDS,
                **self.login.arguments(),
            )
            return await self._connection.start_sftp_client()
        except asyncssh.HostKeyNotVerifiable as error:
            raise Unusable(
                f"{self.login} shows a host key that is not known here; add it to known_hosts, or give host_key."
            ) from error
        except asyncssh.PermissionDenied as error:
            raise Unusable(f"{self.login} does not let us log in: {error.reason}.") from error
        except (asyncssh.Error, OSError, TimeoutError, asyncssh.KeyImportError) as error:
            raise Unusable(f"{self.login} cannot be reached: {words(error)}.") from error

    async def close(self) -> None:
        """Log out."""
        async with self._turn:
            await self._close()

    async def _close(self) -> None:
        connection, self._connection, self._client = self._connection, None, None
        if connection is not None:
            connection.abort()
            await connection.wait_closed()


def words(error: BaseException) -> str:
    """What went wrong in few words."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(
        error,
        ConnectionResetError
        | BrokenPipeError
        | asyncssh.ConnectionLost
        | asyncssh.SFTPConnectionLost
        | asyncssh.SFTPNoConnection,
    ):
        return "the connection was lost"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(getattr(error, "reason", "") or error or type(error).__name__).rstrip(".")
