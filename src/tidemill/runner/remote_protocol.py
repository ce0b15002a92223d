"""What a worker without a database and its site say to each other, version 1: names, limits, and small shared rules.

HTTP below `/api/worker`, JSON in UTF-8, gzip where it helps. Every request bears the worker's token and this version.
`docs/reference/api.md` has the whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from tidemill.errors import InvalidInput, WrongProtocol

VERSION = 1
HEADER = "tidemill-worker"
"""Header that says which version the worker speaks."""

VERBS = {
    "tasks.renew": "renew",
    "tasks.tell": "tell",
    "tasks.submit": "submit",
    "tasks.adopt": "adopt",
    "tasks.release": "release",
    "tasks.cancelled": "cancelled",
    "workers.retire": "retire",
    "workers.specs": "specs",
    "workers.steps": "steps",
    "workers.records": "records",
}
"""The statements that a worker may ask for, and what each is called below `/api/worker`."""

MOST_TASKS = 1000
"""Tasks that one request may name or claim."""

LARGEST_BODY = 64 * 1024 * 1024
"""Bytes of a request's JSON, unpacked."""

LARGEST_ANSWER = 8 * 1024 * 1024
"""Bytes of documents that come with one answer to a claim; the worker fetches the others one by one."""

LARGEST_DOCUMENT = 1024 * 1024 * 1024
"""Bytes of one document."""

PIECE = 8 * 1024 * 1024
"""Bytes of a document or file that go in one request."""

LARGEST_PIECE = 2 * PIECE

LONGEST_WAIT = 25.0
"""Seconds for which a request for notices waits: less than the patience of any proxy."""

WORTH_PACKING = 1400
"""Bytes above which JSON is sent as gzip: what fits into one packet gains nothing."""

ELSEWHERE = "site"
"""The location of a document whose text did not come along."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_LONGEST_NAME = 255
_FORBIDDEN = re.compile(r"[\\\x00-\x1f\x7f\ud800-\udfff]")


def check_version(said: str | None) -> None:
    """Raises WrongProtocol, in words for the person who keeps the worker, unless the worker speaks our version."""
    if said == str(VERSION):
        return
    if said is None or not said.isdecimal():
        raise WrongProtocol(
            "This is the site's side of the worker protocol: only `tidemill worker --url` has use for it."
        )
    older = int(said) < VERSION
    raise WrongProtocol(
        f"The worker speaks version {int(said)} of the worker protocol and the site version {VERSION}.",
        hint=f"Bring {'the worker' if older else 'the site'} up to date.",
    )


def check_sha256(word: str) -> str:
    """The word, if it can be a SHA-256 in hexadecimal. Raises InvalidInput."""
    if not _SHA256.fullmatch(word):
        raise InvalidInput("A SHA-256 has 64 hexadecimal digits, in lower case.")
    return word


def check_file_name(name: str) -> str:
    """The name, if a file may be kept under it: it stays below its folder on every system. Raises InvalidInput."""
    parts = name.split("/")
    if not name or {"", ".", ".."} & set(parts) or _FORBIDDEN.search(name) or len(name.encode()) > _LONGEST_NAME:
        raise InvalidInput(f"{name[:80]!r} cannot be the name of a file.")
    return name


def file_url(base: str, sha256: str, name: str) -> str:
    """Where the file store at `base` keeps a file: known before it is there, since its content names the place."""
    return f"{base}/{_place(sha256, name)}"


def for_delivery(file: Mapping[str, Any]) -> bool:
    """Whether a file of a result is in the spool, to lie in the site's store; else a step put it somewhere itself."""
    return str(file["url"]).endswith(f"/{_place(file['sha256'], file['name'])}")


def _place(sha256: str, name: str) -> str:
    return quote(f"{sha256[:2]}/{sha256}/{name}")
