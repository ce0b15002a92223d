"""Settings of a site: from the environment (`TIDEMILL_…`) or `<site>/tidemill.env`. Read here and nowhere else."""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from tidemill.errors import InvalidInput
from tidemill.fsync import fsync_if_possible

LOCAL_NETWORKS = ["127.0.0.0/8", "::1/128", "localhost"]
SHORTEST_KEY = 16
"""Characters of a site's key at least. One that is made here has twice as many."""


class Settings(BaseSettings):
    """Every setting has a default that is right for one machine."""

    model_config = SettingsConfigDict(env_prefix="TIDEMILL_", extra="ignore")

    site: Path = Field(
        default=Path("site"), description="Folder of the site: embedded database, large documents, keys."
    )
    database_url: str | None = Field(
        default=None, description="Any PostgreSQL ≥ 14. Unset: an embedded server in the site's folder."
    )
    host: str = Field(default="127.0.0.1", description="Address that the web pages and the API listen on.")
    port: int = Field(default=8400, ge=0, le=65535, description="Port of the pages and the API; 0: any free one.")
    hosts: list[str] = Field(
        default=[], description="Names that the site is reached by besides its address (JSON list), as behind a proxy."
    )
    behind_proxy: bool = Field(
        default=False,
        description="Whether a proxy stands before the site that sets X-Forwarded-Proto and X-Forwarded-Host itself.",
    )
    app_addresses: list[str] = Field(
        default=LOCAL_NETWORKS, description="Hosts and networks that apps may be reached at (JSON list)."
    )
    slots: int = Field(default=256, ge=1, description="Attempts that one worker has in hand at most.")
    lease: float = Field(default=30.0, gt=0, description="Seconds that a claim holds without a heartbeat.")
    longest_lease: float = Field(
        default=86400.0, gt=0, description="Seconds that a worker behind a firewall may hold its claims at most."
    )
    poll: float = Field(default=1.0, gt=0, description="Seconds between looks for work when nothing wakes the worker.")
    inline_limit: int = Field(
        default=256 * 1024,
        ge=0,
        description="Bytes; larger documents go to the document store instead of the database.",
    )
    documents: str | None = Field(
        default=None, description="URL of the document store (s3://…, gs://…, az://…). Unset: a folder in the site."
    )
    files: str | None = Field(
        default=None,
        description="URL of the store of what steps put out (s3://…, gs://…, az://…). Unset: a folder in the site.",
    )
    changes_kept: int = Field(
        default=365, ge=0, le=36500, description="Days that entries of the change feed are kept; 0: for ever."
    )
    token: str | None = Field(default=None, repr=False, description="Token of a worker that is started with `--url`.")
    log_json: bool = Field(default=False, description="Log lines as JSON.")

    @property
    def documents_url(self) -> str:
        return self.documents or (self.site / "documents").absolute().as_uri()

    @property
    def files_url(self) -> str:
        return self.files or (self.site / "files").absolute().as_uri()

    @property
    def work_folder(self) -> Path:
        return (self.site / "work").absolute()

    @property
    def packages_folder(self) -> Path:
        """Where packages lie that are not uploaded."""
        return (self.site / "packages").absolute()

    @property
    def database_folder(self) -> Path:
        return self.site / "database"

    def signing_key(self, purpose: str) -> bytes:
        """A secret of this site for one purpose, derived from its key."""
        return hmac.new(self.web_key().encode(), f"tidemill {purpose}".encode(), "sha256").digest()

    def web_key(self) -> str:
        """The key to this site's pages and API, made at first use and readable by its owner alone.

        Raises InvalidInput for a file that holds no good key.
        """
        path = self.site / "web.key"
        try:
            return _good_key(path)
        except FileNotFoundError:
            self.site.mkdir(parents=True, exist_ok=True)
            _make_key(path)
        return _good_key(path)


def _good_key(path: Path) -> str:
    key = path.read_text(encoding="ascii", errors="replace").strip()
    if len(key) < SHORTEST_KEY or not (key.isascii() and key.isprintable()):
        raise InvalidInput(
            f"The site's key in {path} is no good: it must have {SHORTEST_KEY} characters or more, all of them ASCII.",
            hint="Delete the file: a new key is made at the next start, and links and browsers need that one.",
        )
    return key


def _make_key(path: Path) -> None:
    """Put a new key there, unless somebody else does so first. It is there whole or not at all, whatever happens."""
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(24))
            file.flush()
            os.fsync(handle)
        try:
            path.hardlink_to(part)
        except FileExistsError:
            return
        except OSError:  # some mounted systems have no links
            part.rename(path)
        fsync_if_possible(path.parent)
    finally:
        part.unlink(missing_ok=True)


def load_settings(site: Path | None = None) -> Settings:
    """The settings of the site in this folder (default: `TIDEMILL_SITE` or `./site`)."""
    folder = site or Settings().site
    env = Settings(_env_file=folder / "tidemill.env")  # type: ignore[call-arg]
    return env.model_copy(update={"site": folder})
