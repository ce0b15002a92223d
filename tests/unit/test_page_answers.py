"""What forms may send a browser to, and what a redirect can carry."""

from __future__ import annotations

from http.cookies import SimpleCookie
from urllib.parse import unquote

import pytest

from tidemill.web.pages.forms import local
from tidemill.web.rendering import SAID, redirect


@pytest.mark.parametrize("address", ["/portal", "/portal/samples?sex=a%5Cb&page=2", "/portal/samples/häß lich"])
def test_a_path_of_this_site_can_be_gone_back_to(address: str) -> None:
    assert local(address) == address


@pytest.mark.parametrize(
    "address",
    ["", "portal", "https://evil.example/", "//evil.example", "/\\evil.example", "/\t/evil.example", "/\n/evil.example",
     "/portal\\..\\x", "/\x7f/evil.example"],
)  # fmt: skip
def test_nothing_else_can(address: str) -> None:
    assert local(address) is None


@pytest.mark.parametrize("said", ["Done.", "ü" * 583, "ü" * 584, "日本" * 500, "a " * 5000])
def test_a_sentence_never_outgrows_its_cookie(said: str) -> None:
    cookie = SimpleCookie(redirect("/", said).headers["set-cookie"])[SAID]
    assert len(SAID) + len(cookie.value) < 4000
    told = unquote(cookie.value, errors="strict")
    assert told == said or (told.endswith("…") and said.startswith(told[:-1]) and len(cookie.value) > 3000)
