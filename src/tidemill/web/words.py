"""What a site calls itself and its nouns, for every page."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request
from sqlalchemy import select

from tidemill.db.database import Database
from tidemill.db.models import Site


@dataclass(frozen=True, slots=True)
class Words:
    """The site's title, and its words for an item and a project."""

    title: str = "Tidemill"
    item: str = "item"
    items: str = "items"
    project: str = "project"
    projects: str = "projects"
    packages: bool = False
    """Whether the site makes any."""


async def load_words(request: Request) -> None:
    """A dependency of all pages: reads the words as they are now. Raises DatabaseUnavailable."""
    async with request.app.state.site.database.begin() as session:
        site = await session.scalar(select(Site))
    request.state.site_says = site
    if site is not None:
        said = {noun: site.vocabulary.get(noun) or noun for noun in ("item", "items", "project", "projects")}
        request.state.words = Words(site.title or "Tidemill", **said, packages=bool(site.packages))


async def is_public(database: Database) -> bool:
    """Whether the site's catalogue can be read without a key. Raises DatabaseUnavailable."""
    async with database.begin() as session:
        portal = await session.scalar(select(Site.portal))
    return bool(portal and portal.get("public"))


def words_of(request: Request) -> Words:
    """What `load_words` has read; plain words where it has not, or where the site has none."""
    words: Words = getattr(request.state, "words", None) or Words()
    return words
