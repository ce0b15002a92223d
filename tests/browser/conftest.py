"""A real site on a real PostgreSQL, looked at with a real Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from tests.site import Mill
from tidemill.db.embedded_folder import free_port
from tidemill.main import Site, make_web, open_site
from tidemill.settings import Settings
from tidemill.web.serve import serving

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
"""Those without windows of their own first: the same pages take them a third of the work."""
expect.set_options(timeout=60_000)  # a limit to patience with a busy machine, not to a page's answer


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder share one event loop, and so one browser."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


def chromium() -> str:
    """The path of a Chromium; skips the test where there is none."""
    found = os.environ.get("TIDEMILL_TEST_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no Chromium here: apt-get install chromium-headless-shell, or name one in TIDEMILL_TEST_CHROMIUM")
    return found


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    path = chromium()
    async with async_playwright() as play:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        browser = await play.chromium.launch(executable_path=path, args=arguments)
        yield browser
        await browser.close()


class Place:
    """A site that is served, and a mill that works for it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.mill = Mill(site.database, site.documents)
        self.port = free_port(None)
        self._serving: AsyncExitStack | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self) -> None:
        """Start the web server; again on the same port after `cut`."""
        self._serving = AsyncExitStack()
        app = make_web(self.site)
        self.port = await self._serving.enter_async_context(serving(app, "127.0.0.1", self.port))

    async def cut(self) -> None:
        """Stop the web server: every socket is closed."""
        if self._serving is not None:
            await self._serving.aclose()
        self._serving = None


@pytest_asyncio.fixture(loop_scope="session")
async def place(database_url: str, tmp_path: Path) -> AsyncIterator[Place]:
    settings = Settings(site=tmp_path / "site", database_url=database_url, host="127.0.0.1")
    async with open_site(settings, migrate=False) as site:
        place = Place(site)
        await place.serve()
        yield place
        await place.cut()


Visit = Callable[..., Awaitable[Page]]


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser, place: Place) -> AsyncIterator[Visit]:
    """Opens a path of the site in a new window. At the end no window may have met an error or broken the CSP."""
    contexts: list[BrowserContext] = []
    problems: list[str] = []

    async def open_page(path: str, *, allow: str = "", **options: object) -> Page:
        context = await browser.new_context(viewport={"width": 1280, "height": 900}, **options)  # type: ignore[arg-type]
        contexts.append(context)
        page = await context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: problems.append(f"{path}: {error}"))
        page.on(
            "console",
            lambda said: (
                problems.append(f"{path}: {said.text}")
                if said.type in ("error", "warning") and not (allow and allow in said.text)
                else None
            ),
        )
        await page.goto(f"{place.url}{path}{'&' if '?' in path else '?'}key={place.site.settings.web_key()}")
        return page

    yield open_page
    for context in contexts:
        await context.close()
    assert problems == []
