"""What clients of the portal's doors may count on besides the answers: HEAD, OPTIONS, and who may act there."""

from __future__ import annotations

import httpx2
import pytest
from sqlalchemy import text
from tests.portal import key_for
from tests.portal_catalogue import BODY
from tests.webserver import Web, client_of

from tidemill.accounts import tokens
from tidemill.db.database import Database
from tidemill.domain.roles import Role

pytestmark = pytest.mark.usefixtures("laid")


async def downloads(database: Database) -> int:
    async with database.begin() as session:
        return int((await session.execute(text("select count(*) from download"))).scalar_one())


PAGES = (
    "/v1/", "/v1/samples", "/v1/samples/?diagnosis=Ganglioglioma", "/v1/samples/S1", "/v1/samples/none",
    "/v1/stats", "/v1/schema", "/v1/docs", "/v1/computed-files/1", "/portal", "/portal/samples",
    "/portal/samples/S1",
    "/portal/projects/P1", "/portal/none", "/portal/terms",
    "/portal/computed-files/1/download", "/static/portal.css",
)  # fmt: skip


async def test_head_is_get_without_the_body(nobody: httpx2.AsyncClient) -> None:
    for path in PAGES:
        head, get = await nobody.head(path), await nobody.get(path)
        assert (head.status_code, head.content) == (get.status_code, b""), path
        for name in ("content-type", "location", "vary", "content-security-policy"):
            assert head.headers.get(name) == get.headers.get(name), (path, name)
        # A page that says how long ago something was may be a letter longer the second time.
        lengths = head.headers.get("content-length"), get.headers.get("content-length")
        assert lengths[0] == lengths[1] or (path.startswith("/portal") and None not in lengths), path


async def test_head_of_a_download_tells_its_size_and_counts_nothing(
    database: Database, nobody: httpx2.AsyncClient
) -> None:
    key = {"API-KEY": await key_for(database)}
    head = await nobody.head("/v1/computed-files/2", headers=key)
    assert head.status_code == 200
    assert (await nobody.head("/v1/computed-files/2", headers={"API-KEY": "bad"})).status_code == 403
    assert (await nobody.head("/v1/projects/P1/manifest?format=curl", headers=key)).status_code == 200
    assert await downloads(database) == 0
    link = (await nobody.get("/v1/computed-files/2", headers=key)).json()["download_url"]
    head = await nobody.head(link)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(BODY)), b"")
    assert await downloads(database) == 1


async def test_operators_look_without_being_counted_too(database: Database, web: Web) -> None:
    for method, counted in (("HEAD", 0), ("GET", 1)):
        answer = await web.client.request(method, "/computed-files/2/download")
        assert (answer.status_code, await downloads(database)) == (303, counted)


METHODS = {
    "/v1/": "GET, HEAD, OPTIONS",
    "/v1/samples": "GET, HEAD, OPTIONS",
    "/v1/projects/P1/": "GET, HEAD, OPTIONS",
    "/v1/tokens/": "POST, OPTIONS",
    "/v1/tokens/some": "GET, PUT, PATCH, DELETE, HEAD, OPTIONS",
    "/v1/datasets": "GET, POST, HEAD, OPTIONS",
}


async def test_options_tells_what_can_be_asked(nobody: httpx2.AsyncClient) -> None:
    for path, methods in METHODS.items():
        answer = await nobody.options(path)
        assert (answer.status_code, answer.headers["allow"]) == (200, methods), path
        assert answer.json()["renders"] == ["application/json"]


async def test_a_readers_token_reads_the_portal_and_takes_the_terms_as_anybody(database: Database, web: Web) -> None:
    async with database.begin() as session:
        reader = (await tokens.create(session, "look", Role.READER))[0]
    async with httpx2.AsyncClient(
        base_url=web.url, follow_redirects=True, headers={"Origin": web.url}, timeout=60
    ) as browser:
        assert (await browser.get(f"/portal?key={reader}")).status_code == 200
        form = {"email": "ada@example.org", "accept": "yes", "version": "2026-1"}
        page = await browser.post("/portal/terms", data=form)
        assert page.status_code == 200
        assert "Your key, shown this once" in page.text
        page = await browser.post("/portal/basket/add", data={"project": "P1", "item": "S1", "part": "SINGLE_CELL"})
        assert (page.status_code, page.url.path) == (200, "/portal/basket")
        assert (await browser.post("/runs/1/cancel")).status_code == 403


