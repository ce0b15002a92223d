"""Bodies of the worker protocol: what may be in them, and reading them within bounds."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect, Request

from tidemill.errors import InvalidInput
from tidemill.runner.remote_protocol import LARGEST_BODY, MOST_TASKS

Big = Annotated[int, Field(ge=0, lt=2**63)]
Small = Annotated[int, Field(ge=0, lt=2**31)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Name = Annotated[str, Field(max_length=500)]
Body = TypeVar("Body", bound="Asked")


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Asked(_Part):
    """What every request says: who asks, what it can run, how long it wants to hold what it claims, and how often it
    has disowned what it did not know of."""

    worker: Big = 0
    kinds: list[Name] = Field(default=[], max_length=50)
    functions: list[Name] = Field(default=[], max_length=5000)
    lease: float = Field(default=30.0, gt=0, le=1e9)
    turn: Big = 0


class Register(Asked):
    hostname: str = Field(max_length=255)
    pid: Small = 0
    slots: Small = 1


class AttemptKey(_Part):
    task: Big
    fence: Small


class Renewed(AttemptKey):
    progress: float | None = Field(default=None, ge=-1e9, le=1e9)


class Told(Renewed):
    log: str = ""
    total: Big = 0


class Submitted(AttemptKey):
    handle: dict[str, Any]


class Keys(Asked):
    tasks: list[AttemptKey] = Field(max_length=10 * MOST_TASKS)


class Renew(Asked):
    tasks: list[Renewed] = Field(max_length=10 * MOST_TASKS)


class Tell(Asked):
    tasks: list[Told] = Field(max_length=10 * MOST_TASKS)


class Submit(Asked):
    tasks: list[Submitted] = Field(max_length=MOST_TASKS)


class Adopt(Asked):
    n: int = Field(ge=0, le=MOST_TASKS)


class Ids(Asked):
    ids: list[Big] = Field(max_length=MOST_TASKS)


class FileOf(_Part):
    name: Name
    size: Big
    sha256: Sha256
    url: str = Field(max_length=5000)


class Result(AttemptKey):
    """One attempt's end. Which step of which app it was, the site knows for itself."""

    outcome: Literal["done", "skipped", "failed", "unavailable"]
    move: Literal["next", "retry", "failed"]
    version: Big | None = None
    ran: Name | None = None
    input: Sha256 | None = None
    output: Sha256 | None = None
    error: str | None = None
    reason: str | None = None
    log: str | None = Field(default=None, max_length=200_000)
    said: str | None = Field(default=None, max_length=10_000)
    delay: float | None = Field(default=None, ge=0, le=10 * 366 * 86400)
    counted: bool | None = None
    down: bool | None = None
    origin_task: Big | None = None
    origin_fence: Small | None = None
    revision: Big | None = None
    files: list[FileOf] | None = Field(default=None, max_length=10_000)
    inputs: list[FileOf] | None = Field(default=None, max_length=10_000)
    record: dict[str, Any] | None = None
    status: str | None = Field(default=None, max_length=200)
    receipts: dict[str, str] = {}


class DocumentOf(_Part):
    sha256: Sha256
    size: Big
    body: str | None = None


class ExchangeBody(Asked):
    hostname: str = Field(default="", max_length=255)
    results: list[Result] = Field(default=[], max_length=MOST_TASKS)
    documents: list[DocumentOf] = Field(default=[], max_length=3 * MOST_TASKS)
    n: int = Field(default=0, ge=0, le=MOST_TASKS)
    rooms: dict[str, Annotated[int, Field(ge=0, le=MOST_TASKS)]] = Field(default={}, max_length=20)


async def read(request: Request, kind: type[Body]) -> Body:
    """The request's body, packed or not. Raises InvalidInput for one that is too long or not as it should be."""
    body = bytearray()
    async for piece in unpacked(request):
        body += piece
    try:
        return kind.model_validate_json(bytes(body))
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:3]]
        raise InvalidInput("; ".join(wrong)) from error


async def unpacked(request: Request) -> AsyncIterator[bytes]:
    """What comes, unpacked as it comes, so that a small parcel that holds a huge thing is stopped on the way."""
    encoding = request.headers.get("content-encoding", "")
    if encoding not in ("", "gzip"):
        raise InvalidInput(f"A body may come as it is or as gzip, not as {encoding[:40]!r}.")
    unpacker = zlib.decompressobj(wbits=31) if encoding else None
    total = 0
    async for chunk in _coming(request):
        piece = chunk
        if unpacker is not None:
            if unpacker.eof:
                continue
            try:
                piece = unpacker.decompress(chunk, LARGEST_BODY - total + 1)
            except zlib.error as error:
                raise InvalidInput(f"The body is no gzip: {error}.") from error
        total += len(piece)
        if total > LARGEST_BODY or (unpacker is not None and unpacker.unconsumed_tail):
            raise InvalidInput(f"A request may have {LARGEST_BODY} bytes at most.")
        yield piece
    if unpacker is not None and not unpacker.eof:
        raise InvalidInput("The body was cut short.")


async def pieces(request: Request) -> AsyncIterator[bytes]:
    """What comes of an upload, up to a cut: the rest comes another time."""
    with suppress(ClientDisconnect):
        async for chunk in request.stream():
            yield chunk


async def _coming(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect as error:
        raise InvalidInput("The body was cut short.") from error
