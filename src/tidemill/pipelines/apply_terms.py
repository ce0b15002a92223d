"""Keeping the terms that a site file names: each version once, with the text that people accepted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from tidemill.db.database import fetch, fetch_one
from tidemill.pipelines.portal_check import portal_values
from tidemill.pipelines.site_file import SiteFile


async def terms_faults(session: AsyncSession, site_file: SiteFile) -> list[str]:
    """What is wrong with the terms, knowing those that were kept: another text under the same version."""
    values = portal_values(site_file.content, site_file.path.absolute().parent)
    terms = values["portal"].get("terms")
    if terms is None:
        return []
    kept = await fetch_one(session, "people.kept", {"version": terms["version"]})
    if kept is None or kept["body"] == terms["text"]:
        return []
    said = (
        f"the terms of version {terms['version']!r} are on record with another text, which people may have accepted; "
        "raise the version, and everyone is asked to accept the new one."
    )
    return [site_file.at(("portal", "terms", "version"), said)]


async def keep_terms(session: AsyncSession, portal: Mapping[str, Any]) -> None:
    """Keep the terms of a site's portal, if it has some, so that they can be accepted."""
    if (terms := portal.get("terms")) is not None:
        await fetch(session, "people.publish", {"version": terms["version"], "body": terms["text"]})
