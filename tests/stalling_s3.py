"""A bucket whose listing stops after its first page: the service hangs, or goes away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = 1000


@dataclass
class Stalling:
    """Answers the first page of a listing, S3's ListObjectsV2; then waits for `go_on`, or cuts every connection."""

    cuts: bool = False
    endpoint: str = ""
    stalled: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    asked_for_object: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        if "list-type" not in handler.path:  # an object, which never comes
            self.asked_for_object.set()
            self.over.wait()
            handler.close_connection = True
            return
        later = "continuation-token" in handler.path
        if later:
            self.stalled.set()
            if self.cuts:
                handler.close_connection = True
                handler.connection.close()
                return
            self.go_on.wait(60)
        keys = [f"P1/item-{n:05}.dat" for n in range(PAGE * later, PAGE * (later + 1))]
        body = _page(keys, more=not later).encode()
        handler.send_response(200)
        handler.send_header("content-type", "application/xml")
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


def _page(keys: list[str], *, more: bool) -> str:
    rows = "".join(
        f"<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f'<ETag>"0123"</ETag><Size>1</Size><StorageClass>STANDARD</StorageClass></Contents>'
        for key in keys
    )
    token = "<NextContinuationToken>next</NextContinuationToken>" if more else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>b</Name><Prefix></Prefix><KeyCount>{len(keys)}'
        f"</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>{rows}{token}</ListBucketResult>"
    )


@contextmanager
def stalling_s3(*, cuts: bool = False) -> Iterator[Stalling]:
    """Such a service on a free port. Its bucket's name is `b`, of 2,000 keys."""
    told = Stalling(cuts)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            told.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    told.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield told
    finally:
        told.go_on.set()
        told.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