async def test_a_persons_key_in_the_address_is_their_own_on_the_portal(database: Database, web: Web) -> None:
    key = await key_for(database)
    async with client_of(web.url, follow_redirects=True) as browser:
        page = await browser.get(f"/portal/key?key={key}")
        assert "a@b.org" in page.text
        answer = await browser.get("/portal/computed-files/2/download")
        assert (answer.status_code, answer.content) == (200, BODY)


async def test_a_link_that_is_not_good_is_told_as_who_asks_reads_it(nobody: httpx2.AsyncClient) -> None:
    said = "This link is not one that this site gave."
    plain = await nobody.get("/download/c1/nonsense/S1_ONE.zip")
    page = await nobody.get("/download/c1/nonsense/S1_ONE.zip", headers={"Accept": "text/html,*/*;q=0.8"})
    assert (plain.status_code, plain.headers["content-type"]) == (403, "text/plain; charset=utf-8")
    assert (page.status_code, page.headers["content-type"]) == (403, "text/html; charset=utf-8")
    assert said in plain.text
    assert said in page.text
    assert "To the start of the portal" in page.text


async def test_what_is_in_a_package_is_for_everybody_who_may_read(
    database: Database, nobody: httpx2.AsyncClient
) -> None:
    empty = {"count": 0, "next": None, "previous": None, "results": [], "known": False}
    assert (await nobody.get("/v1/computed-files/2/members")).json() == empty
    assert (await nobody.get("/v1/computed-files/99/members")).status_code == 404
    async with database.begin() as session:
        await session.execute(text("update computed_file set package = 'dataset' where id = 2"))
    assert (await nobody.get("/v1/computed-files/2/members")).status_code == 404
    assert (await nobody.get("/portal/computed-files/2")).status_code == 404


async def test_forms_in_parts_are_read_too(nobody: httpx2.AsyncClient) -> None:
    told = {"email": (None, "a@b.org"), "is_activated": (None, "true")}
    answer = await nobody.post("/v1/tokens", files=told)
    assert (answer.status_code, answer.json()["is_activated"]) == (201, True)
    answer = await nobody.post("/v1/tokens", files=told | {"scan": ("scan.png", b"not asked for")})
    assert (answer.status_code, list(answer.json())) == (400, ["detail"])
    cut = {"Content-Type": "multipart/form-data; boundary=x"}
    for headers in (cut, {"Content-Type": "multipart/form-data"}):
        assert (await nobody.post("/v1/tokens", content=b"--x\r\nnonsense", headers=headers)).status_code == 400


async def test_no_form_is_larger_than_a_body_may_be(database: Database, web: Web, nobody: httpx2.AsyncClient) -> None:
    large = {f"f{n}": (None, "x" * 60_000) for n in range(99)}
    for form in ({"files": large | {"email": (None, "x" * 66_000)}}, {"data": {f"f{n}": "" for n in range(101)}}):
        answer = await nobody.post("/v1/tokens", **form)
        assert (answer.status_code, list(answer.json())) == (400, ["detail"])
    body = {"content": b"x" * (8 * 1024**2 + 1)}
    parts = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = await nobody.post("/v1/tokens", headers=parts, **body)
    assert (answer.status_code, answer.json()) == (400, {"detail": "The body is larger than 8 MB."})
    pairs = {"Content-Type": "application/x-www-form-urlencoded"}
    mine = {"Origin": web.url, "Cookie": f"tidemill-person-{web.port}={await key_for(database)}"}
    for path in ("terms", "key", "basket/add", "basket/gather", "basket/change", "basket/start"):
        many = {"content": b"&".join(b"f=" + b"x" * 60_000 for _ in range(99)) * 2}
        answer = await nobody.post(f"/portal/{path}", headers=pairs | mine, **many)
        assert (answer.status_code, "alert" in answer.text) in ((422, True), (400, True)), path
    answer = await nobody.post(
        "/portal/basket/gather", headers=pairs | mine, content=b"&".join([b"n=" + b"x" * 60_000] * 150)
    )
    assert "The form is larger than 8 MB." in answer.text
    answer = await nobody.post("/portal/basket/gather", headers=pairs | {"Origin": web.url}, **body)
    assert answer.headers["location"].startswith("/portal/terms?"), "who they are is asked before what they want"


async def test_what_is_not_there_is_answered_with_all_that_is(nobody: httpx2.AsyncClient) -> None:
    said = await nobody.get("/v1/nonsense")
    assert (said.status_code, said.json()["detail"]) == (
        404,
        "There is no 'nonsense' here; there are: projects, samples, project-options, sample-options, computed-files, "
        "datasets, docs, original-files, schema, stats, tokens.",
    )
