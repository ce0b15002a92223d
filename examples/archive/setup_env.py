"""Make the example's own environment (`.venv` beside this file) from the pinned, hashed requirements.

    python setup_env.py [--python PYTHON]

The example has an environment of its own because clams-python pins its dependencies tightly. Safe to call
again and from several processes at once: when nothing changed it returns at once. Standard library only.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
BUILD_REQUIREMENTS = HERE / "requirements-build.txt"
REQUIREMENTS = HERE / "requirements.txt"


def python_of(venv: Path) -> Path:
    """The interpreter inside an environment."""
    return venv / "bin" / "python"


def fingerprint(python: str) -> str:
    """What the environment is made from: the interpreter asked for and both requirement files, as one hash."""
    digest = hashlib.sha256(os.path.realpath(python).encode())
    for file in (BUILD_REQUIREMENTS, REQUIREMENTS):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def ensure(python: str = sys.executable, venv: Path = VENV) -> Path:
    """Make the environment if it is missing or out of date; returns its interpreter.

    Raises `subprocess.CalledProcessError` when an install step fails: the environment then counts as missing.
    """
    wanted = fingerprint(python)
    marker = venv / "made-from"
    if _is_current(marker, wanted):
        return python_of(venv)
    venv.mkdir(parents=True, exist_ok=True)
    with (venv.parent / f"{venv.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_current(marker, wanted):
            _install(python, venv)
            marker.write_text(wanted)
    return python_of(venv)


def _is_current(marker: Path, wanted: str) -> bool:
    return marker.exists() and marker.read_text() == wanted


def _install(python: str, venv: Path) -> None:
    started = time.monotonic()
    print(f"making {venv} (about 30 s, 650 MB) …", file=sys.stderr, flush=True)
    subprocess.run([python, "-m", "venv", "--clear", str(venv)], check=True)
    # Four of the packages come as source only. Their build tools are pinned too, so they go in first and
    # pip is told to use them instead of fetching whatever is newest.
    pip = [str(python_of(venv)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    hashed = [*pip, "--require-hashes", "--no-build-isolation", "--use-pep517"]
    for file in (BUILD_REQUIREMENTS, REQUIREMENTS):
        subprocess.run([*hashed, "-r", str(file)], check=True, stdout=sys.stderr)
    print(f"made {venv} in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--python", default=sys.executable, help="the Python to make it with")
    print(ensure(parser.parse_args().python))


if __name__ == "__main__":
    main()
