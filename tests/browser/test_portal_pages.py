"""The portal's pages, as researchers use them: browse, narrow down, accept the terms, download."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect
from sqlalchemy import text

from tests.browser.conftest import Place, Visit
from tests.browser.shelves import SAYS, add_package, fill
from tests.browser.test_every_page import AUDIT, CLEAN
from tests.packaging import Portal
from tidemill.accounts import people
from tidemill.db.models import Item, Project, ProjectItem

EMAIL = "ada@example.org"


@pytest_asyncio.fixture(loop_scope="session")
async def shelves(place: Place, tmp_path: Path) -> Path:
    """A public portal of two projects with three samples each; the folder that their packages lie in."""
    await fill(place.site.database, tmp_path / "packages")
    return tmp_path / "packages"


Stroll = Any


@pytest.fixture
def stroll(visit: Visit, place: Place) -> Stroll:
    """Opens a page of the portal in a new window, with no key of any kind."""

    async def go(path: str, **options: Any) -> Page:
        page = await visit("/portal", **options)
        await page.context.clear_cookies()
        await page.goto(place.url + path)
        return page

    return go


async def accept(page: Page, place: Place, then: str = "/portal") -> str:
    """Accept the terms on this window; the key that is shown."""
    await page.goto(f"{place.url}/portal/terms?then={then}")
    await page.get_by_label("Your e-mail address").fill(EMAIL)
    await page.get_by_label("I have read these terms").check()
    await page.get_by_role("button", name="Accept and get a key").click()
    return (await page.locator("#key").inner_text()).strip()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
async def test_every_page_is_labelled_and_fits(
    place: Place, stroll: Stroll, shelves: Path, width: int, scheme: str
) -> None:
    page = await stroll("/portal", color_scheme=scheme)
    await page.set_viewport_size({"width": width, "height": 800})
    elsewhere: list[str] = []
    page.on("request", lambda asked: None if asked.url.startswith(place.url) else elsewhere.append(asked.url))
    for path in (
        "", "/projects", "/samples", "/samples?diagnosis=Glioma&sex=Male&search=x", "/search?search=glioma",
        "/projects/SCPCP000001", "/samples/SCPCS000001", "/terms",
    ):  # fmt: skip
        answer = await page.goto(f"{place.url}/portal{path}")
        assert answer is not None
        assert answer.status == 200, path
        found = await page.evaluate(AUDIT)
        assert found.pop("lang") == "en"
        assert SAYS["title"] in found.pop("title")
        assert found.pop("headings") == 1, path
        assert found == CLEAN, path
    assert elsewhere == []


async def test_the_first_page_says_what_there_is(stroll: Stroll, shelves: Path) -> None:
    page = await stroll("/portal")
    await expect(page.get_by_role("heading", level=1)).to_have_text(SAYS["title"])
    await expect(page.locator(".welcome strong")).to_have_text("single-cell profiles")
    figures = page.locator(".figures > div")
    assert [" ".join((await one.inner_text()).split()) for one in await figures.all()] == [
        "Projects 2", "Samples 6", "Packages to download 8", "In all of them 496 kB",
    ]  # fmt: skip
    assert await page.get_by_role("link", name=re.compile("Runs|Apps|Operators")).count() == 0
    await page.get_by_label("Search projects and samples").fill("glioma")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("glioma")
    await expect(page.get_by_role("link", name="SCPCS000001")).to_be_visible()


@pytest.mark.parametrize("scripts", [True, False])
async def test_facets_narrow_a_list_with_true_counts(stroll: Stroll, shelves: Path, scripts: bool) -> None:
    page = await stroll("/portal/samples", java_script_enabled=scripts)
    if scripts:
        await page.evaluate("window.unbroken = true")
    await expect(page.locator(".found b")).to_have_text("6")
    await page.get_by_role("link", name="Female").click()
    await expect(page.locator(".found b")).to_have_text("2")
    await expect(page).to_have_url(re.compile(r"\?sex=Female$"))
    await page.get_by_role("link", name="Male", exact=True).or_(page.get_by_role("link", name="Male 2")).first.click()
    await expect(page.locator(".found b")).to_have_text("4")
    glioma = page.get_by_role("link", name="Glioma 1", exact=True)
    await expect(glioma.locator(".number")).to_have_text("1")
    await glioma.click()
    await expect(page.locator(".found b")).to_have_text("1")
    await expect(page.locator("tbody tr")).to_have_count(1)
    if scripts:
        assert await page.evaluate("window.unbroken === true")
        await page.go_back()
        await expect(page.locator(".found b")).to_have_text("4")
        await page.go_back()
    else:
        await page.get_by_role("link", name="Diagnosis Glioma").click()
        await page.get_by_role("link", name="Sex Male").click()
    await expect(page.locator(".found b")).to_have_text("2")
    await expect(page.locator(".narrow a[aria-current]")).to_have_count(1)


async def test_search_as_it_is_typed_and_sorted_columns(stroll: Stroll, shelves: Path) -> None:
    page = await stroll("/portal/samples")
    await page.keyboard.press("/")
    await page.keyboard.type("adrenal left")
    await expect(page.locator(".found b")).to_have_text("2")
    await expect(page.locator("#search")).to_be_focused()
    await expect(page).to_have_url(re.compile(r"search=adrenal(\+|%20)left\b"))
    await page.get_by_role("link", name="Neuroblastoma 1", exact=True).click()
    await expect(page.locator(".found b")).to_have_text("1")
    await expect(page).to_have_url(re.compile(r"search=adrenal(\+|%20)left"))
    await page.goto(page.url.partition("?")[0])
    header = page.get_by_role("columnheader", name="Age", exact=True)
    await page.get_by_role("link", name="Age").click()
    await expect(header).to_have_attribute("aria-sort", "ascending")
    await page.get_by_role("link", name="Age").click()
    await expect(header).to_have_attribute("aria-sort", "descending")
    await expect(page.locator("tbody tr").first).to_contain_text("2.5")
    await page.get_by_label("Order").select_option("Newest first")
    await expect(page.locator(".found b")).to_have_text("6")
    await expect(page).to_have_url(re.compile("sort=-created_at"))


async def test_filters_are_chosen_by_keyboard(stroll: Stroll, shelves: Path) -> None:
    page = await stroll("/portal/samples")
    await page.get_by_role("link", name="Glioma 2", exact=True).focus()
    await page.keyboard.press("Enter")
    await expect(page.locator(".found b")).to_have_text("2")
    await expect(page.get_by_role("link", name="Glioma (chosen; take it off)")).to_be_focused()
    await expect(page.locator("#heard")).to_contain_text("2 samples")
    await page.keyboard.press("Enter")
    await expect(page.locator(".found b")).to_have_text("6")
    await page.goto(page.url)
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()


async def test_a_span_of_numbers(stroll: Stroll, shelves: Path) -> None:
    page = await stroll("/portal/samples?sex=Female", allow="422")
    await page.get_by_label("Age from").fill("2")
    await page.get_by_role("button", name="Show Age in this span").click()
    await expect(page.get_by_role("heading", name="No sample is all of this at once")).to_be_visible()
    await expect(page.locator(".looser li")).to_have_count(2)
    await page.get_by_role("link", name="without Sex: Female").click()
    await expect(page.locator(".found b")).to_have_text("2")
    await page.goto(page.url.partition("?")[0] + "?age__gte=old")
    await expect(page.get_by_role("alert")).to_contain_text("'old' is no number.")


async def test_an_unknown_filter_is_said(visit: Visit, stroll: Stroll, shelves: Path) -> None:
    page = await stroll("/portal/samples?colour=red", allow="422")
    await expect(page.get_by_role("alert")).to_contain_text("There is no filter 'colour'")


async def test_terms_give_a_key_that_is_shown_once_and_downloads_work(
    place: Place, stroll: Stroll, shelves: Path
) -> None:
    page = await stroll("/portal/projects/SCPCP000001", allow="422")
    await page.get_by_role("link", name="Download SCPCP000001_SINGLE-CELL.zip").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Terms of use")
    await expect(page.get_by_text("Use the data for research")).to_be_visible()
    await page.get_by_role("button", name="Accept and get a key").click()
    await expect(page.get_by_role("alert")).to_contain_text("Tick this to go on")
    await page.get_by_label("I have read these terms").check()
    await page.get_by_label("Your e-mail address").fill("ada")
    await page.get_by_role("button", name="Accept and get a key").click()
    await expect(page.get_by_role("alert")).to_have_text("Enter a valid email address.")
    await page.get_by_label("I have read these terms").check()
    await page.get_by_label("Your e-mail address").fill(EMAIL)
    await page.get_by_role("button", name="Accept and get a key").click()
    key = (await page.locator("#key").inner_text()).strip()
    assert key not in page.url
    async with place.site.database.begin() as session:
        person = await people.holder(session, key)
    assert person is not None
    assert (person.email, person.terms) == (EMAIL, "2026-11")
    cookie = next(one for one in await page.context.cookies() if one.get("value") == key)
    assert (cookie.get("httpOnly"), cookie.get("sameSite"), cookie.get("path")) == (True, "Lax", "/portal")
    async with page.expect_download() as begun:
        await page.get_by_role("link", name="Go on to what you wanted").click()
    got = await (await begun.value).path()
    assert got.read_bytes() == (shelves / "SCPCP000001_SINGLE-CELL.zip").read_bytes()
    await page.reload()
    assert key not in await page.content()
    await expect(page.get_by_text(EMAIL)).to_be_visible()
    async with place.site.database.begin() as session:
        taken = (await session.execute(text("select terms, token_id from download"))).all()
    assert [tuple(row) for row in taken] == [("2026-11", person.id)]


@pytest.mark.parametrize("scripts", [True, False])
async def test_the_curl_line_on_demand(place: Place, stroll: Stroll, shelves: Path, scripts: bool) -> None:
    page = await stroll("/portal", java_script_enabled=scripts)
    await accept(page, place)
    await page.goto(f"{place.url}/portal/samples/SCPCS000001")
    await page.get_by_role("button", name="A line for the terminal").click()
    line = page.locator("#curl pre, [id^=curl-] pre").first
    await expect(line).to_contain_text("curl -f -C - -o SCPCS000001_SINGLE-CELL_")
    await expect(line).to_contain_text(f"{place.url}/download/")


async def test_new_terms_are_asked_again(place: Place, stroll: Stroll, shelves: Path) -> None:
    page = await stroll("/portal")
    key = await accept(page, place)
    async with place.site.database.begin() as session:
        await session.execute(text("insert into terms (version, body) values ('2027-01', 'New ones.')"))
        newer = '{"terms": {"version": "2027-01", "text": "New ones."}}'
        await session.execute(text("update site set portal = portal || cast(:newer as jsonb)"), {"newer": newer})
    await page.goto(f"{place.url}/portal/samples/SCPCS000001")
    await page.get_by_role("link", name="Download SCPCS000001").click()
    await expect(page.get_by_role("alert")).to_contain_text("The terms have changed.")
    await expect(page.get_by_text("New ones.")).to_be_visible()
    await page.get_by_label("I have read these terms").check()
    async with page.expect_download():
        await page.get_by_role("button", name="Accept", exact=True).click()
    await expect(page.get_by_role("status").first).to_contain_text("Thank you. Your download begins.")
    await expect(page.get_by_label("I have read these terms")).to_have_count(0)
    async with place.site.database.begin() as session:
        person = await people.holder(session, key)
    assert person is not None
    assert person.terms == "2027-01"


async def test_a_key_is_forgotten_brought_again_and_ended(place: Place, stroll: Stroll, shelves: Path) -> None:
    page = await stroll("/portal", allow="403")
    key = await accept(page, place)
    await page.get_by_role("button", name="Forget it here").click()
    await expect(page.get_by_role("status").first).to_contain_text("forgotten your key")
    await page.get_by_label("Your key").fill("tm_nonsense")
    await page.get_by_role("button", name="Use this key in this browser").click()
    await expect(page.get_by_role("alert")).to_contain_text("This key is not good")
    await page.get_by_label("Your key").fill(key)
    await page.get_by_role("button", name="Use this key in this browser").click()
    await page.goto(f"{place.url}/portal/key")
    await page.get_by_text("End this key…").click()
    await page.get_by_role("button", name="End this key for good").click()
    await expect(page.get_by_role("status").first).to_contain_text("Your key has ended")
    async with place.site.database.begin() as session:
        assert await people.holder(session, key) is None


async def test_metadata_is_text_whatever_it_looks_like(place: Place, stroll: Stroll, shelves: Path) -> None:
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    name = 'it\'s "quoted" <b>/?#&é'
    async with place.site.database.begin() as session:
        project = Project(name=f"P {name}", title=evil)
        project.details = {
            "pi_name": evil, "abstract": "word " * 2000, "homepage": "javascript:alert(3)",
            "diagnoses": [evil, "x" * 10_000], "contacts": [{"<i>who</i>": evil, "url": "data:text/html,hi"}],
            "stray": "\u202egnp.exe", "odd": {"a": [evil]},
        }  # fmt: skip
        item = Item(name=name, details={"diagnosis": evil, "tissue_location": "y" * 10_000, "sex": "\u202eelameF"})
        session.add_all([project, item])
        await session.flush()
        session.add(ProjectItem(project_id=project.id, item_id=item.id))
        await add_package(session, shelves, "sample-cells", "odd \u202epiz.exe.zip", project.id, [item.id])
    page = await stroll("/portal/projects")
    await page.set_viewport_size({"width": 390, "height": 800})
    page.on("dialog", lambda dialog: pytest.fail(f"ran: {dialog.message}"))
    await page.locator(".card h2 a", has_text=evil).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(evil)
    await expect(page.get_by_text("javascript:alert(3)")).to_be_visible()
    assert await page.locator("main a[href^='javascript'], main a[href^='data'], main img, main script").count() == 0
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await page.get_by_role("link", name=name).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(name)
    await expect(page.locator(".package h3")).to_have_text("odd \ufffdpiz.exe.zip")
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await page.locator("dl").get_by_role("link", name=evil).click()
    await expect(page.get_by_role("alert").or_(page.locator(".found"))).to_be_visible()
    await expect(page.locator(".found b")).to_have_text("1")


async def test_locked_and_empty_projects_say_so(place: Place, stroll: Stroll, shelves: Path) -> None:
    async with place.site.database.begin() as session:
        session.add(Project(name="EMPTY", title="Still to come"))
        await session.execute(text("update project set locked = true where name = 'SCPCP000001'"))
    page = await stroll("/portal/projects/EMPTY")
    await expect(page.get_by_text("There is nothing in this project yet.")).to_be_visible()
    await page.goto(f"{place.url}/portal/projects/SCPCP000001")
    await expect(page.get_by_text("This project is locked.")).to_be_visible()


async def test_a_catalogue_that_is_not_public_says_how_to_get_in(
    place: Place, visit: Visit, stroll: Stroll, shelves: Path
) -> None:
    async with place.site.database.begin() as session:
        await session.execute(text("update site set portal = portal || '{\"public\": false}'"))
        key, _ = await people.join(session, EMAIL, True)
    page = await stroll("/portal/projects/SCPCP000001", allow="40")
    await expect(page.get_by_role("heading", name="How to get in")).to_be_visible()
    assert "neuroblastoma" not in (await page.content()).lower()
    await page.goto(f"{place.url}/portal/terms")
    await expect(page.get_by_label("Your e-mail address")).to_have_count(0)
    await page.get_by_label("Your key").fill(key)
    await page.get_by_role("button", name="Use this key in this browser").click()
    await page.goto(f"{place.url}/portal/projects")
    await expect(page.locator(".card")).to_have_count(2)
    operators = await visit("/portal")
    await operators.get_by_role("link", name="Operators’ pages").click()
    await operators.get_by_role("link", name="Portal").click()
    await expect(operators.get_by_role("heading", level=1)).to_have_text(SAYS["title"])


async def test_the_front_door_leads_to_the_portal(place: Place, stroll: Stroll, shelves: Path) -> None:
    page = await stroll("/", allow="401")
    await expect(page).to_have_url(f"{place.url}/portal")
    assert (await page.request.get(f"{place.url}/runs")).status == 401
    async with place.site.database.begin() as session:
        await session.execute(text("update site set portal = portal || '{\"public\": false}'"))
    await page.goto(f"{place.url}/")
    await expect(page.get_by_role("heading", level=1)).to_have_text("This site needs its key.")


async def test_another_sites_page_cannot_act_or_download(place: Place, stroll: Stroll, shelves: Path) -> None:
    page = await stroll("/portal")
    await accept(page, place)
    sent = await page.request.post(f"{place.url}/portal/key/revoke", headers={"origin": "https://evil.example"})
    assert sent.status == 403
    assert (await page.request.post(f"{place.url}/portal/terms", form={"email": EMAIL})).status == 403
    asked = await page.request.get(
        f"{place.url}/portal/computed-files/1/download", headers={"sec-fetch-site": "cross-site"}
    )
    assert "Another site’s page sent you here" in await asked.text()
    async with place.site.database.begin() as session:
        assert (await session.execute(text("select count(*) from download"))).scalar() == 0


async def test_a_dataset_is_gathered_built_live_and_downloaded(
    place: Place, stroll: Stroll, shelves: Path, tmp_path: Path
) -> None:
    page = await stroll("/portal/samples/SCPCS000001")
    await page.get_by_role("button", name="Put into the basket").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Terms of use")
    await accept(page, place, "/portal/samples/SCPCS000001")
    await page.get_by_role("link", name="Go on to what you wanted").click()
    await page.get_by_role("button", name="Put into the basket").click()
    await expect(page.get_by_role("status").first).to_contain_text("It is in your basket now: 1 thing in all.")
    await expect(page.get_by_role("link", name="Basket 1")).to_be_visible()
    await page.goto(f"{place.url}/portal/projects/SCPCP000002")
    await page.get_by_role("button", name="Put into the basket").click()
    await page.get_by_role("link", name="Basket 4").click()
    total = page.locator(".total")
    await expect(page.get_by_role("heading", level=3)).to_have_count(2)
    whole = await total.inner_text()
    await page.get_by_role("button", name="Take SCPCS000005 out").click()
    await expect(total).not_to_have_text(whole)
    assert await page.evaluate(AUDIT) == CLEAN | {
        "lang": "en", "title": f"Your basket · {SAYS['title']}", "headings": 1,
    }  # fmt: skip
    await page.get_by_role("button", name="Build this dataset").click()
    dataset = page.locator(".package", has=page.get_by_role("progressbar"))
    await expect(dataset).to_contain_text("being built")
    await page.evaluate("window.unbroken = true")
    portal = Portal(place.site.database, place.site.documents, tmp_path)
    async with portal.working():
        await portal.until("select not exists (select from run where state = 'active')")
    await portal.register()
    await expect(page.locator("#datasets")).to_contain_text("ready")
    assert await page.evaluate("window.unbroken === true")
    await page.get_by_role("link", name="files in it").click()
    await expect(page.locator(".members tbody tr")).to_have_count(7)
    await page.goto(f"{page.url}?search=5_PROCESSED")
    await expect(page.locator(".found")).to_contain_text("0 have")
    await page.goto(f"{page.url.partition('?')[0]}?search=6_PROCESSED")
    await expect(page.locator(".members tbody tr")).to_have_count(1)
    await page.goto(f"{place.url}/portal/basket")
    async with page.expect_download() as begun:
        await page.get_by_role("link", name="Download dataset-").click()
    with zipfile.ZipFile(await (await begun.value).path()) as archive:
        assert archive.testzip() is None
        cells = sorted(name.rpartition("/")[2] for name in archive.namelist() if name.endswith(".h5ad"))
    samples = ("SCPCS000001", "SCPCS000004", "SCPCS000006")
    assert cells == [f"{one}_{stage}_rna.h5ad" for one in samples for stage in ("filtered", "processed")]
    await page.get_by_role("button", name="Forget this dataset").click()
    await expect(page.get_by_role("heading", name="Nothing is in it")).to_be_visible()


async def test_a_basket_belongs_to_its_key(place: Place, stroll: Stroll, shelves: Path) -> None:
    page, other = await stroll("/portal"), await stroll("/portal", allow="404")
    await accept(page, place)
    await accept(other, place)
    await page.goto(f"{place.url}/portal/samples/SCPCS000001")
    await page.get_by_role("button", name="Put into the basket").click()
    await page.goto(f"{place.url}/portal/basket")
    number = await page.locator("form[action='/portal/basket/start'] [name=id]").input_value()
    await other.goto(f"{place.url}/portal/basket")
    await expect(other.get_by_role("heading", name="Nothing is in it")).to_be_visible()
    for what in ("start", "forget"):
        sent = await other.request.post(
            f"{place.url}/portal/basket/{what}", form={"id": number}, headers={"origin": place.url}
        )
        assert sent.status == 404
    await page.get_by_role("button", name="Take SCPCS000001 out").click()
    await expect(page.get_by_role("status").first).to_contain_text("Your basket is empty.")


async def test_what_cannot_be_gathered_is_said(place: Place, stroll: Stroll, shelves: Path) -> None:
    page = await stroll("/portal")
    await accept(page, place)
    await page.goto(f"{place.url}/portal/samples/SCPCS000001")
    async with place.site.database.begin() as session:
        await session.execute(text("update project set locked = true"))
    await page.get_by_role("button", name="Put into the basket").click()
    await expect(page.get_by_role("alert")).to_contain_text("is locked; nothing of it can be had now")


async def test_what_was_done_to_an_item_is_told(place: Place, visit: Visit, stroll: Stroll) -> None:
    def same(document: dict[str, Any], _: dict[str, Any]) -> dict[str, Any]:
        return document

    functions = {"same": same}
    run = await place.mill.start(items=1, steps=["copy", "filter"], functions=functions, use=["same", "same"])
    await place.mill.work(functions, until=place.mill.finished(run))
    page = await visit("/portal/items")
    await page.get_by_role("link", name="item-0").click()
    steps = page.locator(".steps li")
    await expect(steps).to_have_count(2)
    await expect(steps.first).to_contain_text("copy")
    await expect(steps.first).to_contain_text("same 1")
    assert await page.get_by_text("python:same").count() == 0, "how an app is reached is for its operators"


async def test_a_site_that_says_nothing_of_itself(place: Place, visit: Visit, stroll: Stroll) -> None:
    page = await visit("/portal")
    await expect(page.get_by_role("heading", name="Nothing is here yet")).to_be_visible()
    await page.get_by_role("link", name="Items", exact=True).first.click()
    await expect(page.get_by_role("heading", name="There are no items here yet")).to_be_visible()
    closed = await stroll("/portal", allow="401")
    await expect(closed.get_by_role("heading", name="How to get in")).to_be_visible()


@pytest.mark.parametrize("scripts", [True, False])
async def test_long_lists_come_in_pages(place: Place, stroll: Stroll, shelves: Path, scripts: bool) -> None:
    async with place.site.database.begin() as session:
        many = "insert into item (name) select 'more-' || lpad(n::text, 3, '0') from generate_series(1, 100) n"
        await session.execute(text(many))
    page = await stroll("/portal/samples?search=more", java_script_enabled=scripts)
    await expect(page.locator(".found")).to_contain_text("1 to 50 are shown")
    await page.get_by_role("link", name="Next").click()
    await expect(page.locator(".found")).to_contain_text("51 to 100 are shown")
    await expect(page.locator("tbody tr").first).to_contain_text("more-051")
    await expect(page).to_have_url(re.compile(r"\?search=more&page=2$"))
    assert await page.get_by_role("link", name="Next").count() == 0
    await page.goto(f"{place.url}/portal/samples?search=more&page=7")
    await expect(page.get_by_text("There is no page 7.")).to_be_visible()
    await page.get_by_role("link", name="Previous").click()
    await expect(page.locator(".found")).to_contain_text("51 to 100 are shown")


async def test_an_operator_downloads_without_terms(place: Place, visit: Visit, shelves: Path) -> None:
    page = await visit("/portal/samples/SCPCS000001")
    async with page.expect_download() as begun:
        await page.get_by_role("link", name="Download SCPCS000001").click()
    assert (await begun.value).suggested_filename.startswith("SCPCS000001_SINGLE-CELL_2")
    await page.get_by_role("button", name="Put into the basket").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Terms of use")
