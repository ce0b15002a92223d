"""Links that an object store itself answers, made without asking it; and whether what they lead to is there."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from typing import Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from obstore.store import AzureStore, GCSStore

from tidemill.errors import StorageAway, StorageError
from tidemill.storage.s3 import bucket_of
from tidemill.storage.stores import open_store

PATIENCE = 3.0
"""Seconds that a store has to answer; one that did not is not asked for as long again, and then by one caller first."""

AWAY = "The store of the files cannot be reached now. Try again in a minute."

_away: dict[str, float] = {}
"""When a store that did not answer may be asked again (monotonic seconds)."""


async def presigned(url: str, options: Mapping[str, Any], key: str, seconds: int, disposition: str) -> str:
    """A link to one object of the store at `url`, good for `seconds`, or as long as the credentials are.

    `disposition`: the Content-Disposition that S3 is to answer with; other stores cannot. Raises StorageError where
    there are no credentials to sign with.
    """
    if urlsplit(url).scheme == "s3":
        return await asyncio.to_thread(_presigned_s3, url, dict(options), key, seconds, disposition)
    store = open_store(url, options)
    if not isinstance(store, AzureStore | GCSStore):
        raise StorageError(f"{url} is no store that gives links.")
    try:
        return str(await obstore.sign_async(store, "GET", key, dt.timedelta(seconds=seconds)))
    except (BaseError, OSError, ValueError) as error:
        raise StorageError(f"No link to {url} can be signed: {_brief(error)}") from error


async def size_in_store(url: str, options: Mapping[str, Any], key: str) -> int:
    """How many bytes the object has now. Raises StorageAway where the store does not answer, or has no such object."""
    if url in _away:
        if _away[url] > time.monotonic():
            raise StorageAway(AWAY)
        _away[url] = time.monotonic() + PATIENCE  # the others wait for what this one finds
    try:
        if urlsplit(url).scheme == "s3":  # the first time Amazon's library is read in, which is not the store's fault
            await asyncio.to_thread(_prepare_s3, url, dict(options))
        async with asyncio.timeout(PATIENCE):
            if urlsplit(url).scheme == "s3":
                asked = asyncio.get_running_loop().run_in_executor(_threads(), _size_s3, url, dict(options), key)
                size = await asked
            else:
                size = int((await obstore.head_async(open_store(url, options), key))["size"])
    except (FileNotFoundError, NotFoundError):
        _away.pop(url, None)
        raise StorageAway("The file is not where it should be.", hint="Whoever keeps the site can see why.") from None
    except (PermissionError, PermissionDeniedError, UnauthenticatedError) as error:
        _away.pop(url, None)
        raise StorageAway("The store of the files does not let this site in now.") from error
    except (BaseError, OSError, ValueError, StorageError) as error:
        _away[url] = time.monotonic() + PATIENCE
        raise StorageAway(AWAY) from error
    _away.pop(url, None)
    return size


def _presigned_s3(url: str, options: dict[str, Any], key: str, seconds: int, disposition: str) -> str:
    from botocore.exceptions import BotoCoreError

    bucket, prefix = bucket_of(url)
    wanted = {"Bucket": bucket, "Key": prefix + key}
    if not options.get("anonymous"):
        wanted |= {"ResponseContentDisposition": disposition, "ResponseContentType": "application/octet-stream"}
    try:
        made = _client(tuple(sorted(options.items()))).generate_presigned_url("get_object", wanted, ExpiresIn=seconds)
    except BotoCoreError as error:
        raise StorageError(f"No link to {url} can be signed: {error}") from error
    return str(made)


def _prepare_s3(url: str, options: dict[str, Any]) -> None:
    from botocore.exceptions import BotoCoreError

    try:
        _client(tuple(sorted(options.items())))
    except BotoCoreError as error:
        raise StorageError(f"{url} cannot be reached: {error}") from error


def _size_s3(url: str, options: dict[str, Any], key: str) -> int:
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, prefix = bucket_of(url)
    try:
        found = _client(tuple(sorted(options.items()))).head_object(Bucket=bucket, Key=prefix + key)
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        if status == 404:
            raise FileNotFoundError(key) from error
        if status < 500:
            raise PermissionError(str(error)) from error
        raise StorageError(f"{url} does not answer: {error}") from error
    except BotoCoreError as error:
        raise StorageError(f"{url} does not answer: {error}") from error
    return int(found["ContentLength"])


@cache
def _threads() -> ThreadPoolExecutor:
    """Threads of their own: a store that hangs must not keep others' work waiting."""
    return ThreadPoolExecutor(8, thread_name_prefix="stores")


@lru_cache(maxsize=16)
def _client(options: tuple[tuple[str, Any], ...]) -> Any:
    """A client that signs as all of S3 takes it (version 4), and does not wait long."""
    import boto3
    import botocore
    from botocore.config import Config

    given = dict(options)
    settings: dict[str, Any] = {
        "signature_version": botocore.UNSIGNED if given.get("anonymous") else "s3v4",
        "retries": {"total_max_attempts": 1},
        "connect_timeout": PATIENCE / 2,
        "read_timeout": PATIENCE,
        "max_pool_connections": 32,
    }
    if given.get("endpoint"):
        settings["s3"] = {"addressing_style": "path"}
    return boto3.session.Session().client(
        "s3", endpoint_url=given.get("endpoint"), region_name=given.get("region"), config=Config(**settings)
    )


def _brief(error: Exception) -> str:
    return str(error).partition("\n")[0].strip(" :-")
