"""What the site's processes write to their log when something goes wrong: the traceback, and no variable."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator

import pytest
import structlog

from tidemill.cli import door


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.mark.parametrize("json", [False, True])
def test_a_traceback_has_no_variables_in_it(monkeypatch: pytest.MonkeyPatch, json: bool) -> None:
    told = io.StringIO()
    monkeypatch.setattr(sys, "stderr", told)
    door.log_all(json=json)
    try:
        password = "swordfish"
        raise RuntimeError(f"{len(password)} letters")
    except RuntimeError as error:
        structlog.get_logger().error("a page failed", exc_info=error)
    assert "RuntimeError: 9 letters" in told.getvalue()
    assert "Traceback (most recent call last)" in told.getvalue()
    assert "password = " not in told.getvalue().replace('password = "swordfish"', "")
    assert "locals" not in told.getvalue()
