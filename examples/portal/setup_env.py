"""Make the example's own environment (`.venv` beside this file) from the pinned, hashed requirements.

    python setup_env.py

It holds what `make_bucket.py` needs, NumPy and h5py. Safe to call again and from several processes at once: when
nothing changed it returns at once. Standard library only.
"""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
REQUIREMENTS = HERE / "requirements.txt"


def python_of(venv: Path) -> Path:
    """The interpreter inside an environment."""
    return venv / "bin" / "python"


def fingerprint() -> str:
    """What the environment is made from: this Python and the requirements, as one hash."""
    digest = hashlib.sha256(sys.version.encode())
    digest.update(REQUIREMENTS.read_bytes())
    return digest.hexdigest()


def ensure(venv: Path = VENV) -> Path:
    """Make the environment if it is missing or out of date; returns its interpreter.

    Raises `subprocess.CalledProcessError` when an install step fails: the environment then counts as missing.
    """
    marker = venv / "made-from"
    if _is_current(marker):
        return python_of(venv)
    venv.mkdir(parents=True, exist_ok=True)
    with (venv.parent / f"{venv.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_current(marker):
            _install(venv)
            marker.write_text(fingerprint())
    return python_of(venv)


def _is_current(marker: Path) -> bool:
    return marker.exists() and marker.read_text() == fingerprint()


def _install(venv: Path) -> None:
    started = time.monotonic()
    print(f"making {venv} (about 15 s, 110 MB) …", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
    pip = [str(python_of(venv)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command = [*pip, "--require-hashes", "--only-binary", ":all:", "-r", str(REQUIREMENTS)]
    subprocess.run(command, check=True, stdout=sys.stderr)
    print(f"made {venv} in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    print(ensure())
