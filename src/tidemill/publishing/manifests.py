"""The manifest of a project: every package that it offers, with size and checksum; and, for who may download, links."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.accounts.people import Person
from tidemill.db.database import Row, fetch, fetch_one
from tidemill.errors import InvalidInput, NotFound
from tidemill.publishing import downloads
from tidemill.publishing.downloads import Signing
from tidemill.publishing.links import Link, curl_config

Per = Literal["project", "item", "all"]
MOST_LINKS = 200
"""Links that are made for one manifest; each is looked up in its store."""

COLUMNS = ("name", "size_in_bytes", "sha256", "updated_at")


@dataclass(frozen=True, slots=True)
class Listed:
    """One file of a manifest. `row`: `{id, name, package, size, sha256, updated_at, attributes}`."""

    row: Row
    link: Link | None = None

    def as_json(self) -> dict[str, Any]:
        """`url` only where there is a link."""
        row = self.row
        told = {"id": row["id"], "name": row["name"], "package": row["package"], "size_in_bytes": row["size"]}
        told |= {"sha256": row["sha256"], "updated_at": row["updated_at"]}
        return told | ({"url": self.link.url, "expires_at": self.link.expires_at} if self.link else {})


async def listed(
    session: AsyncSession, project: str, *, per: Per = "project", packages: Sequence[str] = ()
) -> list[Listed]:
    """What a project offers now, in order of name: its own packages, those of its items, or both. `packages`: only
    those of these declarations. Raises NotFound."""
    row = await fetch_one(session, "downloads.project", {"name": project})
    if row is None:
        raise NotFound(f"There is no {project!r} here.")
    params = {
        "project": row["id"],
        "per": None if per == "all" else per,
        "packages": list(packages) or None,
    }
    return [Listed(one) for one in await fetch(session, "downloads.manifest", params)]


async def linked(
    session: AsyncSession, site: Signing, files: Sequence[Listed], holder: Person | None, *, base: str
) -> list[Listed]:
    """The same with a link to each, counted as downloads. Raises InvalidInput for too many, and as `downloads.link`."""
    if len(files) > MOST_LINKS:
        raise InvalidInput(
            f"These are {len(files)} files; links are given for {MOST_LINKS} at a time.",
            hint="Name packages: ?package=NAME&package=NAME.",
        )
    return [Listed(one.row, await downloads.link(session, site, one.row["id"], holder, base=base)) for one in files]


def as_tsv(files: Iterable[Listed]) -> str:
    """A table: name, size in bytes, SHA-256, when these bytes were published, and the link where there is one."""
    files = list(files)
    links = any(one.link for one in files)
    lines = ["\t".join((*COLUMNS, "url") if links else COLUMNS)]
    for one in files:
        row = one.row
        cells = [_cell(row["name"]), str(row["size"]), row["sha256"], f"{row['updated_at']:%Y-%m-%dT%H:%M:%SZ}"]
        lines.append("\t".join([*cells, one.link.url] if links and one.link else cells))
    return "\n".join(lines) + "\n"


def as_sums(files: Iterable[Listed]) -> str:
    """For `sha256sum -c`."""
    return "".join(_sum_line(one.row["sha256"], one.row["name"]) for one in files)


def as_curl(files: Iterable[Listed]) -> str:
    """For `curl -K`: fetches all under the names that `as_sums` has, and goes on where it stopped."""
    head = "# curl -K this-file; the same again goes on where it stopped\nfail\nlocation\ncontinue-at = -\n"
    return head + "".join(curl_config(one.link.url, one.row["name"]) for one in files if one.link)


def _sum_line(sha256: str, name: str) -> str:
    """As GNU's sha256sum writes it: a name with a backslash or a line break is escaped, and marked so."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if escaped == name else chr(92)}{sha256}  {escaped}\n"


def _cell(text: str) -> str:
    return "".join(" " if one in "\t\r\n" else one for one in text)
