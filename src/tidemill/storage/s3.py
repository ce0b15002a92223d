"""What obstore cannot do with S3, done by Amazon's own library: odd keys, and links that bear a file name."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit

from tidemill.storage.stores import Seen
from tidemill.storage.troubles import trouble

KEPT = 300.0
"""Seconds that a client is kept at most."""
_making = threading.Lock()
"""Amazon's library makes clients in one thread at a time."""


def s3_page(url: str, options: Mapping[str, Any], after: str) -> tuple[list[Seen], bool]:
    """The next page of keys behind `after`, whatever they are, and whether there are more. Raises StorageError."""
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, prefix = bucket_of(url)
    try:
        page = client(options).list_objects_v2(Bucket=bucket, Prefix=prefix, StartAfter=prefix + after)
    except (BotoCoreError, ClientError) as error:
        raise trouble(url, "listed", error) from error
    found = [
        Seen(one["Key"].removeprefix(prefix), one["Size"], one["ETag"].strip('"'), one["LastModified"])
        for one in page.get("Contents", [])
    ]
    return found, bool(page["IsTruncated"])


def client(options: Mapping[str, Any]) -> Any:
    """A client of the service that `options` name (see `open_store`); secrets come from the environment.

    Making one takes as long as some requests: it is kept for a while, for all threads of the process. It renews what
    expires by itself; what somebody changes in the environment or in files of credentials is seen soon.
    """
    secrets = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))
    with _making:
        chosen = tuple(options.get(name) for name in ("endpoint", "region", "anonymous"))
        return _client(*chosen, secrets, os.getpid(), int(time.monotonic() // KEPT))


@lru_cache(maxsize=16)
def _client(
    endpoint: str | None, region: str | None, anonymous: bool | None, secrets: Any, process: int, while_: int
) -> Any:
    """The last three only tell apart what is kept: what was made of other secrets, before a fork, or long ago."""
    # Imported only where S3 is spoken to in this way: it is a fifth of what a command's start would take.
    import boto3
    import botocore
    from botocore.config import Config

    settings: dict[str, Any] = {"retries": {"max_attempts": 5, "mode": "standard"}, "max_pool_connections": 50}
    if anonymous:
        settings["signature_version"] = botocore.UNSIGNED
    if endpoint:
        settings["s3"] = {"addressing_style": "path"}
    return boto3.session.Session().client("s3", endpoint_url=endpoint, region_name=region, config=Config(**settings))


def bucket_of(url: str) -> tuple[str, str]:
    """Bucket and prefix (with a slash at its end, or empty) of an s3 URL."""
    parts = urlsplit(url)
    prefix = unquote(parts.path).strip("/")
    return parts.netloc, prefix + "/" if prefix else ""
