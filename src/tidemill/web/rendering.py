"""Turns what services say into HTML: the templates, what they all know, and answers that pages give."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, unquote, urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tidemill.db.database import Database
from tidemill.domain import quiet_hours
from tidemill.domain.keys import printable
from tidemill.domain.states import TaskState
from tidemill.errors import TidemillError
from tidemill.settings import Settings
from tidemill.storage.documents import DocumentStore
from tidemill.web import portal_markdown, portal_values, signs, wording
from tidemill.web.words import words_of

HERE = Path(__file__).parent
SAID = "said"
"""The cookie that carries one sentence over a redirect to the next page."""

MOST_SAID = 3500
"""Bytes of it as it is written there: browsers drop cookies of more than 4,096."""


class OpenSite(Protocol):
    """What the pages need of a site; `request.app.state.site` holds it."""

    @property
    def settings(self) -> Settings: ...
    @property
    def database(self) -> Database: ...
    @property
    def documents(self) -> DocumentStore: ...


_templates = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals.update(
    signs=signs.SIGNS,
    states=[state.value for state in TaskState],
    sign=signs.sign,
    colour=signs.colour,
    counted=wording.counted,
    query=lambda **values: urlencode({k: v for k, v in values.items() if v not in (None, "")}),
)
_templates.filters.update(
    n=wording.count,
    span=wording.span,
    rough=wording.rough,
    pace=wording.pace,
    size=wording.size,
    sized=wording.sized,
    moment=wording.moment,
    day=wording.day,
    ago=wording.ago,
    parameters=wording.parameters,
    plain=wording.plain,
    key=printable,
    lines=wording.lines,
    path=lambda name: quote(str(name), safe=""),
    quiet_hours=quiet_hours.in_words,
    markdown=portal_markdown.html,
    headed=portal_markdown.headed,
    paragraphs=portal_values.paragraphs,
    titled=portal_values.titled,
    visible=portal_values.visible,
    cut=portal_values.cut,
    breakable=portal_values.breakable,
)


def site_of(request: Request) -> OpenSite:
    """The site that this app serves."""
    site: OpenSite = request.app.state.site
    return site


def render(request: Request, template: str, status: int = 200, **context: Any) -> HTMLResponse:
    """A page. A sentence left by `redirect` is shown on it, once."""
    said = unquote(request.cookies.get(SAID, ""))
    html = _templates.get_template(template).render(
        request=request,
        path=request.url.path,
        this_page=quote(request.scope["path"]),
        words=words_of(request),
        said=said,
        **context,
    )
    answer = HTMLResponse(html, status_code=status, headers={"cache-control": "no-store"})
    if said:
        answer.delete_cookie(SAID)
    return answer


def redirect(address: str, said: str = "") -> RedirectResponse:
    """See-other after a form was acted on, with a sentence about what was done for the next page."""
    answer = RedirectResponse(address, status_code=303)
    if said:
        answer.set_cookie(SAID, _quoted(said), max_age=60, httponly=True, samesite="lax")
    return answer


def _quoted(said: str) -> str:
    """As a cookie has it, cut where that would be too long for one."""
    brief, end = said[:MOST_SAID], "" if len(said) <= MOST_SAID else "…"
    while len(quoted := quote(brief + end)) > MOST_SAID:
        brief, end = brief[: len(brief) * 19 // 20], "…"
    return quoted


def problem(request: Request, error: TidemillError, status: int) -> HTMLResponse:
    """A page that says what went wrong, for whoever answers errors; `status` is theirs to choose."""
    return render(request, "problem.html", status, error=error, title=problem_title(status))


def problem_title(status: int) -> str:
    """What a page is headed that says what went wrong."""
    return _PROBLEMS.get(status, "That did not work")


_PROBLEMS = {
    401: "Please sign in",
    403: "Not allowed",
    404: "Not found",
    409: "Not possible now",
    410: "Here no longer",
    503: "The site is not ready",
}
