"""Start the example's apps on 127.0.0.1 and keep them until SIGTERM or Ctrl-C.

    python serve_apps.py [--port-base N] [--ports-file FILE] [--with-parent]

Writes `{"bars_detector": "http://127.0.0.1:…", …}` to FILE once every app has answered. Needs the example's
environment (`setup_env.py`). No app outlives this process, however it ends.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

APPS = Path(__file__).resolve().parent / "apps"
NAMES = ["bars_detector", "tone_detector", "slate_reader", "shot_detector"]
READY_WITHIN = 60.0
STOP_WITHIN = 5.0


def die_with_parent() -> None:
    """Ask Linux to stop this process when its parent ends, however it ends. Elsewhere this does nothing."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def listen(port: int) -> socket.socket:
    """A listening socket on 127.0.0.1. Bound here and handed to the app, so that nobody can take the port between."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen(64)
    return listening


def start(name: str, listening: socket.socket) -> subprocess.Popen[bytes]:
    """Start one app on the socket."""
    quiet = {
        "CLAMS_LOGLEVEL": "critical",
        "OPENCV_LOG_LEVEL": "ERROR",
        "OMP_NUM_THREADS": "2",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.Popen(
        [sys.executable, str(APPS / name / "app.py"), "--fd", str(listening.fileno())],
        pass_fds=[listening.fileno()],
        preexec_fn=die_with_parent,
        env={**quiet, **os.environ},
        cwd=APPS / name,
        start_new_session=True,  # Ctrl-C reaches this process alone, which then stops the apps in order
    )


def wait_until_ready(name: str, url: str, process: subprocess.Popen[bytes]) -> None:
    """Return once the app answers GET. Raises RuntimeError if it ends or is too slow."""
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{name} ended with {process.returncode} while starting")
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                json.load(answer)
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.05)
    raise RuntimeError(f"{name} did not answer at {url} within {READY_WITHIN:.0f} s")


def stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """Ask every app to end, and end those that don't."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + STOP_WITHIN
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def write_whole(path: Path, text: str) -> None:
    """Write a file so that nobody ever reads half of it."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.rename(path)


def raise_interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def serve(port_base: int, ports_file: Path | None) -> None:
    """Start the apps, tell where they are, and stay until told to stop."""
    signal.signal(signal.SIGTERM, raise_interrupt)
    processes: list[subprocess.Popen[bytes]] = []
    try:
        urls = {}
        for place, name in enumerate(NAMES):
            with listen(port_base + place if port_base else 0) as listening:
                urls[name] = f"http://127.0.0.1:{listening.getsockname()[1]}"
                processes.append(start(name, listening))
        for name, process in zip(NAMES, processes, strict=True):
            wait_until_ready(name, urls[name], process)
            print(f"{name} is at {urls[name]}", flush=True)
        if ports_file is not None:
            write_whole(ports_file, json.dumps(urls, indent=2) + "\n")
        while all(process.poll() is None for process in processes):
            time.sleep(0.5)
        ended = [name for name, process in zip(NAMES, processes, strict=True) if process.poll() is not None]
        raise RuntimeError(f"{', '.join(ended)} ended by itself")
    except KeyboardInterrupt:
        pass
    finally:
        stop(processes)


def main() -> None:
    parser = argparse.ArgumentParser(description="Start the example's apps.")
    parser.add_argument("--port-base", type=int, default=0, help="first of consecutive ports; free ones unless given")
    parser.add_argument("--ports-file", type=Path, help="write name and address of each app here, as JSON")
    parser.add_argument("--with-parent", action="store_true", help="end when the process that started this one ends")
    arguments = parser.parse_args()
    if arguments.with_parent:
        die_with_parent()
    serve(arguments.port_base, arguments.ports_file)


if __name__ == "__main__":
    main()
