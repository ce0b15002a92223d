"""Which failures are the same failure."""

from __future__ import annotations

import pytest

from tidemill.domain.failures import COMPARED, family, normalised


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("exit code 137 after 12.5 s", "exit code # after # s"),
        ("-3.2e-05 is below 1,000", "# is below #"),
        ("KeyError: 'conditions'", "KeyError: “…”"),
        ('no column "a b" in `t`', "no column “…” in “…”"),
        ("it didn't work and can't", "it didn't work and can't"),
        ("/data/2026/ma22a000_000.root: not found", "<path>: not found"),
        ("cannot open ../raw/x.root (errno 2)", "cannot open <path> (errno #)"),
        ("C:\\data\\x.root is gone", "<path> is gone"),
        ("GET https://host:81/a?b=c: 502", "GET <url>: #"),
        ("s3://bucket/key/1 refused", "<url> refused"),
        ("at 2026-11-23T10:11:12.5Z and 10:11:12", "at <time>"),
        ("since 2026-11-23 it is away", "since <time> it is away"),
        ("job 6f9619ff-8b86-d011-b42d-00cf4fc964ff died", "job <id> died"),
        ("object at 0x7f3a2b", "object at <id>"),
        ("commit 3f2a9c1b is bad", "commit <id> is bad"),
        ("ma22a000_000.root has no pulses", "<id> has no pulses"),
        ("cpb-aacip-507-0000000001 has no sound", "<id> has no sound"),
        ("float64 is not int32", "float# is not int#"),
        ("channels 1, 2, 7 and 12 are dead", "channels # are dead"),
        ("Input/output error", "Input/output error"),
        ("a  b\n\tc", "a b c"),
        ("", "no reason was given"),
        ("the worker on pc stopped answering during the step (try 3 of 3)",
         "the worker on pc stopped answering during the step (try # of #)"),
    ],
)  # fmt: skip
def test_what_varies_is_taken_out(reason: str, message: str) -> None:
    assert normalised(reason) == message
    assert family(reason) == family(reason.replace("12", "99"))


def test_a_family_has_the_same_id_everywhere() -> None:
    assert family("no pulses in ma22a000_000.root after 3 s") == family("no pulses in mb01b001_007.root after 17 s")
    assert family("no pulses") != family("no template")
    assert family("exit code 1") == "364185c9"


def test_only_the_beginning_counts() -> None:
    assert family("x" * COMPARED + "one") == family("x" * COMPARED + "other")


@pytest.mark.parametrize(
    "hostile",
    ["/" * 500, "a/" * 250, "'" * 500, "1" * 500, "a1" * 250, "1.1" * 160, "a-" * 250, "0x" * 250, "aB9-" * 125],
)
def test_no_message_takes_for_ever(hostile: str) -> None:
    assert normalised(hostile)


def test_which_digit_it_is_never_matters() -> None:
    """Statements make all digits a 0 before they group: the family must be the same."""
    for reason in (
        "at 2026-11-23T10:11:12Z 0x7f3a2b of 3f2a9c1b",
        "6f9619ff-8b86-d011-b42d-00cf4fc964ff 1.5e-7 ma22a1.root",
    ):
        alike = "".join("0" if letter in "123456789" else letter for letter in reason)
        assert family(alike) == family(reason)
