"""Google Cloud Storage for tests: a small server of the XML API (cloud.google.com/storage/docs/xml-api), which is what
obstore speaks. No emulator that pip or npm installs speaks that API: theirs is the JSON one.

It refuses what Google refuses: whoever has no token that the account's key signed, links with another signature or past
their time, parts that are not there, a generation that is not the one asked for. Pages are short, so there are many.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import format_datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

ACCOUNT = "tidemill@tests.iam.gserviceaccount.com"
PAGE = 3
SMALLEST_PART = 5 * 1024 * 1024
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass(frozen=True, slots=True)
class Stored:
    """One object. Google's ETag of one that came in parts is no MD5."""

    data: bytes
    etag: str
    generation: int
    modified: dt.datetime


@dataclass(slots=True)
class Google:
    """The service: its buckets, who may read them, uploads in parts that are not finished, and what it was asked."""

    endpoint: str = ""
    buckets: dict[str, dict[str, Stored]] = field(default_factory=dict)
    public: set[str] = field(default_factory=set)
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """Method and path with the query, in order."""
    _numbers: int = 1_700_000_000_000_000

    def number(self) -> int:
        self._numbers += 1
        return self._numbers

    def put(self, bucket: str, key: str, data: bytes, *, parts: bool = False) -> Stored:
        generation = self.number()
        etag = "-" + base64.b64encode(str(generation).encode()).decode() if parts else hashlib.md5(data).hexdigest()
        stored = Stored(data, etag, generation, dt.datetime.now(dt.UTC))
        self.buckets[bucket][key] = stored
        return stored

    def account(self, folder: Path) -> Path:
        """A file with the account's key, as GOOGLE_SERVICE_ACCOUNT names one."""
        pem = _key().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        row = {"type": "service_account", "client_email": ACCOUNT, "private_key": pem.decode(), "private_key_id": "1"}
        path = folder / "account.json"
        path.write_text(json.dumps(row))
        return path


