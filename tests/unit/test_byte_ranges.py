"""Ranges and conditions, case by case from RFC 9110."""

from __future__ import annotations

import datetime as dt

import pytest

from tidemill.domain.byte_ranges import heeds_range, http_date, precondition, spans

AT = dt.datetime(2026, 11, 21, 15, 0, 0, 123456, dt.UTC)
BEFORE, SAME, AFTER = (http_date(AT + dt.timedelta(seconds=n)) for n in (-1, 0, 1))


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (None, None),
        ("bytes=0-499", [(0, 500)]),
        ("bytes=500-", [(500, 1000)]),
        ("bytes=-300", [(700, 1000)]),
        ("bytes=-5000", [(0, 1000)]),
        ("bytes=999-5000", [(999, 1000)]),
        ("Bytes = 0-0 , -1", [(0, 1), (999, 1000)]),
        ("bytes=1000-", []),
        ("bytes=-0", []),
        ("bytes=5000-6000, 0-0", [(0, 1)]),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=", None),
        ("bytes=a-b", None),
        ("bytes=٣-", None),
        ("bytes=0--1", None),
        ("bytes=" + "9" * 40 + "-", None),
        ("lines=0-5", None),
        ("0-5", None),
        ("bytes=" + ",".join(f"{n}-{n}" for n in range(17)), None),
        ("bytes=0-,0-,0-", None),
    ],
)
def test_ranges(header: str | None, wanted: list[tuple[int, int]] | None) -> None:
    found = spans(header, 1000)
    assert (None if found is None else [(one.start, one.stop) for one in found]) == wanted


def test_nothing_of_an_empty_file_is_in_reach() -> None:
    assert spans("bytes=0-", 0) == []
    assert spans(None, 0) is None


@pytest.mark.parametrize(
    ("headers", "method", "status"),
    [
        ({}, "GET", 200),
        ({"if-none-match": '"abc"'}, "GET", 304),
        ({"if-none-match": 'W/"abc", "x"'}, "HEAD", 304),
        ({"if-none-match": "*"}, "GET", 304),
        ({"if-none-match": '"other"', "if-modified-since": AFTER}, "GET", 200),
        ({"if-modified-since": SAME}, "GET", 304),
        ({"if-modified-since": BEFORE}, "GET", 200),
        ({"if-modified-since": "yesterday"}, "GET", 200),
        ({"if-match": '"abc"'}, "GET", 200),
        ({"if-match": 'W/"abc"'}, "GET", 412),
        ({"if-match": '"other"'}, "GET", 412),
        ({"if-unmodified-since": BEFORE}, "GET", 412),
        ({"if-unmodified-since": SAME}, "GET", 200),
    ],
)
def test_conditions(headers: dict[str, str], method: str, status: int) -> None:
    assert precondition(headers, method, "abc", AT) == status


def test_a_range_counts_only_for_the_bytes_that_the_client_has() -> None:
    assert heeds_range(None, "abc", AT)
    assert heeds_range('"abc"', "abc", AT)
    assert heeds_range(SAME, "abc", AT)
    for other in ('"abd"', 'W/"abc"', BEFORE, AFTER, "nonsense"):
        assert not heeds_range(other, "abc", AT), other
