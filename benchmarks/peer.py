"""Job libraries on PostgreSQL beside the engine: the same work, the same server and settings, in the same minute.

    python benchmarks/peer.py --items 1000 --steps 3 --database URL

They are installed, hashed and pinned, into an environment of their own under `.cache/`. They keep less: no attempts
with inputs, no change feed, no fences; a step is a job, and what became of it is a log line. Where they cannot be
installed, that is said and the rest goes on.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

from scratch import durability, must_be_durable, scratch_database, server

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "peers" / "requirements.txt"
ENVIRONMENT = HERE.parent / ".cache" / "peers"
LIBRARIES = {"pgqueuer": 1, "procrastinate": 3}
"""How much slower than the first each is, roughly: it gets so much less to do."""


def environment() -> Path:
    """The peers' own Python, installed where it is not. Raises CalledProcessError, OSError."""
    python = ENVIRONMENT / "bin" / "python"
    stamp, wanted = ENVIRONMENT / "stamp", hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        install = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes")
        subprocess.run([*install, "-r", str(REQUIREMENTS)], check=True, timeout=300)
        stamp.write_text(wanted)
    return python


def chain(python: Path, library: str, url: str, items: int, steps: int) -> dict[str, Any]:
    """One measure of one library, in a fresh database."""
    command = [str(python), str(HERE / "peers" / f"{library}_chain.py"), url, str(items), str(steps)]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    found: dict[str, Any] = json.loads(said.stdout.strip().splitlines()[-1])
    return found | {"items": items, "steps_per_second": round(found["steps_per_second"])}


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    try:
        python = await asyncio.to_thread(environment)
    except (subprocess.SubprocessError, OSError) as error:
        return {"measure": "peers", "peers": [], "error": f"the peers could not be installed: {error}"}
    found = []
    settings: dict[str, str] = {}
    async with server(args.database) as admin:
        for library, slower in LIBRARIES.items():
            async with scratch_database(admin, migrate=False) as (url, _):
                settings = durability(url)
                must_be_durable(settings)
                try:
                    found.append(await asyncio.to_thread(chain, python, library, url, args.items // slower, args.steps))
                except subprocess.SubprocessError as error:
                    print(f"{library}: {error} {getattr(error, 'stderr', '')}", file=sys.stderr)
    return {"measure": "peers", "peers": found, "database": settings}


def arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--items", type=int, default=1500)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--database", help="a PostgreSQL URL whose user may create databases; default: embedded")
    return parser


if __name__ == "__main__":
    described = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    print(json.dumps(asyncio.run(measure(arguments(described).parse_args())), indent=2))