@contextmanager
def google(*buckets: str) -> Iterator[Google]:
    """A service with these buckets."""
    service = Google(buckets={name: {} for name in buckets})

    class Handler(_Handler):
        google = service

    server = _Server(("127.0.0.1", 0), Handler)
    service.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Clients that hang up are no news."""


class _Refused(Exception):
    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


class _Handler(BaseHTTPRequestHandler):
    google: Google
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        self.google.asked.append(f"{self.command} {self.path}")
        bucket, _, key = parts.path.lstrip("/").partition("/")
        self.bucket, self.key = unquote(bucket), unquote(key)
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self._allow(parts.path)
            if self.bucket not in self.google.buckets:
                raise _Refused(404, "NoSuchBucket")
            getattr(self, f"_{self.command.lower()}")(body)
        except _Refused as refused:
            told = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{refused.code}</Code></Error>"
            self._answer(refused.status, told.encode())

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle  # noqa: N815 - their names

    def _allow(self, path: str) -> None:
        """Let in who bears a token or has a link that the account signed; to what is public, any reader."""
        if "X-Goog-Signature" in self.query:
            self._check_link(path)
        elif token := self.headers.get("Authorization", "").removeprefix("Bearer "):
            self._check_token(token)
        elif self.command not in ("GET", "HEAD") or self.bucket not in self.google.public:
            raise _Refused(401, "AccessDenied")

    def _check_token(self, token: str) -> None:
        """RFC 7519, signed by RS256."""
        signed, _, signature = token.rpartition(".")
        claims = json.loads(_unbased(signed.split(".")[1]))
        try:
            _key().public_key().verify(_unbased(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            raise _Refused(401, "AuthenticationRequired") from None
        if claims["iss"] != ACCOUNT or claims["exp"] < dt.datetime.now(dt.UTC).timestamp():
            raise _Refused(401, "AuthenticationRequired")

    def _check_link(self, path: str) -> None:
        """A V4 signature: storage/docs/authentication/canonical-requests."""
        asked = {name: value for name, value in self.query.items() if name != "X-Goog-Signature"}
        canonical = "&".join(f"{quote(name, safe='~')}={quote(asked[name], safe='~')}" for name in sorted(asked))
        headers = "".join(f"{name}:{self.headers[name].strip()}\n" for name in asked["X-Goog-SignedHeaders"].split(";"))
        request = "\n".join([self.command, path, canonical, headers, asked["X-Goog-SignedHeaders"], "UNSIGNED-PAYLOAD"])
        who, scope = asked["X-Goog-Credential"].split("/", 1)
        digest = hashlib.sha256(request.encode()).hexdigest()
        signed = "\n".join([asked["X-Goog-Algorithm"], asked["X-Goog-Date"], scope, digest])
        try:
            signature = bytes.fromhex(self.query["X-Goog-Signature"])
            _key().public_key().verify(signature, signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        except (InvalidSignature, ValueError):
            raise _Refused(403, "SignatureDoesNotMatch") from None
        began = dt.datetime.strptime(asked["X-Goog-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
        if who != ACCOUNT or began + dt.timedelta(seconds=int(asked["X-Goog-Expires"])) < dt.datetime.now(dt.UTC):
            raise _Refused(400, "ExpiredToken")

    def _get(self, _: bytes) -> None:
        if not self.key:
            self._list()
            return
        stored = self._stored()
        tag, wanted = f'"{stored.etag}"', self.headers.get("If-Match")
        if wanted not in (None, "*", tag):
            raise _Refused(412, "PreconditionFailed")
        if self.headers.get("If-None-Match") == tag:
            self._answer(304)
            return
        headers = _headers(stored)
        if found := _RANGE.fullmatch(self.headers.get("Range", "")):
            size = len(stored.data)
            first = int(found[1]) if found[1] else max(0, size - int(found[2]))
            last = min(int(found[2]), size - 1) if found[1] and found[2] else size - 1
            if first >= size:
                raise _Refused(416, "InvalidRange")
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
            self._answer(206, stored.data[first : last + 1], headers)
        else:
            self._answer(200, stored.data, headers)

    _head = _get

    def _list(self) -> None:
        """List objects, version 2: xml-api/get-bucket-list."""
        prefix, after = self.query.get("prefix", ""), self.query.get("start-after", "")
        after = max(after, base64.b64decode(self.query.get("continuation-token", "")).decode())
        keys = [key for key in sorted(self.google.buckets[self.bucket]) if key.startswith(prefix) and key > after]
        page, more = keys[:PAGE], len(keys) > PAGE
        told = "".join(self._contents(key) for key in page)
        told += f"<KeyCount>{len(page)}</KeyCount><IsTruncated>{str(more).lower()}</IsTruncated>"
        if more:
            told += f"<NextContinuationToken>{base64.b64encode(page[-1].encode()).decode()}</NextContinuationToken>"
        self._xml("ListBucketResult", f"<Name>{self.bucket}</Name><Prefix>{escape(prefix)}</Prefix>{told}")

    def _contents(self, key: str) -> str:
        stored = self.google.buckets[self.bucket][key]
        return (
            f"<Contents><Key>{escape(key)}</Key><Generation>{stored.generation}</Generation>"
            f"<LastModified>{stored.modified:%Y-%m-%dT%H:%M:%S.%f}Z</LastModified>"
            f'<ETag>"{stored.etag}"</ETag><Size>{len(stored.data)}</Size></Contents>'
        )

    def _put(self, body: bytes) -> None:
        if "uploadId" in self.query:
            self._upload()[int(self.query["partNumber"])] = body
            self._answer(200, headers={"ETag": f'"{hashlib.md5(body).hexdigest()}"'})
            return
        wanted = self.headers.get("x-goog-if-generation-match")
        there = self.google.buckets[self.bucket].get(self.key)
        if wanted is not None and int(wanted) != (there.generation if there else 0):
            raise _Refused(412, "PreconditionFailed")
        self._answer(200, headers=_headers(self.google.put(self.bucket, self.key, body)))

    def _post(self, body: bytes) -> None:
        """Uploads in parts: xml-api/post-object-multipart, post-object-complete."""
        if "uploads" in self.query:
            name = f"upload{self.google.number()}"
            self.google.uploads[name] = {}
            told = f"<Bucket>{self.bucket}</Bucket><Key>{escape(self.key)}</Key><UploadId>{name}</UploadId>"
            self._xml("InitiateMultipartUploadResult", told)
            return
        parts, data = self._upload(), []
        listed = [(_of(part, "PartNumber"), _of(part, "ETag")) for part in ElementTree.fromstring(body)]
        for at, (number, etag) in enumerate(listed):
            part = parts.get(int(number))
            if part is None or hashlib.md5(part).hexdigest() != etag.strip('"'):
                raise _Refused(400, "InvalidPart")
            if len(part) < SMALLEST_PART and at + 1 < len(listed):
                raise _Refused(400, "EntityTooSmall")
            data.append(part)
        del self.google.uploads[self.query["uploadId"]]
        stored = self.google.put(self.bucket, self.key, b"".join(data), parts=True)
        self._xml("CompleteMultipartUploadResult", f'<Key>{escape(self.key)}</Key><ETag>"{stored.etag}"</ETag>')

    def _delete(self, _: bytes) -> None:
        if "uploadId" in self.query:
            self._upload()
            del self.google.uploads[self.query["uploadId"]]
        else:
            self._stored()
            del self.google.buckets[self.bucket][self.key]
        self._answer(204)

    def _stored(self) -> Stored:
        stored = self.google.buckets[self.bucket].get(self.key)
        if stored is None:
            raise _Refused(404, "NoSuchKey")
        return stored

    def _upload(self) -> dict[int, bytes]:
        parts = self.google.uploads.get(self.query["uploadId"])
        if parts is None:
            raise _Refused(404, "NoSuchUpload")
        return parts

    def _xml(self, name: str, inner: str) -> None:
        space = "http://doc.s3.amazonaws.com/2006-03-01"
        told = f"<?xml version='1.0' encoding='UTF-8'?><{name} xmlns='{space}'>{inner}</{name}>"
        self._answer(200, told.encode(), {"Content-Type": "application/xml"})

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and status not in (204, 304):
            self.wfile.write(body)


def _headers(stored: Stored) -> dict[str, str]:
    modified = format_datetime(stored.modified, usegmt=True)
    return {"ETag": f'"{stored.etag}"', "x-goog-generation": str(stored.generation), "Last-Modified": modified}


def _of(part: ElementTree.Element, name: str) -> str:
    return next(one.text or "" for one in part if one.tag.endswith(name))


def _unbased(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
