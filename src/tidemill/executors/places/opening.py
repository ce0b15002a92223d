"""From URLs to places. Servers are logged in to once for all transfers of a worker."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from tidemill.errors import InvalidInput
from tidemill.executors.places.contract import Place
from tidemill.executors.places.folder import FolderPlace

if TYPE_CHECKING:
    from tidemill.executors.places.ssh import Login, Server

STORES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss")


class Places:
    """Opens places, and closes what they kept open."""

    def __init__(self) -> None:
        self._servers: dict[Login, Server] = {}

    def open(self, url: str, config: Mapping[str, Any]) -> Place:
        """The place at a URL; `config`: what an app says of its ends. Raises Unusable, and InvalidInput for no URL."""
        if fault := url_fault(url):
            raise InvalidInput(fault)
        parts = urlsplit(url)
        if parts.scheme in ("", "file"):
            return FolderPlace(Path(unquote(parts.path) if parts.scheme else url))
        if parts.scheme == "sftp":
            from tidemill.executors.places.sftp import SftpPlace

            return SftpPlace(url, self._server(url, config))
        from tidemill.executors.places.objects import ObjectPlace

        return ObjectPlace(url, config)

    def holding(self, url: str, config: Mapping[str, Any]) -> tuple[Place, str]:
        """The place that a file lies in, and its key there. Raises as `open`."""
        base, _, name = url.rpartition("/")
        return self.open(base, config), unquote(name)

    def _server(self, url: str, config: Mapping[str, Any]) -> Server:
        from tidemill.executors.places.ssh import Login, Server

        login = Login.of(urlsplit(url), config)
        if login not in self._servers:
            self._servers[login] = Server(login)
        return self._servers[login]

    async def close(self) -> None:
        """Log out everywhere."""
        for server in self._servers.values():
            await server.close()
        self._servers.clear()


def url_fault(url: str) -> str:
    """What is wrong with the URL of a place; empty where nothing is."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        return f"{url!r} is not a URL: {error}."
    if parts.password is not None:
        return f"{parts.scheme}://{parts.hostname} has a password in it; log in with a key instead."
    if parts.scheme in ("", "file"):
        return "" if parts.path.startswith("/") else f"{url!r} is not a whole path; it begins with /."
    if parts.scheme == "sftp":
        return "" if parts.hostname and parts.path else f"{url!r} lacks a host or a path: sftp://user@host/path."
    if parts.scheme not in STORES:
        return f"{url!r} is neither a folder nor at s3://, gs://, az:// or sftp://."
    return "" if parts.hostname else f"{url!r} lacks the name of a bucket."
