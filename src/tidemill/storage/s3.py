"""What obstore cannot do with S3, done by Amazon's own library: odd keys, and links that bear a file name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from tidemill.storage.stores import Seen
from tidemill.storage.troubles import trouble


def s3_page(url: str, options: Mapping[str, Any], after: str) -> tuple[list[Seen], bool]:
    """The next page of keys behind `after`, whatever they are, and whether there are more. Raises StorageError."""
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, prefix = _place(url)
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
    """A client of the service that `options` name (see `open_store`); secrets come from the environment."""
    # Imported only where S3 is spoken to in this way: it is a fifth of what a command's start would take.
    import boto3
    import botocore
    from botocore.config import Config

    settings: dict[str, Any] = {"retries": {"max_attempts": 5, "mode": "standard"}}
    if options.get("anonymous"):
        settings["signature_version"] = botocore.UNSIGNED
    if options.get("endpoint"):
        settings["s3"] = {"addressing_style": "path"}
    return boto3.session.Session().client(
        "s3", endpoint_url=options.get("endpoint"), region_name=options.get("region"), config=Config(**settings)
    )


def _place(url: str) -> tuple[str, str]:
    """Bucket and prefix (with a slash at its end, or empty) of an s3 URL."""
    parts = urlsplit(url)
    prefix = unquote(parts.path).strip("/")
    return parts.netloc, prefix + "/" if prefix else ""
