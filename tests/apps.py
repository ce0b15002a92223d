"""A small app that behaves as it is told, over real sockets: a CLAMS app, an asynchronous one, or a broken one.

In a test (the server runs in a thread of its own, so it goes on while the test's loop is blocked):

    with ScriptedApp("ok") as app:                       # app.url, app.port
        app.script("ok:delay=0.2", "reset")              # one after the other; the last one repeats
        app.script("error_view:message=No bars", when="cpb-aacip-123")   # for requests whose body holds that text
        app.calls                                        # requests so far; app.count("cpb-aacip-123") for some
        app.stop(); app.start()                          # down and up again on the same port

As a process that outlives the test's loop (`ScriptedAppProcess` has the same methods):

    python tests/apps.py --port 0 --name bars --input VideoDocument --output TimeFrame --behaviour ok:delay=0.5

It prints `listening on http://127.0.0.1:PORT` and serves `GET /_calls` and `POST /_script` to those who steer it.

Behaviours, with `key=value` after a colon, separated by commas (`delay` in seconds goes with every one):
  ok            200, the MMIF with a new view (`text=…`, `label=…`, `size=BYTES`, `warning=…`); `json`: the same for a
                plain JSON app (adds its name to `steps`)
  error_view    500, the MMIF with an error view (`message=…`)      error_text   500, text/plain (`text=…`)
  status        any status (`code=503`, `text=…`)                   html         200 and a page
  cut_json      an answer that stops half way                       empty        200, nothing
  nan           JSON with NaN                                       latin1       an answer that is not UTF-8
  lost_view     the earlier views are gone                          lost_document
  changed_view  an earlier annotation was changed                   no_view      the input as it was
  refuse        the listening socket is closed                      hang         reads, never answers
  reset         cuts without reading                                reset_late   reads, waits (`delay`), cuts
  cut_body      announces more than it sends                        endless      a body without an end (`rate=BYTES/s`)
  drip          a right answer, a byte at a time (`every=0.05`)     gzip_bomb    `megabytes=` of zeros, compressed
  redirect      307 to `to=URL`                                     garbage      not HTTP
  held          as `ok`, once the test lets go (`app.let_go()`)
  async         202 and a status URL: `polls=3` times running, then done; `every=` the Retry-After, `result=url|inline|
                body|see_other`, `fail=MESSAGE`, `vanish=1`, `percent=1`, `status_on=URL`, `seconds=` instead of polls
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import json
import os
import random
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

NEW_TYPES = "http://clams.ai/vocabulary/type/{}/v1"
OLD_TYPES = "http://mmif.clams.ai/vocabulary/{}/v1"


@dataclass(frozen=True)
class Behaviour:
    """One word and its options: `ok:delay=0.5,text=Slate`."""

    name: str
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Behaviour:
        name, _, rest = text.partition(":")
        pairs = [part.partition("=") for part in rest.split(",") if part]
        if not hasattr(ScriptedApp, f"_do_{name}"):
            raise ValueError(f"no behaviour is called {name!r}")
        return cls(name, {key: value for key, _, value in pairs})

    def number(self, key: str, default: float) -> float:
        return float(self.options.get(key, default))

    def text(self, key: str, default: str = "") -> str:
        return self.options.get(key, default)


@dataclass(frozen=True)
class Call:
    """One request that came in: method, path and query as sent, headers (lower case), body."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float

    @property
    def query(self) -> list[tuple[str, str]]:
        return parse_qsl(urlsplit(self.path).query, keep_blank_values=True)


@dataclass
class _Job:
    behaviour: Behaviour
    answer: bytes
    started: float
    polls: int = 0
    cancelled: bool = False


