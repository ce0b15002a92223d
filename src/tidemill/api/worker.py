"""The worker protocol: for workers that have a URL and a token, and no database. See `runner/remote_desk.py`."""

from __future__ import annotations

import zlib
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response, StreamingResponse

from tidemill.accounts.keyring import HOLDER, Holder
from tidemill.api import worker_bodies as bodies
from tidemill.api.door import Feed, Json
from tidemill.api.worker_bodies import read
from tidemill.domain.roles import Role
from tidemill.errors import AccessRefused, InvalidInput
from tidemill.runner.remote_desk import Caller, Desk
from tidemill.runner.remote_protocol import (
    HEADER,
    LONGEST_WAIT,
    VERSION,
    WORTH_PACKING,
    check_version,
)
from tidemill.runner.remote_results import Handed
from tidemill.runner.remote_uploads import Kind, Upload


def desk_of(request: Request) -> Desk:
    """The site's desk for such workers."""
    desk: Desk = request.app.state.desk
    return desk


def holder_of(request: Request) -> Holder:
    """Who asks. Raises AccessRefused unless it is a worker's token, WrongProtocol for a worker of another version."""
    holder: Holder | None = request.scope.get(HOLDER)
    if holder is None or holder.role is not Role.WORKER:
        raise AccessRefused("Working needs a worker's token.", hint="tidemill tokens create NAME --role worker")
    check_version(request.headers.get(HEADER))
    return holder


AtDesk = Annotated[Desk, Depends(desk_of)]
By = Annotated[Holder, Depends(holder_of)]
WorkerId = Annotated[int, Query(ge=1, lt=2**63)]
Bytes = Annotated[int, Query(ge=0, lt=2**63)]

router = APIRouter(prefix="/worker", tags=["worker"], dependencies=[Depends(holder_of)])


@router.post("/register", summary="A worker says that it is there; the site's terms")
async def register(request: Request, desk: AtDesk, by: By) -> Response:
    body = await read(request, bodies.Register)
    terms = await desk.register(_caller(by, body), body.hostname, body.pid, body.slots)
    return _packed(request, terms | {"version": VERSION})


@router.post("/exchange", summary="Hand in results and claim tasks")
async def exchange(request: Request, desk: AtDesk, by: By) -> Response:
    body = await read(request, bodies.ExchangeBody)
    host = {"hostname": body.hostname}
    results = [Handed(one.model_dump(exclude={"receipts"}) | host, one.receipts) for one in body.results]
    documents = [one.model_dump() for one in body.documents]
    answer = await desk.exchange(_caller(by, body), results, documents, body.n, body.rooms)
    return _packed(request, answer)


@router.post("/renew", summary="Push back leases; those that are still held")
async def renew(request: Request, desk: AtDesk, by: By) -> Response:
    return await _asked(request, desk, by, "tasks.renew", bodies.Renew)


@router.post("/tell", summary="Progress and new lines of logs")
async def tell(request: Request, desk: AtDesk, by: By) -> Response:
    return await _asked(request, desk, by, "tasks.tell", bodies.Tell)


@router.post("/submit", summary="Engines have accepted tasks")
async def submit(request: Request, desk: AtDesk, by: By) -> Response:
    return await _asked(request, desk, by, "tasks.submit", bodies.Submit)


@router.post("/release", summary="Give tasks back")
async def release(request: Request, desk: AtDesk, by: By) -> Response:
    return await _asked(request, desk, by, "tasks.release", bodies.Keys)


@router.post("/disown", summary="Give back all that is not named here")
async def disown(request: Request, desk: AtDesk, by: By) -> Response:
    body = await read(request, bodies.Keys)
    tasks = [one.model_dump() for one in body.tasks]
    return _packed(request, {"rows": await desk.disown(_caller(by, body), tasks)})


@router.post("/cancelled", summary="Which of these attempts were cancelled")
async def cancelled(request: Request, desk: AtDesk, by: By) -> Response:
    return await _asked(request, desk, by, "tasks.cancelled", bodies.Keys)


@router.post("/adopt", summary="Take over submitted tasks whose worker is gone")
async def adopt(request: Request, desk: AtDesk, by: By) -> Response:
    body = await read(request, bodies.Adopt)
    return _packed(request, {"rows": await desk.ask(_caller(by, body), "tasks.adopt", n=body.n)})


@router.post("/retire", summary="Goodbye")
async def retire(request: Request, desk: AtDesk, by: By) -> Response:
    body = await read(request, bodies.Asked)
    return _packed(request, {"rows": await desk.ask(_caller(by, body), "workers.retire")})


