"""Table files as text: bytes decoded as they come, rows of CSV and TSV, objects of JSON. Memory stays flat.

Bytes that are not in the encoding become lone surrogates, so that the cell that they stand in can be told; where they
stood in the file is remembered.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from tidemill.errors import InvalidInput

LONGEST_CELL = 4 * 1024 * 1024
"""Characters of one cell, or of one object of JSON."""
REMEMBERED = 1000
"""Bytes out of the encoding whose place is remembered."""
DELIMITERS = {"csv": ",", "tsv": "\t"}

_BAD = re.compile("[\udc80-\udcff]")
_NO_TEXT = {
    b"PK\x03\x04": "a spreadsheet (.xlsx, .ods) or another zip archive; save the sheet as CSV (UTF-8)",
    b"\xd0\xcf\x11\xe0": "an old Excel file (.xls); save the sheet as CSV (UTF-8)",
    b"\x1f\x8b": "compressed (gzip); unpack it",
    **{b"BZh%d1AY" % n: "compressed (bzip2); unpack it" for n in range(1, 10)},
    b"\xfd7zXZ": "compressed (xz); unpack it",
    b"\x28\xb5\x2f\xfd": "compressed (Zstandard); unpack it",
    b"%PDF-": "a PDF",
    b"PAR1\x15": "a Parquet file; save it as CSV",
    codecs.BOM_UTF32_LE: "UTF-32 text; save it as UTF-8",
    codecs.BOM_UTF16_LE: "UTF-16 text; save it as UTF-8",
    codecs.BOM_UTF16_BE: "UTF-16 text; save it as UTF-8",
}
"""What files begin with that are no text that is read here, and what they are: more than letters, with which a heading
may begin."""
_UTF_16 = re.compile(rb"(?:[^\0]\0){2}|(?:\0[^\0]){2}")
"""How letters begin that take two bytes each, without a mark before them."""


class Decoded:
    """The text of a file, in pieces. Raises InvalidInput for what is no text, and for UTF-16, which spreadsheets call
    Unicode text."""

    def __init__(self, chunks: Iterable[bytes], encoding: str) -> None:
        self.encoding = encoding
        self.bad: list[int] = []
        """Where in the file the first bytes stand that are not in the encoding; the first byte is 0."""
        self._chunks = chunks

    def __iter__(self) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder(self.encoding)("surrogateescape")
        read, first = 0, True
        for chunk in self._chunks:
            if first:
                _refuse(chunk)
            start = read - len(decoder.getstate()[0])
            text = decoder.decode(chunk)
            read += len(chunk)
            self._note(text, start)
            yield text.removeprefix("\ufeff") if first else text
            first = first and not text
        start = read - len(decoder.getstate()[0])
        rest = decoder.decode(b"", final=True)
        self._note(rest, start)
        yield rest

    def _note(self, text: str, start: int) -> None:
        at = 0
        for found in _BAD.finditer(text):
            if len(self.bad) == REMEMBERED:
                return
            start += len(text[at : found.start()].encode(self.encoding, "surrogateescape"))
            at = found.start()
            self.bad.append(start)


def _refuse(beginning: bytes) -> None:
    found = next((told for mark, told in _NO_TEXT.items() if beginning.startswith(mark)), None)
    if found is None and _UTF_16.match(beginning):
        found = _NO_TEXT[codecs.BOM_UTF16_LE]
    if found is not None:
        raise InvalidInput(f"it is {found}.")


def bad_bytes(text: str) -> list[int]:
    """The bytes in a text that were not in its encoding."""
    return [ord(sign) - 0xDC00 for sign in _BAD.findall(text)]


def lines(texts: Iterable[str]) -> Iterator[str]:
    """The lines of a text that comes in pieces, each with its end, whichever of the three usual ones that is."""
    rest = ""
    for text in texts:
        found = list(io.StringIO(rest + text, newline=""))
        rest = found.pop() if found and not found[-1].endswith("\n") else ""
        yield from found
        if len(rest) > LONGEST_CELL * 16:
            raise InvalidInput(f"it has a line of more than {len(rest):,} characters: it is no table.")
    if rest:
        yield from io.StringIO(rest, newline="")


def csv_rows(texts: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str] | InvalidInput]]:
    """The rows of a CSV file (RFC 4180), counted from 1: its cells, or what is wrong with it."""
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(lines(texts), delimiter=delimiter, strict=True)
    number = 0
    while True:
        number += 1
        try:
            yield number, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, InvalidInput(_csv_fault(str(error), delimiter))


def _csv_fault(message: str, delimiter: str) -> str:
    if "field limit" in message:
        never = "a quotation mark opens here, or further up, and never closes"
        return f"a cell has more than {LONGEST_CELL:,} characters; or {never}."
    if "unexpected end of data" in message:
        return "a quotation mark opens here, or further up, and never closes."
    if "expected after" in message:
        word = "a tab" if delimiter == "\t" else f"{delimiter!r}"
        return f'after a closing quotation mark must come {word}; one within quotation marks is written "".'
    return f"it cannot be read: {message}."


def json_rows(texts: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON file, counted from 1: a list of them, one alone, or one after another (JSON lines).

    Raises InvalidInput that says where it is wrong.
    """
    reader = _Json(iter(texts))
    listed = reader.sign() == "["
    reader.at += listed
    number = 0
    while (sign := reader.sign()) and not (listed and sign == "]"):
        if listed and number:
            reader.comma()
        number += 1
        yield number, reader.object()
    if listed:
        if not sign:
            raise InvalidInput(f"line {reader.line_now()}: the list never ends; here must be ',' or ']'.")
        reader.at += 1
        if reader.sign():
            raise InvalidInput(f"line {reader.line_now()}: there is more after the end of the list.")


