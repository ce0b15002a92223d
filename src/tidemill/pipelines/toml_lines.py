"""Where each table and key of a TOML text stands: `tomllib` reads the values, but forgets their lines."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Sequence

Path = tuple[str | int, ...]
"""Keys and positions in arrays, as they lead through the parsed document: `("apps", 0, "url")`."""

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?!")' r"|'''.*?'''(?!')" r'|"(?:[^"\\\n]|\\.)*"' r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}\n#]+")


class TomlLines:
    """The lines (from 1) of a text that `tomllib` has read without an error."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._lines: dict[Path, int] = {}
        self._arrays: dict[Path, int] = {}
        self._document()

    def line(self, path: Sequence[str | int]) -> int:
        """The line of what the path leads to, or of the nearest thing around it that is written down."""
        wanted = tuple(path)
        while wanted and wanted not in self._lines:
            wanted = wanted[:-1]
        return self._lines.get(wanted, 1)

    def _document(self) -> None:
        table: Path = ()
        self._blank()
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._blank()

    def _header(self) -> Path:
        array = self._text.startswith("[[", self._at)
        line = self._line_here()
        self._at += 2 if array else 1
        keys = self._keys()
        self._at += 2 if array else 1
        path = self._resolved(keys[:-1] if array else keys)
        if array:
            path = (*path, keys[-1])
            self._lines.setdefault(path, line)
            self._arrays[path] = self._arrays.get(path, 0) + 1
            path = (*path, self._arrays[path] - 1)
        self._note(path, line)
        return path

    def _resolved(self, keys: Sequence[str]) -> Path:
        """A header's keys lead through the newest element of each array of tables."""
        path: Path = ()
        for key in keys:
            path = (*path, key)
            if path in self._arrays:
                path = (*path, self._arrays[path] - 1)
        return path

    def _pair(self, table: Path) -> None:
        line = self._line_here()
        path = (*table, *self._keys())
        self._note(path, line)
        self._at += 1  # the sign
        self._blank()
        self._value(path)

    def _note(self, path: Path, line: int) -> None:
        for length in range(1, len(path) + 1):
            self._lines.setdefault(path[:length], line)

    def _keys(self) -> list[str]:
        keys = []
        while True:
            self._blank()
            if match := _BARE_KEY.match(self._text, self._at):
                keys.append(match[0])
            else:
                match = _STRING.match(self._text, self._at)
                assert match is not None
                keys.append(str(tomllib.loads(f"key = {match[0]}")["key"]))
            self._at = match.end()
            self._blank()
            if self._text[self._at] != ".":
                return keys
            self._at += 1

    def _value(self, path: Path) -> None:
        sign = self._text[self._at]
        if sign == "[":
            self._elements(path, "]")
        elif sign == "{":
            self._elements(path, "}")
        else:
            match = _STRING.match(self._text, self._at) or _SCALAR.match(self._text, self._at)
            assert match is not None
            self._at = match.end()

    def _elements(self, path: Path, end: str) -> None:
        """What stands between brackets or braces, up to and with the closing one."""
        self._at += 1
        position = 0
        while True:
            self._blank()
            if self._text[self._at] == end:
                self._at += 1
                return
            if self._text[self._at] == ",":
                self._at += 1
            elif end == "}":
                self._pair(path)
            else:
                self._lines.setdefault((*path, position), self._line_here())
                self._value((*path, position))
                position += 1

    def _blank(self) -> None:
        match = _BLANK.match(self._text, self._at)
        assert match is not None
        self._at = match.end()

    def _line_here(self) -> int:
        return bisect_right(self._starts, self._at)
