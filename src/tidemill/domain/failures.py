"""What makes two failures the same: their messages are equal once all that varies has been taken out.

This is the only place that says so. A family's id is made from its message alone, so it is the same in every run.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

COMPARED = 500
"""Characters of a reason that count; statements cut it there."""

_DIGITS_ALIKE = str.maketrans("123456789", "000000000")
"""Which digit it is never matters. Statements group by reasons that have been changed so: 100,000 messages that each
name a number of their own come as a handful of shapes."""

_VARIES = re.compile(
    r"""
      (?P<url> \b[A-Za-z][A-Za-z0-9+.-]{0,20}://[^\s'"<>]*[^\s'"<>:,.;)\]] )
    | (?P<quoted> (?<!\w)(?: '[^'\n]*' | "[^"\n]*" | `[^`\n]*` )(?!\w) | “[^”\n]*” )
    | (?P<time> \b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)?(?:\s?(?:Z\b|UTC\b|[+-]\d\d:?\d\d\b))?
              | \b\d\d?:\d\d:\d\d(?:[.,]\d+)?\b )
    | (?P<path> (?<![\w/.])(?:~|\.{1,2}|[A-Za-z]:)?(?:[/\\][^\s/\\'":,;()\[\]]+)+[/\\]? )
    | (?P<parts> (?<![\w./-])[\w.-]+(?:/[\w.@%+-]+)+ )
    | (?P<hex> \b0x[0-9a-fA-F]+\b | \b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b )
    | (?P<word> (?<![\w-])(?=[\w.-]*\d)[A-Za-z_-]*[A-Za-z_][\w-]*(?:\.\w+)* | (?<![\w.-])\d+[A-Za-z][0-9A-Za-z]{5,}\b )
    | (?P<number> [-+]?(?<![\w.])\d[\d,]*(?:\.\d+)*(?:[eE][-+]?\d+)?%? | \d+ )
    """,
    re.VERBOSE,
)
_SHOWN = {"url": "<url>", "quoted": "“…”", "time": "<time>", "path": "<path>", "hex": "<id>", "number": "#"}
_HEX = re.compile(r"(?=.*\d)(?=.*[a-fA-F])[0-9a-fA-F]{7,}")
_DIGITS = re.compile(r"\d+")
_LISTED = re.compile(r"(#|“…”|<\w+>)(?:(?:, ?| and | or |, and |, or |; ?| )\1)+")
_SPACE = re.compile(r"\s+")


@lru_cache(maxsize=50_000)
def normalised(reason: str) -> str:
    """A reason without its numbers, times, ids, quoted words, paths and addresses: `no file <path> after # s`."""
    text = _VARIES.sub(_placeholder, reason[:COMPARED].translate(_DIGITS_ALIKE))
    return _LISTED.sub(r"\1", _SPACE.sub(" ", text).strip()) or "no reason was given"


def _placeholder(found: re.Match[str]) -> str:
    kind, text = found.lastgroup or "number", found[0]
    if kind == "word":
        return _word(text)
    if kind == "parts":  # `input/output` is no path; `raw/x.root` and `a/b/c` are
        plain = text.count("/") == 1 and not any(letter.isdigit() or letter == "." for letter in text)
        return text if plain else "<path>"
    return _SHOWN[kind]


def _word(text: str) -> str:
    """`ma22a000_000.root` and `3f2a9c1b` are ids; `float64` is a word with a number in it."""
    if not any(letter.isdigit() for letter in text):
        return text
    if _HEX.fullmatch(text) or len(_DIGITS.findall(text)) > 1:
        return "<id>"
    return _DIGITS.sub("#", text)


def family(reason: str) -> str:
    """The short, stable id of the family that a reason belongs to: eight hexadecimal digits."""
    return hashlib.sha256(normalised(reason).encode()).hexdigest()[:8]
