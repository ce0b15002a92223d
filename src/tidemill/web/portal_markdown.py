"""Markdown that the site's keepers wrote, as HTML. Raw HTML in it is text, and no browser asks elsewhere for it."""

from __future__ import annotations

import re
from functools import lru_cache

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

# Without images: a picture from another host would tell that host who reads this page.
_reader = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
_ADDRESS = re.compile(r"(https?://|mailto:|/(?![/\\])|#)", re.IGNORECASE)
_reader.validateLink = lambda url: _ADDRESS.match(url) is not None  # type: ignore[method-assign]


@lru_cache(maxsize=64)
def html(text: str) -> Markup:
    """CommonMark with tables; its headings come below a page's own, addresses but those of web and mail stay text."""
    return _html(_reader.parse(text))


@lru_cache(maxsize=64)
def headed(text: str) -> tuple[str, Markup]:
    """The heading that a text begins with, as plain words (empty: there is none), and the rest as `html` has it."""
    tokens = _reader.parse(text)
    if len(tokens) < 3 or (tokens[0].type, tokens[0].tag) != ("heading_open", "h1"):
        return "", _html(tokens)
    words = "".join(" " if part.type.endswith("break") else part.content for part in tokens[1].children or ())
    return (words, _html(tokens[3:])) if words.strip() else ("", _html(tokens))


def _html(tokens: list[Token]) -> Markup:
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 1)}"
        elif token.type == "th_open":
            token.attrs = {"scope": "col"}
        elif token.type == "td_open":
            token.attrs = {}  # how it is aligned would be an inline style, which browsers are told to refuse
        for inner in token.children or ():
            _outward(inner)
    return Markup(_reader.renderer.render(tokens, _reader.options, {}))  # noqa: S704


def _outward(token: Token) -> None:
    if token.type == "link_open":
        token.attrSet("rel", "noopener noreferrer")
