"""What a portal's visitors meet whose names, words and numbers are not plain ones."""

from __future__ import annotations

import html
from urllib.parse import quote

import httpx2
import pytest
from sqlalchemy import text
from tests.webserver import Web

from tidemill.db.database import Database

pytestmark = pytest.mark.usefixtures("laid")


async def test_a_citation_leads_to_the_project(database: Database, web: Web, nobody: httpx2.AsyncClient) -> None:
    name = "Hirn 1/2? 50%41"
    async with database.begin() as session:
        await session.execute(text("update project set name = :name where name = 'P1'"), {"name": name})
    address = f"{web.url}/portal/projects/{quote(name, safe='')}"
    page = await nobody.get(address)
    assert page.status_code == 200
    assert f"{address}. Retrieved" in html.unescape(page.text)


NUMBERS = ("0", "-1", "99", "9" * 18, str(2**63), "9" * 5000, "\u0661", "two")
PLACES = (
    "/v1/computed-files/{}", "/v1/computed-files/{}/members", "/portal/computed-files/{}",
    "/portal/computed-files/{}/download", "/portal/files/{}/download", "/computed-files/{}",
    "/computed-files/{}/download",
    "/api/computed-files/{}", "/api/computed-files/{}/members",
)  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
async def test_numbers_that_no_record_has(web: Web, place: str) -> None:
    for number in NUMBERS:
        answer = await web.client.get(place.format(quote(number)))
        assert answer.status_code in (404, 422), (number[:40], answer.text[:500])
