"""Links of ours: what they say cannot be changed; names and lines are safe for those who paste them."""

from __future__ import annotations

import datetime as dt
import shlex
import subprocess
from urllib.parse import unquote, urlsplit

import pytest

from tidemill.errors import AccessRefused
from tidemill.publishing.links import Seal, curl_config, curl_line, dated, disposition, opened, path_of

KEY = b"k" * 32
SEAL = Seal("computed", 12, 1_800_000_000, 7, "SCPCP999990_2026-11-21.zip")


def parts(path: str) -> tuple[str, str, str]:
    _, top, file, middle, name = path.split("/")
    assert top == "download"
    return file, middle, unquote(name)


@pytest.mark.parametrize("seal", [SEAL, Seal("original", 12, 1_800_000_000, 0, 'a b/ü"\n%2e;.zip')])
def test_a_link_says_what_it_was_made_for(seal: Seal) -> None:
    path = path_of(KEY, seal)
    assert opened(KEY, *parts(path)) == seal
    assert urlsplit(path).path == path


def test_nothing_in_a_link_can_be_changed() -> None:
    file, middle, name = parts(path_of(KEY, SEAL))
    expires, token, signature = middle.split("-", 2)
    changed = [
        ("13", middle, name),
        ("original-12", middle, name),
        ("012", middle, name),
        ("١٢", middle, name),
        ("12 ", middle, name),
        ("../12", middle, name),
        ("1' or '1'='1", middle, name),
        ("9" * 30, middle, name),
        ("", middle, name),
        (file, f"{int(expires) + 1}-{token}-{signature}", name),
        (file, f"{expires}-0-{signature}", name),
        (file, f"{expires}-{token}-", name),
        (file, f"{expires}-{token}", name),
        (file, f"{expires}-{token}-{signature[:-1]}", name),
        (file, f"{expires}-{token}-{'é' * 32}", name),
        (file, f"{expires}-{token}-{signature}", "other.zip"),
        (file, f"-{expires}-{token}-{signature}", name),
        (file, "", ""),
    ]
    for one in changed:
        with pytest.raises(AccessRefused):
            opened(KEY, *one)
    with pytest.raises(AccessRefused):
        opened(b"another site's", file, middle, name)


def test_names_bear_the_day() -> None:
    assert dated("A_MERGED.zip", dt.date(2026, 1, 2)) == "A_MERGED_2026-01-02.zip"
    assert dated("noending", dt.date(2026, 1, 2)) == "noending_2026-01-02"


def test_a_name_cannot_break_out_of_its_header_or_its_line() -> None:
    name = 'it\'s "a"\r\nset-cookie: x; 日本 $(touch x) %22.zip'
    header = disposition(name)
    assert header.isascii()
    assert "\r" not in header
    assert "\n" not in header
    assert header.count('"') == 2
    words = shlex.split(curl_line("https://x/y?a=1&b=$HOME'", name))
    assert words == ["curl", "-f", "-C", "-", "-o", name, "https://x/y?a=1&b=$HOME%27"]
    assert shlex.split(curl_line("https://x", "-rf.zip"))[5] == "./-rf.zip"
    said = subprocess.run(["sh", "-c", "echo " + curl_line("u", "$(id)")], capture_output=True, text=True, check=True)
    assert "$(id)" in said.stdout
    assert curl_config("https://x", 'a"b\\c\nd').splitlines() == ['url = "https://x"', r'output = "a\"b\\c_d"']
