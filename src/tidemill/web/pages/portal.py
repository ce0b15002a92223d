"""The portal's first page, and all the portal's routes."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from tidemill.catalogue import browsing
from tidemill.catalogue.browsing import Query
from tidemill.domain.lookups import Filter, Lookup
from tidemill.domain.shop_window import Noun
from tidemill.web.pages import (
    portal_basket,
    portal_downloads,
    portal_gathering,
    portal_lists,
    portal_packages,
    portal_records,
    portal_terms,
)
from tidemill.web.pages.portal_door import TOP, enter, know, page, portal_of
from tidemill.web.rendering import site_of

NEWEST = 6
MOST_WHOLE = 10

router = APIRouter(prefix=TOP, dependencies=[Depends(know)])
router.include_router(portal_terms.router)


@router.get("", dependencies=[Depends(enter)])
async def home(request: Request) -> HTMLResponse:
    """Title, welcome, how much there is, a search, and what is newest."""
    async with site_of(request).database.begin() as session:
        window = await browsing.window(session)
        totals = await browsing.totals(session, window)
        projects = await portal_lists.newest(session, window, Noun.PROJECT, NEWEST)
        items = [] if projects else await portal_lists.newest(session, window, Noun.ITEM, NEWEST)
        query = Query(ordering=(("updated_at", True),), limit=NEWEST)
        made = await browsing.computed_files(session, window, query)
        whole = await browsing.computed_files(session, window, Query(_of_site(request), limit=MOST_WHOLE))
    return page(
        request,
        "portal_home.html",
        welcome=portal_of(request).welcome,
        totals=totals,
        cards=projects,
        items=items,
        made=portal_records.packages(request, made.rows, window),
        whole=portal_records.packages(request, whole.rows, window),
    )


def _of_site(request: Request) -> tuple[Filter, ...]:
    """Of computed files: those that are made of the whole site."""
    says = request.state.site_says
    names = tuple(one["name"] for one in (says.packages if says else ()) if one.get("per") == "site")
    return (Filter("package", "text", Lookup.IN, names),)


# The last one's paths fit everything.
for part in (portal_basket, portal_gathering, portal_downloads, portal_packages, portal_lists, portal_records):
    router.include_router(part.router, dependencies=[Depends(enter)])
