"""The site's key: there whole or not at all, and nobody gets in where it is empty."""

from __future__ import annotations

import resource
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tidemill.errors import InvalidInput
from tidemill.settings import Settings

NO_SPACE = f"""
import resource
from pathlib import Path
from tidemill.settings import Settings
resource.setrlimit(resource.RLIMIT_FSIZE, (0, {resource.RLIM_INFINITY}))
try:
    Settings(site=Path("site")).web_key()
except OSError:
    print("full")
"""


def test_a_disk_that_is_full_at_the_first_start_leaves_no_empty_key(tmp_path: Path) -> None:
    tried = subprocess.run([sys.executable, "-c", NO_SPACE], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert tried.stdout == "full\n"
    assert not list((tmp_path / "site").iterdir())
    assert len(Settings(site=tmp_path / "site").web_key()) >= 32


def test_all_who_start_at_once_have_the_same_key(tmp_path: Path) -> None:
    site = Settings(site=tmp_path / "site")
    with ThreadPoolExecutor(8) as threads:
        keys = {job.result() for job in [threads.submit(site.web_key) for _ in range(32)]}
    assert len(keys) == 1
    assert [path.name for path in site.site.iterdir()] == ["web.key"]
    assert stat.S_IMODE((site.site / "web.key").stat().st_mode) == 0o600


@pytest.mark.parametrize("found", [b"", b"\n", b"short", b"\0" * 32, "ü".encode() * 32])
def test_a_key_that_is_no_good_is_refused_in_words(tmp_path: Path, found: bytes) -> None:
    (tmp_path / "web.key").write_bytes(found)
    site = Settings(site=tmp_path)
    with pytest.raises(InvalidInput, match=r"web\.key is no good") as refused:
        site.web_key()
    assert "Delete the file" in (refused.value.hint or "")
    with pytest.raises(InvalidInput):
        site.signing_key("downloads")
