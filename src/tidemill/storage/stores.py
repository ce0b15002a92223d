"""Opening what lies at a URL: a folder, S3 and what speaks it, Google Cloud Storage, Azure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from tidemill.errors import InvalidInput

SCHEMES = ("file", "s3", "gs", "az")
"""What a store's URL may begin with."""
_WORDS = {
    "s3": {"endpoint": "endpoint", "region": "region"},
    "gs": {"endpoint": "base_url"},
    "az": {"endpoint": "endpoint"},
}
"""What obstore calls our options."""
RETRIES = 5
"""Requests that are repeated before a store counts as failing: three seconds in all."""


class Seen(NamedTuple):
    """One file as it lies there. `key` is below the source's URL. A tuple: made in half the time, a million times."""

    key: str
    size: int
    etag: str
    """Without quotes; for a file of a folder, its modification time and size."""
    modified_at: dt.datetime


def folder_of(url: str) -> Path | None:
    """The folder, or file, that a URL means on this machine; None where it lies in an object store, or elsewhere."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme in ("", "file") else None


def open_store(url: str, options: Mapping[str, Any] | None = None, *, timeout: str = "10m") -> ObjectStore:
    """The store at a URL; keys are below the URL's path. Nothing is asked of it yet.

    Secrets come from the environment as each service's own tools read them (AWS_…, GOOGLE_…, AZURE_…). `options`:
    `endpoint` of a service other than the one that the URL means, `region` of one that speaks S3, `anonymous`.
    `timeout`: for one request. Raises InvalidInput for a URL that is no store's.
    """
    scheme = urlsplit(url).scheme
    if scheme == "file":
        return LocalStore(Path(unquote(urlsplit(url).path)))
    if scheme not in SCHEMES:
        raise InvalidInput(f"{url} is no store that can be read.", hint="Write file://…, s3://…, gs://… or az://….")
    given = options or {}
    config: Any = {word: given[key] for key, word in _WORDS[scheme].items() if given.get(key)}
    if given.get("anonymous"):
        config["skip_signature"] = "true"
    plain = str(given.get("endpoint", "")).startswith("http://")
    client: Any = {"timeout": timeout, "connect_timeout": "15s"} | ({"allow_http": True} if plain else {})
    retries: Any = {"max_retries": RETRIES}
    try:
        return from_url(url, config=config or None, client_options=client, retry_config=retries)
    except (BaseError, ValueError, TypeError) as error:
        raise InvalidInput(f"{url} cannot be opened: {str(error).splitlines()[0]}") from error
