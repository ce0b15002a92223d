"""What a command says while it runs: its log, bounded, and the progress that it reports."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field

import orjson

from tidemill.executors.contract import Progress, Report

HEAD, TAIL = 12 * 1024, 44 * 1024
"""Characters of a long log that are kept of its start and of its end."""
LONGEST_LINE = 8 * 1024
"""Characters; a longer line is passed on in pieces."""

_SAID = re.compile(r"(?:progress|tidemill)\s*[:=]?\s*(\d{1,3}(?:\.\d+)?|\.\d+)\s*(%)?", re.IGNORECASE)
_BARE = re.compile(r"(\d{1,3}(?:\.\d+)?)\s*(%)")
_BAR = re.compile(r"(?:[^|]{0,60}:)?\s*(\d{1,3})(%)\|.*")
"""As tqdm draws it: ` 40%|████      | 4/10 [00:01<00:02]`."""
_PERHAPS = re.compile(r"%|^\s*(?:\{|progress|tidemill)", re.IGNORECASE | re.MULTILINE)
"""Found in every text that has a line of progress; looked for first, since most texts have none."""


def progress_of(line: str) -> Progress | None:
    """What a line of standard error says of progress, if that is all that it says.

    `progress: 0.4`, `progress: 40%`, `40%`, `{"progress": 0.4, "message": "…"}`, or a bar of tqdm. A number above 1
    is a percentage, as one with the sign is.
    """
    line = line.strip()
    if line.startswith("{"):
        return _from_json(line)
    match = _SAID.fullmatch(line) or _BARE.fullmatch(line) or _BAR.fullmatch(line)
    if match is None:
        return None
    return Progress(_share(float(match[1]), percent=match[2] is not None))


def _from_json(line: str) -> Progress | None:
    try:
        said = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    value = said.get("progress") if isinstance(said, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    message = said.get("message")
    return Progress(_share(float(value)), message if isinstance(message, str) else "")


def _share(value: float, percent: bool = False) -> float:
    return min(max(value / 100 if percent or value > 1 else value, 0.0), 1.0)


@dataclass(slots=True)
class Log:
    """Start and end of a text of any length."""

    _head: str = ""
    _tail: list[str] = field(default_factory=list)
    _length: int = 0
    _dropped: int = 0

    def add(self, text: str) -> None:
        room = HEAD - len(self._head)
        if room > 0:
            self._head, text = self._head + text[:room], text[room:]
        self._tail.append(text)
        self._length += len(text)
        if self._length > 4 * TAIL:
            self._cut()

    def text(self) -> str:
        if self._length > TAIL:
            self._cut()
        left_out = f"\n… {self._dropped:,} characters left out …\n" if self._dropped else ""
        return self._head + left_out + "".join(self._tail)

    def _cut(self) -> None:
        kept = "".join(self._tail)[-TAIL:]
        self._dropped += self._length - len(kept)
        self._tail, self._length = [kept], len(kept)


@dataclass(slots=True)
class Text:
    """Bytes as they come, as text up to the last whole line; what is no UTF-8 becomes the replacement character."""

    _decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")(errors="replace")
    )
    _rest: str = ""

    def feed(self, data: bytes, final: bool = False) -> str:
        """What is whole by now, with `\\n` after every line; a line that is too long comes in pieces."""
        text = self._rest + self._decoder.decode(data, final)
        ends_in_return = text.endswith("\r") and not final  # its \n may be still to come
        whole = (text[:-1] if ends_in_return else text).replace("\r\n", "\n").replace("\r", "\n")
        if not ends_in_return and final and whole and not whole.endswith("\n"):
            whole += "\n"
        at = whole.rfind("\n") + 1
        if len(whole) - at > LONGEST_LINE:
            whole, at = whole + "\n", len(whole) + 1
        self._rest = whole[at:] + ("\r" if ends_in_return else "")
        return whole[:at]


class Listener:
    """Hears both outputs of one command: keeps the log, passes it on, and tells progress.

    What comes on standard output and looks like JSON from its first character is the command's output perhaps, and is
    held back (`stdout`), up to `most` bytes.
    """

    def __init__(self, report: Report, most: int) -> None:
        self._report = report
        self._most = most
        self._log = Log()
        self._fraction = 0.0
        self._out, self._err = Text(), Text()
        self._held: bytearray | None = bytearray()
        self._last_out = self._last_err = ""

    @property
    def last_line(self) -> str:
        """The last line of standard error that says something, else of standard output."""
        return self._last_err or self._last_out

    @property
    def stdout(self) -> bytes:
        """What may be the output; empty where standard output was no JSON from its first character."""
        return bytes(self._held or b"")

    def hear_out(self, data: bytes) -> None:
        """Some bytes of standard output."""
        if self._held is not None:
            self._held += data
            start = bytes(self._held[:64].lstrip()[:1])
            if start in (b"", b"{") and len(self._held) <= self._most:
                return
            data, self._held = bytes(self._held), None
        self._said_out(self._out.feed(data))

    def hear_err(self, data: bytes) -> None:
        """Some bytes of standard error."""
        self._said_err(self._err.feed(data))

    def finish(self, used: bool) -> str:
        """The whole log; `used`: what was held back of standard output is the output, and no part of it."""
        if self._held and not used:
            self._said_out(self._out.feed(bytes(self._held)))
            self._held = None
        self._said_out(self._out.feed(b"", final=True))
        self._said_err(self._err.feed(b"", final=True))
        return self._log.text()

    def _said_out(self, text: str) -> None:
        self._last_out = _last_line(text) or self._last_out
        self._keep(text)

    def _said_err(self, text: str) -> None:
        if _PERHAPS.search(text):
            text = "".join(line + "\n" for line in text.split("\n")[:-1] if not self._is_progress(line))
        self._last_err = _last_line(text) or self._last_err
        self._keep(text)

    def _is_progress(self, line: str) -> bool:
        progress = progress_of(line)
        if progress is None:
            return False
        self._fraction = max(self._fraction, progress.fraction or 0.0)
        self._report(Progress(self._fraction, progress.message))
        if progress.message:
            self._keep(progress.message + "\n")
        return True

    def _keep(self, text: str) -> None:
        if text:
            self._log.add(text)
            self._report(Progress(log=text))


def _last_line(text: str) -> str:
    return text.rstrip()[-2000:].rpartition("\n")[2].strip()
