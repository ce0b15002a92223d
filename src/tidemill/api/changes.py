"""The change feed over HTTP, after CouchDB's conventions, and snapshots of the state that it goes on from."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response, StreamingResponse

from tidemill.api.door import Feed, Json, OpenSite, Site
from tidemill.api.problems import described
from tidemill.db.database import Row
from tidemill.domain.plain_json import dumped
from tidemill.errors import InvalidInput, TidemillError
from tidemill.feed import changes, cursors
from tidemill.feed.changes import Page
from tidemill.feed.fanout import Fanout, Subject
from tidemill.feed.filters import Filter, fields_of
from tidemill.feed.following import Terms, follow
from tidemill.feed.live import LiveFeed
from tidemill.feed.records import matching, with_docs

router = APIRouter(tags=["changes"])

POLL = 1.0
LONGEST_WAIT = 60_000.0
"""Milliseconds."""

USUAL_LIMIT, MOST_WITH_DOCS = 1000, 1000
USUAL_HEARTBEAT, SHORTEST_HEARTBEAT = 60.0, 0.1
EVENTS_HEARTBEAT = 15.0
"""Seconds: a browser's event source cannot ask for a heartbeat, and proxies cut what is silent."""

LONGEST_SNAPSHOT = 1800.0
"""Seconds that a reader may take for a snapshot: the database keeps old rows for it meanwhile."""

Mode = Literal["normal", "longpoll", "continuous", "eventsource"]


class Which(BaseModel):
    """Filters in an address; beside them stand `field.NAME=value`. Several values of one are alternatives."""

    kind: list[str] = []
    run: int | None = Field(None, ge=1, lt=2**63)
    project: list[str] = Field([], description="Names.")
    status: list[str] = []
    last_step: list[str] = Field([], description="Exact names, or `none`.")
    item: list[str] = Field([], description="Names.")
    include_docs: bool = False


class Asked(Which):
    """What a reader of the feed says in the address."""

    since: str | None = Field(None, max_length=60, description="`last_seq` or a `seq` as it came; `0`; `now`.")
    cursor: str | None = Field(None, max_length=cursors.LONGEST_NAME, description="Begin where this cursor stands.")
    limit: int | None = Field(None, ge=1, le=changes.MOST_PER_PAGE)
    feed: Mode = "normal"
    heartbeat: str | None = Field(None, pattern=r"^(true|false|\d{1,9})$", description="Milliseconds, or `true`.")
    timeout: float = Field(LONGEST_WAIT, ge=0, le=LONGEST_WAIT, description="Milliseconds of silence that end it.")
    descending: bool = False
    style: Literal["main_only", "all_docs"] = "main_only"

    def beat(self) -> float | None:
        """Seconds between heartbeats, where there are to be any."""
        if self.heartbeat in (None, "false", "0"):
            return EVENTS_HEARTBEAT if self.feed == "eventsource" else None
        return USUAL_HEARTBEAT if self.heartbeat == "true" else max(SHORTEST_HEARTBEAT, int(str(self.heartbeat)) / 1000)


class Body(BaseModel):
    """Filters in a body, for those too long for an address; they come beside those in the address."""

    model_config = ConfigDict(extra="forbid")

    kind: list[str] = []
    project: list[str] = []
    status: list[str] = []
    last_step: list[str] = []
    item: list[str] = []
    field: dict[str, str | int | float | bool | None] = {}


@router.get("/changes", summary="The change feed, after CouchDB's conventions")
async def feed(request: Request, site: Site, live: Feed, asked: Annotated[Asked, Query()]) -> Response:
    return await _answer(request, site, live, asked, _filter(request, asked))


@router.post("/changes", summary="The same, with filters in the body")
async def feed_by_body(
    request: Request, site: Site, live: Feed, asked: Annotated[Asked, Query()], body: Body
) -> Response:
    return await _answer(request, site, live, asked, _filter(request, asked, body))


@router.get("/changes/snapshot", summary="All records that match, at one moment, and the position that belongs to it")
async def snapshot(request: Request, site: Site, asked: Annotated[Which, Query()]) -> Response:
    which = _filter(request, asked)
    if which.kinds or which.run:
        raise InvalidInput("A snapshot is of items: kind and run say nothing about them.")
    pages = _snapshot(site, which, asked.include_docs)
    begun = await anext(pages)  # so that a mistake still has an answer of its own
    return StreamingResponse(_joined(begun, pages), media_type="application/json")


async def _answer(request: Request, site: Site, live: LiveFeed, asked: Asked, which: Filter) -> Response:
    since = await _since(request, site, asked)
    if asked.feed in ("continuous", "eventsource"):
        return _stream(request, asked, which, since)
    if asked.feed == "longpoll" and asked.beat() is not None:
        return StreamingResponse(_beating(site, live, asked, which, since), media_type="application/json")
    page = await _page(site, asked, which, since)
    until = time.monotonic() + (asked.timeout / 1000 if asked.feed == "longpoll" else 0)
    while not page.results and (left := until - time.monotonic()) > 0:
        if not page.pending:
            await live.hinted(min(POLL, left))
        page = await _page(site, asked, which, page.last_seq)
    return Json(page)


