"""What commands print for people."""

from __future__ import annotations

import pytest

from tidemill.cli import output


def test_what_is_printed_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Keys, and the words of apps, come from others."""
    output.out.cache_clear()
    output.err.cache_clear()
    try:
        told = "a\x1b[2J\x9b1mb\r[red]c\nd\té"
        output.tell(told)
        output.say(told)
        output.complain(told, told)
        output.table(["name"], [[told]], empty="")
    finally:
        output.out.cache_clear()
        output.err.cache_clear()
    shown = capsys.readouterr()
    for text, times in ((shown.out, 2), (shown.err, 3)):
        assert "\x1b[2J" not in text
        assert "\x9b" not in text
        assert text.count(r"a\x1b[2J\x9b1mb\x0d[red]c") == times
