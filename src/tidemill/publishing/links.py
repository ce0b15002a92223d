"""Links that let somebody fetch one file for some days, and the names and lines that go with them.

On an object store they are the store's own (presigned), with a file name where the store can give one; for a folder
they lead to `/download/…` of this site and carry a signature over the file, the end, the token and the name.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import shlex
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal
from urllib.parse import quote

from tidemill.errors import AccessRefused

What = Literal["computed", "original"]
"""Of which table a file is."""

_LETTERS: dict[What, str] = {"computed": "", "original": "original-"}


@dataclass(frozen=True, slots=True)
class Link:
    """One file for one person, for some time."""

    url: str
    filename: str
    expires_at: dt.datetime
    size: int
    sha256: str
    """Hexadecimal; empty where it is not known (original files)."""

    @property
    def curl(self) -> str:
        """The line for a terminal that fetches it, and goes on where it stopped when it is said again."""
        return curl_line(self.url, self.filename)


@dataclass(frozen=True, slots=True)
class Seal:
    """What a link of ours says: file, end (seconds since 1970), whose token (0: nobody's), file name."""

    what: What
    id: int
    expires: int
    token: int
    filename: str


def dated(name: str, day: dt.date) -> str:
    """`atlas.zip` with the day: `atlas_2026-11-21.zip`."""
    path = PurePosixPath(name)
    return f"{path.stem}_{day:%Y-%m-%d}{path.suffix}"


def disposition(filename: str) -> str:
    """The Content-Disposition that saves a file under this name (RFC 6266)."""
    plain = "".join(c if " " <= c <= "~" and c not in '"\\%;' else "_" for c in filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


def curl_line(url: str, filename: str) -> str:
    """`curl -f -C - -o NAME URL` for a shell. Without `-f` the words of a refusal would end up in the file."""
    name = filename if not filename.startswith("-") else f"./{filename}"
    return f"curl -f -C - -o {shlex.quote(name)} {_quoted(url)}"


def curl_config(url: str, filename: str) -> str:
    """The same as two lines of a file for `curl -K`."""
    return f"url = {_config(url)}\noutput = {_config(filename)}\n"


def path_of(key: bytes, seal: Seal) -> str:
    """The path of a link of ours. `key`: the site's, for downloads."""
    middle = f"{seal.expires}-{seal.token}-{_signature(key, seal)}"
    return f"/download/{_LETTERS[seal.what]}{seal.id}/{middle}/{quote(seal.filename, safe='')}"


def opened(key: bytes, file: str, middle: str, filename: str) -> Seal:
    """What a link says, if it is one that we gave. Raises AccessRefused for any other, whatever is wrong with it."""
    forged = AccessRefused("This link is not one that this site gave.", hint="Copy all of it, or ask for another.")
    what: What = "original" if file.startswith(_LETTERS["original"]) else "computed"
    number = file.removeprefix(_LETTERS[what])
    parts = middle.split("-", 2)
    if len(parts) != 3 or not all(_is_number(word) for word in (number, *parts[:2])):
        raise forged
    seal = Seal(what, int(number), int(parts[0]), int(parts[1]), filename)
    if not hmac.compare_digest(_signature(key, seal).encode(), parts[2].encode("utf-8", "replace")):
        raise forged
    return seal


def repr_digest(sha256: str) -> dict[str, str]:
    """A file's SHA-256 as headers: `Repr-Digest` (RFC 9530), and `Digest` (RFC 3230) for clients that know no other."""
    value = base64.b64encode(bytes.fromhex(sha256)).decode()
    return {"repr-digest": f"sha-256=:{value}:", "digest": f"sha-256={value}"}


def _signature(key: bytes, seal: Seal) -> str:
    said = "\n".join([seal.what, str(seal.id), str(seal.expires), str(seal.token), seal.filename])
    made = hmac.new(key, said.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(made[:24]).decode()


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) < 19 and str(int(word)) == word


def _quoted(url: str) -> str:
    return "'" + url.replace("'", "%27") + "'"


def _config(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else "_" for c in escaped) + '"'
