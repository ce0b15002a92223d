"""Make the example's own environment (`.venv` beside this file) from the pinned, hashed requirements.

    python setup_env.py

Run it with the Python in which Tidemill is installed: the new environment sees what that one has, and adds NumPy, SciPy
and uproot. So a worker that is started in it is the same Tidemill. Safe to call again and from several processes at
once: when nothing changed it returns at once. Standard library only.
"""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
REQUIREMENTS = HERE / "requirements.txt"


def python_of(venv: Path) -> Path:
    """The interpreter inside an environment."""
    return venv / "bin" / "python"


def fingerprint() -> str:
    """What the environment is made from: this Python, where its packages lie, and the requirements, as one hash."""
    digest = hashlib.sha256(f"{sys.version} {sysconfig.get_path('purelib')}".encode())
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
    print(f"making {venv} (about 20 s, 250 MB) …", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
    pip = [str(python_of(venv)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command = [*pip, "--require-hashes", "--only-binary", ":all:", "-r", str(REQUIREMENTS)]
    subprocess.run(command, check=True, stdout=sys.stderr)
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    command = [str(python_of(venv)), "-c", asked]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    theirs = sysconfig.get_path("purelib")
    # `addsitedir` rather than the bare path: Tidemill may be installed there by a .pth file of its own (`--editable`).
    Path(answer.stdout.strip(), "tidemill-environment.pth").write_text(f"import site; site.addsitedir({theirs!r})\n")
    print(f"made {venv} in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    print(ensure())