class _Json:
    """A window on a JSON text that comes in pieces."""

    def __init__(self, texts: Iterator[str]) -> None:
        self.at = 0
        self._line = 1
        self._texts = texts
        self._window = ""
        self._decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refused)

    def sign(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            while self.at < len(self._window) and self._window[self.at] in " \t\r\n":
                self.at += 1
            if self.at < len(self._window):
                return self._window[self.at]
            if not self._more():
                return ""

    def comma(self) -> None:
        """Go behind the comma that stands here."""
        if (found := self.sign()) != ",":
            raise InvalidInput(f"line {self.line_now()}: here must be ',', not {found!r}.")
        self.at += 1

    def object(self) -> dict[str, Any]:
        """The object that begins here."""
        if (sign := self.sign()) != "{":
            raise InvalidInput(f"line {self.line_now()}: here must be an object, {{…}}, not {sign!r}.")
        while True:
            try:
                found, self.at = self._decoder.raw_decode(self._window, self.at)
            except json.JSONDecodeError as error:
                if len(self._window) - self.at > LONGEST_CELL or not self._more():
                    line = self.line_now() + self._window.count("\n", self.at, error.pos)
                    raise InvalidInput(f"line {line}: this is no JSON: {error.msg}.") from None
            except _NoJson as error:
                raise InvalidInput(f"line {self.line_now()}: {error}") from None
            except RecursionError:
                raise InvalidInput(f"line {self.line_now()}: it is nested too deeply.") from None
            else:
                return dict(found)

    def _more(self) -> bool:
        """Read on; what was dealt with is forgotten."""
        text = next(self._texts, None)
        if text is None:
            return False
        self._line = self.line_now()
        self._window, self.at = self._window[self.at :] + text, 0
        return True

    def line_now(self) -> int:
        """The line of what comes next."""
        return self._line + self._window.count("\n", 0, self.at)


class _NoJson(Exception):
    """What Python reads, and JSON has not."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for n, name in enumerate(names) if name in names[:n])
        raise _NoJson(f"an object has {twice!r} twice.")
    return found


def _refused(word: str) -> Any:
    raise _NoJson(f"{word} is no JSON number.")