@router.post("/left", summary="This worker is dead, says its successor: free what it had in hand")
async def left(request: Request, desk: AtDesk, by: By) -> Response:
    await desk.left(_caller(by, await read(request, bodies.Asked)))
    return _packed(request, {"rows": []})


@router.post("/specs", summary="What there is to know of some apps")
async def specs(request: Request, desk: AtDesk, by: By) -> Response:
    body = await read(request, bodies.Ids)
    return _packed(request, {"rows": await desk.specs(_caller(by, body), body.ids)})


@router.post("/steps", summary="The steps of some pipeline versions")
async def steps(request: Request, desk: AtDesk, by: By) -> Response:
    body = await read(request, bodies.Ids)
    return _packed(request, {"rows": await desk.steps(_caller(by, body), body.ids)})


@router.post("/records", summary="The records of items that the worker has in hand")
async def records(request: Request, desk: AtDesk, by: By) -> Response:
    body = await read(request, bodies.Ids)
    return _packed(request, {"rows": await desk.records(_caller(by, body), body.ids)})


@router.get("/notices", summary="Hints that there may be work; waits for one")
async def notices(
    desk: AtDesk,
    feed: Feed,
    after: Annotated[str, Query(max_length=40)] = "",
    wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT)] = LONGEST_WAIT,
) -> Response:
    position, found = await desk.bell.after(after, wait, feed.closing)
    return Json({"after": position, "notices": found})


@router.get("/documents/{sha256}", summary="What a task in hand starts from")
async def document(desk: AtDesk, by: By, sha256: str, worker: WorkerId) -> Response:
    content = await desk.document(Caller(by.id, by.apps, worker), sha256)
    return Response(content, media_type="application/json")


@router.get("/files", summary="A file of an item in hand, from a byte on (Range)")
async def file(request: Request, desk: AtDesk, by: By, worker: WorkerId, url: str) -> Response:
    start, tag = _start(request.headers.get("range")), request.headers.get("if-range", "").strip('"')
    found = await desk.file(Caller(by.id, by.apps, worker), url, start, tag)
    start, size = found.start, found.size
    headers = {"content-length": str(size - start), "accept-ranges": "bytes", "etag": f'"{found.tag}"'}
    if start:
        headers["content-range"] = f"bytes {start}-{size - 1}/{size}"
    return StreamingResponse(found.pieces, 206 if start else 200, headers, "application/octet-stream")


@router.get("/uploads/{kind}/{sha256}", summary="How much of an upload is here")
async def upload_begun(
    desk: AtDesk, by: By, worker: WorkerId, kind: Kind, sha256: str, size: Bytes, name: str = ""
) -> Response:
    await desk.check_owner(Caller(by.id, by.apps, worker))
    return Json({"offset": desk.uploads.begun(Upload(by.id, kind, sha256, size, name))})


@router.put("/uploads/{kind}/{sha256}", summary="The next piece of a document or file; the receipt when all is here")
async def upload(
    request: Request, desk: AtDesk, by: By, worker: WorkerId, kind: Kind, sha256: str, size: Bytes, offset: Bytes,
    name: str = "",
) -> Response:  # fmt: skip
    await desk.check_owner(Caller(by.id, by.apps, worker))
    one = Upload(by.id, kind, sha256, size, name)
    here, receipt = await desk.uploads.add(one, offset, bodies.pieces(request))
    return Json({"offset": here, "receipt": receipt})


def _caller(by: Holder, body: bodies.Asked) -> Caller:
    return Caller(by.id, by.apps, body.worker, tuple(body.kinds), tuple(body.functions), body.lease, body.turn)


async def _asked(request: Request, desk: Desk, by: Holder, name: str, kind: type[Any]) -> Response:
    body = await read(request, kind)
    tasks = [one.model_dump() for one in body.tasks]
    return _packed(request, {"rows": await desk.ask(_caller(by, body), name, tasks=tasks)})


def _packed(request: Request, content: Any) -> Response:
    """JSON, as gzip where the worker reads that and it is worth it."""
    answer = Json(content)
    if len(answer.body) > WORTH_PACKING and "gzip" in request.headers.get("accept-encoding", ""):
        packer = zlib.compressobj(1, wbits=31)
        packed = packer.compress(answer.body) + packer.flush()
        return Response(packed, headers={"content-encoding": "gzip"}, media_type="application/json")
    return answer


def _start(wanted: str | None) -> int:
    """The byte to begin at, of a Range header such as a worker sends. Raises InvalidInput for any other."""
    if wanted is None:
        return 0
    unit, _, first = wanted.partition("=")
    if unit.strip() != "bytes" or not first.endswith("-") or not first[:-1].isdecimal() or len(first) > 18:
        raise InvalidInput("A Range must be bytes=N-.")
    return int(first[:-1])
