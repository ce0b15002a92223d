"""Where the files of steps are kept, and where their side inputs come from."""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tidemill.errors import Conflict, StorageError
from tidemill.storage.files import FileStore

NAMES = ["plain.root", "a b.root", "a#1", "50%.txt", "50%25.txt", "q?.txt", "ü–.txt", ".hidden", "x:y", "a&b=c+d", "*"]


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore((tmp_path / "the files").as_uri())


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "a template.npy").write_text("template")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "web"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("name", NAMES)
async def test_a_file_comes_back_as_it_was_whatever_its_name(store: FileStore, tmp_path: Path, name: str) -> None:
    original = tmp_path / "made"
    original.write_bytes(b"data" * 1000)
    kept = await store.keep(original, name)
    assert (kept.name, kept.size) == (name, 4000)
    assert kept.sha256 == hashlib.sha256(b"data" * 1000).hexdigest()
    assert await store.keep(original, name) == kept
    original.unlink()
    assert (await store.fetch(kept.url, tmp_path)).read_bytes() == b"data" * 1000
    assert b"".join([piece async for piece in store.read(kept.url)]) == b"data" * 1000
    assert list((tmp_path / "the files" / "incoming").iterdir()) == []


async def test_a_file_that_cannot_be_kept_leaves_nothing(store: FileStore, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"x\.root could not be stored"):
        await store.keep(tmp_path / "missing", "x.root")
    assert [path for path in (tmp_path / "the files").rglob("*") if path.is_file()] == []


async def test_a_side_input_is_fetched_over_http(store: FileStore, tmp_path: Path, web: str) -> None:
    path = await store.fetch(f"{web}/a%20template.npy", tmp_path)
    assert (path, path.read_text()) == (tmp_path / "a template.npy", "template")
    with pytest.raises(StorageError, match="could not be read") as caught:
        await store.fetch(f"{web}/missing.npy", tmp_path)
    assert "\n" not in caught.value.message
    assert not list(tmp_path.glob("missing*"))


async def test_nothing_else_is_read_through_the_store(store: FileStore, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("key")
    (tmp_path / "the files").mkdir()
    (tmp_path / "the files" / "link").symlink_to(tmp_path / "secret")
    base = (tmp_path / "the files").as_uri()
    for url in ((tmp_path / "secret").as_uri(), f"{base}/../secret", f"{base}/%2e%2e/secret", f"{base}/link", base):
        with pytest.raises(Conflict, match="does not lie"):
            store.local(url)
