"""Browsing the catalogue: filters by declared field, exact counts, order, search, facets."""

from __future__ import annotations

from typing import Any

import pytest
from tests.portal_catalogue import lay

from tidemill.catalogue import browsing, field_index
from tidemill.db.database import Database
from tidemill.domain.shop_window import Noun
from tidemill.errors import InvalidFields, NotFound


@pytest.fixture(params=["items", "copy", "copy without tallies"])
async def shop(database: Database, request: pytest.FixtureRequest) -> Database:
    """The catalogue, looked up in the items themselves, and in the copy of their fields that large sites have."""
    await lay(database)
    if request.param != "items":
        await field_index.tend(database, least=0, most_values=100 if request.param == "copy" else 0)
    return database


async def names(database: Database, noun: Noun, query: str, **more: Any) -> list[str]:
    pairs = [tuple(part.split("=", 1)) for part in query.split("&") if part]
    async with database.begin() as session:
        shown = await browsing.window(session)
        asked = browsing.read_query(shown, noun, pairs, **more)  # type: ignore[arg-type]
        listing = {Noun.ITEM: browsing.items, Noun.PROJECT: browsing.projects}.get(noun, browsing.computed_files)
        found = await listing(session, shown, asked)  # type: ignore[operator]
    assert found.total >= len(found.rows)
    return [row["name"] for row in found.rows]


LOOKUPS = (
    ("", "S1 S2 S3 S4"),
    ("diagnosis=Ganglioglioma", "S1"),
    ("diagnosis__iexact=GANGLIOGLIOMA", "S1"),
    ("diagnosis__icontains=GANGLIO", "S1 S3"),
    ("diagnosis__contains=ganglio", "S3"),
    ("diagnosis__startswith=gang", "S3"),
    ("diagnosis__istartswith=gang", "S1 S3"),
    ("diagnosis__in=Neuroblastoma,Ganglioglioma", "S1 S2"),
    ("diagnosis__isnull=true", "S4"),
    ("diagnosis__gte=N", "S2 S3"),
    ("age=4", "S1 S4"),
    ("age__gt=4", "S2"),
    ("age__lte=40", "S1 S2 S4"),
    ("age__isnull=true", "S3"),
    ("age__in=4,40", "S1 S2 S4"),
    ("weight__lt=2", "S1"),
    ("is_xenograft=false", "S1"),
    ("is_xenograft__isnull=false", "S1 S2"),
    ("taken__gte=2024", "S1"),
    ("technologies=10Xv2", "S1"),
    ("technologies=spatial,10Xv2", "S1"),
    ("technologies__in=spatial,10Xv3", "S1 S2"),
    ("technologies__icontains=10x", "S1 S2"),
    ("technologies__isnull=true", "S4"),
    ("project__scpca_id=P2", "S2 S3"),
    ("project=P1&age=4", "S1"),
    ("project__pi__startswith=gr", "S1 S2 S3"),
    ("project__pi=green&project__title=Nerves", ""),
    ("scpca_id__in=S2,S4", "S2 S4"),
    ("created_at__gte=2020-01-01&status=good", "S1 S2 S3 S4"),
    ("diagnosis=%", ""),
)


async def test_items_by_every_lookup(shop: Database) -> None:
    for query, wanted in LOOKUPS:
        assert await names(shop, Noun.ITEM, query) == wanted.split(), query


FAULTS = (
    ("diagnosys=x", "Did you mean 'diagnosis'?"),
    ("colour=x", "There are: scpca_id"),
    ("age=four", "no whole number"),
    ("age__icontains=4", "it has exact, gt"),
    ("age__around=4", "There is no lookup 'around'"),
    ("is_xenograft=maybe", "neither true nor false"),
    ("created_at__gte=yesterday", "is no time"),
    ("age__isnull=", "neither"),
    ("diagnosis=\0", "NUL"),
)


async def test_what_cannot_be_asked_is_said(shop: Database) -> None:
    for query, fault in FAULTS:
        with pytest.raises(InvalidFields) as raised:
            await names(shop, Noun.ITEM, query)
        assert fault in str(raised.value.fields[query.split("=")[0]]), query


async def test_order_search_and_pages(shop: Database) -> None:
    assert await names(shop, Noun.ITEM, "", ordering="-age") == ["S2", "S4", "S1", "S3"]
    assert await names(shop, Noun.ITEM, "", ordering="diagnosis,-scpca_id", limit=2, offset=1) == ["S2", "S3"]
    assert await names(shop, Noun.ITEM, "", search="GANGLIO ana") == ["S3"]
    assert await names(shop, Noun.ITEM, "", search="spat") == ["S1"]
    assert await names(shop, Noun.PROJECT, "", search="brain") == ["P1"]
    with pytest.raises(InvalidFields, match="order by"):
        await names(shop, Noun.ITEM, "", ordering="colour")


async def test_projects_and_computed_files(shop: Database) -> None:
    assert await names(shop, Noun.PROJECT, "") == ["P1", "P2"]
    assert await names(shop, Noun.PROJECT, "diagnoses=Glioma") == ["P1"]
    assert await names(shop, Noun.PROJECT, "samples__age=40") == ["P2"]
    assert await names(shop, Noun.COMPUTED_FILE, "format=ONE") == ["S1_ONE.zip"]
    assert await names(shop, Noun.COMPUTED_FILE, "includes_merged=true") == ["P1_ALL.zip"]
    assert await names(shop, Noun.COMPUTED_FILE, "sample__scpca_id=S1") == ["S1_ONE.zip"]
    assert await names(shop, Noun.COMPUTED_FILE, "sample__scpca_id=S3") == []
    assert await names(shop, Noun.COMPUTED_FILE, "project__scpca_id=P1&size_in_bytes__gte=19") == [
        "P1_ALL.zip",
        "S1_ONE.zip",
    ]


async def test_one_of_each_and_facets(shop: Database) -> None:
    async with shop.begin() as session:
        shown = await browsing.window(session)
        item = await browsing.item(session, shown, "S1")
        assert [one["name"] for one in item["projects"]] == ["P1"]
        assert [(one["name"], one["items"]) for one in item["computed_files"]] == [("S1_ONE.zip", ["S1"])]
        project = await browsing.project(session, shown, "P1")
        assert project["item_names"] == ["S1", "S3"]
        assert [(one["name"], one["items"]) for one in project["computed_files"]] == [("P1_ALL.zip", None)]
        assert [row["name"] for row in await browsing.project_items(session, shown, "P2")] == ["S2", "S3"]
        for name in ("P1_ALL.zip", "S5", "nobody", "a\0b"):
            with pytest.raises(NotFound):
                await browsing.item(session, shown, name)
        with pytest.raises(NotFound):
            await browsing.project(session, shown, "P3")
        query = browsing.read_query(shown, Noun.ITEM, [("age", "4"), ("diagnosis", "Ganglioglioma")])
        facets = {one.name: one.values for one in await browsing.facets(session, shown, Noun.ITEM, query)}
        assert facets == {
            "diagnosis": [("Ganglioglioma", 1), (None, 1)],
            "is_xenograft": [(False, 1)],
            "technologies": [("10Xv2", 1), ("spatial", 1)],
        }
        assert (await browsing.options(session, shown, Noun.PROJECT, ["diagnoses"])) == {
            "diagnoses": ["Glioma", "Other"]
        }
        totals = await browsing.totals(session, shown)
        assert (totals["projects"], totals["items"], totals["computed_files"]) == (2, 4, 2)
