"""Which bytes of a file an HTTP request asks for, and whether it wants them at all: RFC 9110, sections 13 and 14."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from email.utils import format_datetime, parsedate_to_datetime

MOST = 16
"""Ranges in one request; one that asks for more gets the whole file (RFC 9110, 14.2)."""

_SPEC = re.compile(r"([0-9]{0,18})-([0-9]{0,18})")
_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')


def spans(header: str | None, size: int) -> list[range] | None:
    """The ranges that a Range header asks for, in its order; None: all of the file, since there is no such header, or
    none that must be heeded; an empty list: none of them is in the file (416).
    """
    unit, _, rest = (header or "").partition("=")
    if unit.strip().lower() != "bytes":
        return None
    words = [word.strip() for word in rest.split(",") if word.strip()]
    if not words or len(words) > MOST:
        return None
    found = []
    for word in words:
        match = _SPEC.fullmatch(word)
        if match is None or word == "-":
            return None
        first, last = match.groups()
        if first and last and int(first) > int(last):
            return None
        found.append(_span(first, last, size))
    kept = [span for span in found if span]
    # What overlaps could be asked for to make the site send more than it has.
    return None if sum(map(len, kept)) > size else kept


def _span(first: str, last: str, size: int) -> range:
    if not first:
        return range(max(0, size - int(last)), size)
    return range(int(first), min(int(last) + 1 if last else size, size))


def precondition(headers: Mapping[str, str], method: str, etag: str, modified: dt.datetime) -> int:
    """200: go on; 304: the client has these bytes; 412: it wants others. `etag` without quotes, `headers` in lower case
    (RFC 9110, 13.2.2)."""
    modified = modified.replace(microsecond=0)
    if (match := headers.get("if-match")) is not None:
        if not _matches(match, etag, strong=True):
            return 412
    elif (since := _date(headers.get("if-unmodified-since"))) is not None and modified > since:
        return 412
    unchanged = 304 if method in ("GET", "HEAD") else 412
    if (none := headers.get("if-none-match")) is not None:
        return unchanged if _matches(none, etag, strong=False) else 200
    since = _date(headers.get("if-modified-since"))
    if since is not None and method in ("GET", "HEAD") and modified <= since:
        return 304
    return 200


def heeds_range(if_range: str | None, etag: str, modified: dt.datetime) -> bool:
    """Whether a Range header counts: not where If-Range names other bytes than there are (RFC 9110, 13.1.5)."""
    if if_range is None:
        return True
    if '"' in if_range:
        return _matches(if_range, etag, strong=True)
    return _date(if_range) == modified.replace(microsecond=0)


def http_date(moment: dt.datetime) -> str:
    """A time as HTTP writes it."""
    return format_datetime(moment.astimezone(dt.UTC), usegmt=True)


def _matches(header: str, etag: str, *, strong: bool) -> bool:
    if header.strip() == "*":
        return True
    return any(tag == etag and not (strong and weak) for weak, tag in _TAG.findall(header))


def _date(header: str | None) -> dt.datetime | None:
    if header is None:
        return None
    try:
        found = parsedate_to_datetime(header)
    except (ValueError, TypeError):
        return None
    return found.replace(tzinfo=dt.UTC) if found.tzinfo is None else found