class ScriptedApp:
    """The app. Use it as a context manager, or `start()` and `stop()`."""

    def __init__(
        self,
        *behaviours: str,
        name: str = "scripted",
        inputs: tuple[str, ...] = ("VideoDocument",),
        outputs: tuple[str, ...] = ("TimeFrame",),
        types: str = NEW_TYPES,
        version: str = "v1.0",
        parameters: list[dict[str, Any]] | None = None,
        port: int = 0,
    ) -> None:
        self.name, self.version, self.types, self.port = name, version, types, port
        self._inputs, self._outputs, self._parameters = inputs, outputs, parameters or []
        self._scripts: dict[str, list[Behaviour]] = {}
        self._used: Counter[str] = Counter()
        self._jobs: dict[str, _Job] = {}
        self.requests: list[Call] = []
        self.cancelled: list[str] = []
        self.open = 0
        self.most_at_once = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ended: asyncio.Event | None = None
        self._let_go = threading.Event()
        self._server: asyncio.Server | None = None
        self.script(*(behaviours or ("ok",)))

    # ── what a test does with it ──────────────────────────────────────────────────────────────────────────────────

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def calls(self) -> list[Call]:
        """The POSTs so far: the attempts."""
        return [call for call in self.requests if call.method == "POST"]

    def count(self, text: str = "") -> int:
        """How many attempts had this text in their body."""
        return sum(text.encode() in call.body for call in self.calls)

    def script(self, *behaviours: str, when: str = "") -> None:
        """What the next attempts meet, one after the other, the last one for good; `when`: text in their body."""
        self._scripts[when] = [Behaviour.parse(text) for text in behaviours]
        self._used[when] = 0

    def let_go(self) -> None:
        """Answer all that is held, and hold nothing more."""
        self._let_go.set()

    def finish_jobs(self) -> None:
        """Let all that was accepted (`async`) be done, however long it was to take."""
        for job in list(self._jobs.values()):
            job.behaviour = Behaviour.parse("async:polls=0")

    def start(self) -> ScriptedApp:
        """Listen; on the same port as before, if it was up before."""
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        if not ready.wait(60):
            raise RuntimeError("the scripted app did not start")
        return self

    def stop(self) -> None:
        """Stop listening and cut every open connection."""
        if self._loop is not None and self._ended is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join(10)
            self._thread = None

    def __enter__(self) -> ScriptedApp:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ── the server ────────────────────────────────────────────────────────────────────────────────────────────────

    def _run(self, ready: threading.Event) -> None:
        asyncio.run(self._serve(ready))

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        self._server = await self._listening()
        self.port = self._server.sockets[0].getsockname()[1]
        ready.set()
        await self._ended.wait()
        self._server.close()

    async def _listening(self) -> asyncio.Server:
        """On its port; one of its own is below those that the kernel gives to clients, to be there for it later."""
        for port in [self.port] if self.port else random.sample(range(20000, 32768), 200):
            with contextlib.nullcontext() if self.port else contextlib.suppress(OSError):
                return await asyncio.start_server(self._connection, "127.0.0.1", port, limit=2**24, backlog=1024)
        raise RuntimeError("no port is free")

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most_at_once = max(self.most_at_once, self.open)
        try:
            behaviour = self._unread_behaviour()
            if behaviour is not None:
                self.requests.append(Call("POST", "/", {}, b"", time.time()))
                _cut(writer)
                return
            call = await _read_request(reader)
            self.requests.append(call)
            await self._respond(call, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            with contextlib.suppress(ConnectionError):
                writer.close()

    def _unread_behaviour(self) -> Behaviour | None:
        """`reset` strikes before the request is read, so it can only be scripted for all requests alike."""
        script = self._scripts[""]
        behaviour = script[min(self._used[""], len(script) - 1)]
        if behaviour.name != "reset":
            return None
        self._used[""] += 1
        return behaviour

    async def _respond(self, call: Call, writer: asyncio.StreamWriter) -> None:
        path = urlsplit(call.path).path
        if path == "/_calls":
            return _send(writer, 200, json.dumps({"calls": len(self.calls), "open": self.open - 1}).encode())
        if path == "/_script":
            wanted = json.loads(call.body)
            self.requests.pop()
            self.script(*wanted["behaviours"], when=wanted.get("when", ""))
            return _send(writer, 200, b"{}")
        if path.startswith("/status/") or path.startswith("/result/"):
            return self._status(call, path, writer)
        if call.method == "GET":
            return _send(writer, 200, json.dumps(self.metadata()).encode())
        behaviour = self._next(call)
        await asyncio.sleep(behaviour.number("delay", 0))
        await getattr(self, f"_do_{behaviour.name}")(behaviour, call, writer)
        await _flush(writer)
        return None

    def _next(self, call: Call) -> Behaviour:
        key = next((text for text in self._scripts if text and text.encode() in call.body), "")
        script = self._scripts[key]
        behaviour = script[min(self._used[key], len(script) - 1)]
        self._used[key] += 1
        return behaviour

    def metadata(self) -> dict[str, Any]:
        """As clams-python gives it: keys at their default left out."""
        found = {
            "name": self.name,
            "description": f"A scripted app called {self.name}.",
            "app_version": self.version,
            "mmif_version": "1.2.0",
            "app_license": "Apache-2.0",
            "identifier": self.identifier,
            "url": "http://example.org/scripted",
            "input": [{"@type": self._type(name)} for name in self._inputs],
            "output": [{"@type": self._type(name)} for name in self._outputs],
            "parameters": self._parameters,
        }
        return {key: value for key, value in found.items() if value != []}

    @property
    def identifier(self) -> str:
        return f"http://apps.clams.ai/{self.name}/{self.version}"

    def _type(self, name: str) -> str:
        return name if "/" in name else self.types.format(name)

    # ── what it answers ───────────────────────────────────────────────────────────────────────────────────────────

    def _view(self, mmif: dict[str, Any], behaviour: Behaviour) -> dict[str, Any]:
        number = len(mmif["views"])
        frame = {"id": f"v_{number}:tf1", "start": 0, "end": 1000, "label": behaviour.text("label", "bars")}
        text = {"id": f"v_{number}:td1", "text": {"@value": behaviour.text("text", f"seen by {self.name}")}}
        annotations = [
            {"@type": self._type("TimeFrame"), "properties": frame},
            {"@type": self._type("TextDocument"), "properties": text},
        ]
        if size := int(behaviour.number("size", 0)):
            text["padding"] = "x" * size
        metadata = {
            "app": self.identifier,
            "timestamp": "2026-01-02T03:04:05",
            "contains": {self._type("TimeFrame"): {"timeUnit": "milliseconds"}, self._type("TextDocument"): {}},
        }
        return {"id": f"v_{number}", "metadata": metadata, "annotations": annotations}

    def _answer(self, behaviour: Behaviour, call: Call) -> bytes:
        mmif = json.loads(call.body)
        mmif["views"].append(self._view(mmif, behaviour))
        if warning := behaviour.text("warning"):
            noted = {"app": self.identifier, "warnings": [warning]}
            mmif["views"].append({"id": f"v_{len(mmif['views'])}", "metadata": noted, "annotations": []})
        return json.dumps(mmif).encode()

    async def _do_ok(self, behaviour: Behaviour, call: Call, writer: asyncio.StreamWriter) -> None:
        _send(writer, 200, self._answer(behaviour, call))

    async def _do_held(self, behaviour: Behaviour, call: Call, writer: asyncio.StreamWriter) -> None:
        while not self._let_go.is_set():
            await asyncio.sleep(0.01)
        await self._do_ok(behaviour, call, writer)

    async def _do_json(self, behaviour: Behaviour, call: Call, writer: asyncio.StreamWriter) -> None:
        document = json.loads(call.body)
        document["steps"] = [*document.get("steps", []), self.name]
        _send(writer, 200, json.dumps(document).encode())

    async def _do_error_view(self, behaviour: Behaviour, call: Call, writer: asyncio.StreamWriter) -> None:
        mmif = json.loads(call.body)
        trace = f"Traceback (most recent call last):\n  …\n{behaviour.text('message', 'no bars')}"
        error = {"message": behaviour.text("message", "<class 'ValueError'>: no bars"), "stackTrace": trace}
        metadata = {"app": self.identifier, "timestamp": "2026-01-02T03:04:05", "error": error}
        mmif["views"].append({"id": f"v_{len(mmif['views'])}", "metadata": metadata, "annotations": []})
        _send(writer, int(behaviour.number("code", 500)), json.dumps(mmif).encode())

    async def _do_error_text(self, behaviour: Behaviour, call: Call, writer: asyncio.StreamWriter) -> None:
        default = "Invalid input data. See below for validation error.\n\n'views' is a required property"
        _send(writer, 500, behaviour.text("text", default).encode(), {"Content-Type": "text/plain"})

    async def _do_status(self, behaviour: Behaviour, call: Call, writer: asyncio.StreamWriter) -> None:
        body = behaviour.text("text", "not now").encode()
        _send(writer, int(behaviour.number("code", 503)), body, {"Content-Type": "text/plain"})

    async def _do_html(self, behaviour: Behaviour, call: Call, writer: asyncio.StreamWriter) -> None:
        _send(writer, 200, b"<!doctype html>\n<title>Sign in</title>", {"Content-Type": "text/html"})

    async def _do_cut_json(self, behaviour: Behaviour, call: Call, writer: asyncio.StreamWriter) -> None:
        answer = self._answer(behaviour, call)
        _send(writer, 200, answer[: len(answer) // 2])

    async def _do_empty(self, behaviour: Behaviour, call: Call, writer: asyncio.StreamWriter) -> None:
        _send(writer, 200, b"")

    async def _do_nan(self, behaviour: Behaviour, call: Call, writer: asyncio.StreamWriter) -> None:
        _send(writer, 200, self._answer(behaviour, call).replace(b'"end": 1000', b'"end": NaN'))

    async def _do_latin1(self, behaviour: Behaviour, call: Call, writer: asyncio.StreamWriter) -> None:
        _send(writer, 200, self._answer(behaviour, call).replace(b"bars", b"b\xe4rs"))

    async def _do_lost_view(self, behaviour: Behaviour, call: Call, writer: asyncio.StreamWriter) -> None:
        mmif = json.loads(self._answer(behaviour, call))
        mmif["views"] = mmif["views"][-1:]
        _send(writer, 200, json.dumps(mmif).encode())

    async def _do_lost_document(self, behaviour: Behaviour, call: Call, writer: asyncio.StreamWriter) -> None:
        mmif = json.loads(self._answer(behaviour, call))
        mmif["documents"] = []
        _send(writer, 200, json.dumps(mmif).encode())

    async def _do_changed_view(self, behaviour: Behaviour, call: Call, writer: asyncio.StreamWriter) -> None:
        mmif = json.loads(self._answer(behaviour, call))
        if len(mmif["views"]) > 1:
            mmif["views"][0]["annotations"][0]["properties"]["end"] = 999
        _send(writer, 200, json.dumps(mmif).encode())

    async def _do_no_view(self, behaviour: Behaviour, call: Call, writer: asyncio.StreamWriter) -> None:
        _send(writer, 200, call.body)

    async def _do_refuse(self, behaviour: Behaviour, call: Call, writer: asyncio.StreamWriter) -> None:
        assert self._server is not None
        self._server.close()
        _cut(writer)

    async def _do_hang(self, behaviour: Behaviour, call: Call, writer: asyncio.StreamWriter) -> None:
        assert self._ended is not None
        await self._ended.wait()

    async def _do_reset(self, behaviour: Behaviour, call: Call, writer: asyncio.StreamWriter) -> None:
        _cut(writer)

    _do_reset_late = _do_reset

    async def _do_cut_body(self, behaviour: Behaviour, call: Call, writer: asyncio.StreamWriter) -> None:
        answer = self._answer(behaviour, call)
        _head(writer, 200, {"Content-Type": "application/json", "Content-Length": str(len(answer))})
        writer.write(answer[: len(answer) // 2])
        await writer.drain()

    async def _do_endless(self, behaviour: Behaviour, call: Call, writer: asyncio.StreamWriter) -> None:
        _head(writer, 200, {"Content-Type": "application/json"})
        writer.write(b'{"metadata": "')
        rate = behaviour.number("rate", 0)
        while True:
            writer.write(b"x" * (max(int(rate / 20), 1) if rate else 65536))
            await writer.drain()
            await asyncio.sleep(0.05 if rate else 0)

    async def _do_drip(self, behaviour: Behaviour, call: Call, writer: asyncio.StreamWriter) -> None:
        answer = self._answer(behaviour, call)
        _head(writer, 200, {"Content-Type": "application/json", "Content-Length": str(len(answer))})
        for byte in answer:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(behaviour.number("every", 0.05))

    async def _do_gzip_bomb(self, behaviour: Behaviour, call: Call, writer: asyncio.StreamWriter) -> None:
        bomb = gzip.compress(b'"' + b"0" * int(behaviour.number("megabytes", 64) * 2**20) + b'"')
        _send(writer, 200, bomb, {"Content-Encoding": "gzip"})

    async def _do_redirect(self, behaviour: Behaviour, call: Call, writer: asyncio.StreamWriter) -> None:
        _send(writer, 307, b"", {"Location": behaviour.text("to", "http://169.254.169.254/latest/meta-data/")})

    async def _do_garbage(self, behaviour: Behaviour, call: Call, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")

    async def _do_async(self, behaviour: Behaviour, call: Call, writer: asyncio.StreamWriter) -> None:
        number = str(len(self._jobs) + 1)
        plain = "views" not in json.loads(call.body)
        document = json.loads(call.body)
        document["steps"] = [*document.get("steps", []), self.name]
        answer = json.dumps(document).encode() if plain else self._answer(behaviour, call)
        self._jobs[number] = _Job(behaviour, answer, time.monotonic())
        where = behaviour.text("status_on") + f"/status/{number}"
        headers = {"Location": where, "Retry-After": behaviour.text("every", "0.05")}
        _send(writer, 202, b'{"state": "queued"}', headers)

    def _status(self, call: Call, path: str, writer: asyncio.StreamWriter) -> None:
        number = path.rpartition("/")[2]
        job = self._jobs.get(number)
        if job is None or job.behaviour.text("vanish"):
            return _send(writer, 404, b'{"error": "no such work"}')
        if call.method == "DELETE":
            self.cancelled.append(number)
            job.cancelled = True
            return _send(writer, 204, b"")
        if path.startswith("/result/"):
            return _send(writer, 200, job.answer)
        return self._progress(number, job, writer)

    def _progress(self, number: str, job: _Job, writer: asyncio.StreamWriter) -> None:
        job.polls += 1
        headers = {"Retry-After": job.behaviour.text("every", "0.05")}
        wanted = job.behaviour.number("polls", 3)
        share = min((job.polls - 1) / wanted, 1.0) if wanted > 0 else 1.0
        if seconds := job.behaviour.number("seconds", 0):
            share = min((time.monotonic() - job.started) / seconds, 1.0)
        if job.cancelled:
            return _send(writer, 200, b'{"state": "failed", "message": "cancelled"}')
        if share < 1:
            progress = round(share * 100) if job.behaviour.text("percent") else share
            report = {"state": "running", "progress": progress, "message": f"{share:.0%} of {self.name}"}
            return _send(writer, 200, json.dumps(report).encode(), headers)
        if message := job.behaviour.text("fail"):
            return _send(writer, 200, json.dumps({"state": "failed", "message": message}).encode())
        return self._finished(number, job, writer)

    def _finished(self, number: str, job: _Job, writer: asyncio.StreamWriter) -> None:
        way = job.behaviour.text("result", "url")
        if way == "inline":
            return _send(writer, 200, json.dumps({"state": "done", "result": json.loads(job.answer)}).encode())
        if way == "body":
            return _send(writer, 200, job.answer)
        if way == "see_other":
            return _send(writer, 303, b"", {"Location": f"/result/{number}"})
        done = {"state": "done", "progress": 1, "result_url": f"/result/{number}"}
        return _send(writer, 200, json.dumps(done).encode())


class ScriptedAppProcess:
    """The same app as a process of its own: survives the test's event loop, and can be killed for real."""

    def __init__(self, *behaviours: str, port: int = 0, **options: str) -> None:
        self._behaviours, self._options, self.port = behaviours or ("ok",), options, port
        self.process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> ScriptedAppProcess:
        command = [sys.executable, str(Path(__file__)), "--port", str(self.port)]
        for behaviour in self._behaviours:
            command += ["--behaviour", behaviour]
        for name, value in self._options.items():
            command += [f"--{name}", value]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().rpartition(":")[2])
        return self

    def kill(self) -> None:
        """As `kill -9` does it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    stop = kill

    def script(self, *behaviours: str, when: str = "") -> None:
        body = json.dumps({"behaviours": behaviours, "when": when}).encode()
        urllib.request.urlopen(urllib.request.Request(self.url + "_script", data=body)).close()

    @property
    def calls(self) -> int:
        with urllib.request.urlopen(self.url + "_calls") as answer:
            return int(json.load(answer)["calls"])

    def __enter__(self) -> ScriptedAppProcess:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()


async def _read_request(reader: asyncio.StreamReader) -> Call:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ", 2)
    pairs: Iterator[tuple[str, str, str]] = (line.partition(":") for line in head[1:] if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Call(method, path, headers, body, time.time())


def _send(writer: asyncio.StreamWriter, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
    length = {} if status == 204 else {"Content-Length": str(len(body))}
    _head(writer, status, {"Content-Type": "application/json", **length, **(headers or {})})
    writer.write(body)


def _head(writer: asyncio.StreamWriter, status: int, headers: Mapping[str, str]) -> None:
    lines = [f"HTTP/1.1 {status} Said", "Connection: close", *(f"{key}: {value}" for key, value in headers.items())]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))


async def _flush(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        await writer.drain()


def _cut(writer: asyncio.StreamWriter) -> None:
    """Reset the connection rather than close it."""
    writer.transport.abort()


def main() -> None:
    """Run one app until the process is stopped."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--port", type=int, default=0)
    arguments.add_argument("--behaviour", action="append", default=[])
    arguments.add_argument("--name", default="scripted")
    arguments.add_argument("--version", default="v1.0")
    arguments.add_argument("--input", action="append", default=[])
    arguments.add_argument("--output", action="append", default=[])
    arguments.add_argument("--dialect", choices=["new", "old"], default="new")
    given = arguments.parse_args()
    app = ScriptedApp(
        *given.behaviour,
        name=given.name,
        version=given.version,
        inputs=tuple(given.input) or ("VideoDocument",),
        outputs=tuple(given.output) or ("TimeFrame",),
        types=OLD_TYPES if given.dialect == "old" else NEW_TYPES,
        port=given.port,
    ).start()
    print(f"listening on http://127.0.0.1:{app.port}", flush=True)
    parent = os.getppid()
    # The starter may be killed with -9: whoever adopts this process then must not find it running for ever.
    with contextlib.suppress(KeyboardInterrupt):
        while os.getppid() == parent:
            time.sleep(0.5)
    app.stop()


if __name__ == "__main__":
    main()