async def _since(request: Request, site: OpenSite, asked: Asked) -> str:
    """The position to begin at: what was said, else where the cursor stands. Raises InvalidInput, ChangesGone."""
    if asked.descending:
        raise InvalidInput("The feed goes forward only.", hint="For the newest changes begin at a later `since`.")
    said = request.headers.get("last-event-id") or asked.since
    async with site.database.begin() as session:
        if asked.cursor is not None and said is None:
            said = await cursors.position(session, asked.cursor)
        return changes.seq_of(await changes.start(session, said))


async def _page(site: OpenSite, asked: Asked, which: Filter, since: str) -> Page:
    limit = asked.limit or USUAL_LIMIT
    async with site.database.begin() as session:
        page = await changes.read(session, since, min(limit, MOST_WITH_DOCS) if asked.include_docs else limit, which)
        if asked.include_docs:
            await with_docs(session, page.results)
        return page


async def _beating(site: OpenSite, live: LiveFeed, asked: Asked, which: Filter, since: str) -> AsyncIterator[bytes]:
    """A longpoll that sends empty lines, which JSON passes over, until there is something."""
    beat = asked.beat() or USUAL_HEARTBEAT
    told = time.monotonic()
    while not (page := await _page(site, asked, which, since)).results:
        since = page.last_seq
        if not page.pending:
            await live.hinted(min(POLL, beat))
        if time.monotonic() >= told + beat:
            yield b"\n"
            told = time.monotonic()
    yield dumped(page)


def _stream(request: Request, asked: Asked, which: Filter, since: str) -> Response:
    fanout: Fanout = request.app.state.fanout
    events = asked.feed == "eventsource"
    subject = Subject(which, asked.include_docs, _event if events else _line)
    terms = Terms(asked.beat(), asked.timeout / 1000, asked.limit)
    parts = _parts(fanout, subject, changes.parse(since), terms, events=events)
    kind = "text/event-stream" if events else "application/x-ndjson"
    return StreamingResponse(parts, media_type=kind, headers={"x-accel-buffering": "no"})


async def _parts(
    fanout: Fanout, subject: Subject, since: changes.Position, terms: Terms, *, events: bool
) -> AsyncIterator[bytes]:
    """The bytes of a stream. What goes wrong on the way is its last piece: the answer has begun."""
    say = _event_of if events else _line_of
    yield b"retry: 1000\n\n" if events else b""
    try:
        async for part in follow(fanout, subject, since, terms):
            if part.data:
                yield part.data
            else:
                here: dict[str, object] = {"last_seq": changes.seq_of(part.position)}
                yield say("end" if part.last else "heartbeat", here if part.last else here | {"heartbeat": True})
    except TidemillError as error:
        yield say("error", described(type(error).__name__, error.message, error.hint))


def _line(result: Row) -> bytes:
    return dumped(result) + b"\n"


def _event(result: Row) -> bytes:
    return b"id: %b\ndata: %b\n\n" % (result["seq"].encode(), dumped(result))


def _line_of(_: str, said: dict[str, object]) -> bytes:
    return dumped(said) + b"\n"


def _event_of(name: str, said: dict[str, object]) -> bytes:
    place = f"id: {said['last_seq']}\n" if "last_seq" in said else ""
    return f"event: {name}\n{place}".encode() + b"data: %b\n\n" % dumped(said)


async def _snapshot(site: OpenSite, which: Filter, docs: bool) -> AsyncGenerator[bytes]:
    """`{"seq", "last_seq", "items": […]}` in pieces, read in one snapshot of the database."""
    async with asyncio.timeout(LONGEST_SNAPSHOT), site.database.begin() as session:
        seq = await changes.hold_snapshot(session)
        head = dumped({"seq": seq, "last_seq": seq, "items": []})[:-2]
        async for page in matching(session, which, processes=docs):
            if page:
                yield head + b",".join(map(dumped, page))
                head = b","
        yield (b"" if head == b"," else head) + b"]}"


async def _joined(first: bytes, rest: AsyncGenerator[bytes]) -> AsyncIterator[bytes]:
    async with aclosing(rest):
        yield first
        async for piece in rest:
            yield piece


def _filter(request: Request, asked: Which, body: Body | None = None) -> Filter:
    pairs = request.query_params.multi_items()
    known = type(asked).model_fields
    for name, _ in pairs:
        if name not in known and not name.startswith("field."):
            raise InvalidInput(
                f"The feed has no {name!r}.", hint=f"It has {', '.join(known)}, and field.NAME for metadata."
            )
    more = body or Body()
    said = [(name, value if isinstance(value, str) else dumped(value).decode()) for name, value in more.field.items()]
    return Filter(
        kinds=(*asked.kind, *more.kind),
        run=asked.run,
        items=(*asked.item, *more.item),
        projects=(*asked.project, *more.project),
        statuses=(*asked.status, *more.status),
        last_steps=(*asked.last_step, *more.last_step),
        fields=(*fields_of(pairs), *said),
    )
