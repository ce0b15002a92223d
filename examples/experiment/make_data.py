"""Make data files as the detector's computer writes them, and a record of each, one after the other.

    python make_data.py FOLDER [--files 8] [--every 2] [--faults]

Files go to FOLDER/underground, templates of the pulses to FOLDER/sps/templates; what is really in each file goes to
FOLDER/truth, where no step looks. Each record is printed as a line of JSON, as `tidemill items add -` takes it, once
its file is whole. Each call is a new run of the detector: ma22a000, then ma22a001, …
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import uproot
from detector import CHANNELS, DETECTOR, JITTER, SAMPLES, TRACES, TRIGGER, energies, noise, pulse

FAULTS = {1: "no-conditions", 3: "bad-status", 4: "cut-short", 6: "damaged-on-the-way"}
"""Which files of a run have what is sometimes wrong, where `--faults` asks for it."""

Json = dict[str, Any]


def next_run(underground: Path) -> str:
    """The name of the run after the newest that has files here."""
    there = [int(file.name[5:8]) for file in underground.glob(f"{DETECTOR}a[0-9][0-9][0-9]_*.root")]
    return f"{DETECTOR}a{max(there, default=-1) + 1:03d}"


def write_templates(folder: Path) -> None:
    """The shape of a pulse in each channel, from an earlier calibration: one array for each, of amplitude 1."""
    file = folder / f"{DETECTOR}.npz"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(file, **{channel.name: pulse(channel).astype(np.float32) for channel in CHANNELS})


def traces(name: str) -> tuple[dict[str, np.ndarray], list[Json]]:
    """The branches of a data file, and what was put into it; the same for the same name."""
    chance = np.random.default_rng(list(hashlib.sha256(name.encode()).digest()))
    energy, late = energies(TRACES, chance), chance.integers(-JITTER, JITTER + 1, TRACES)
    branches: dict[str, list[np.ndarray]] = {"event": [], "channel": [], "time": [], "trace": []}
    truth = []
    times = np.sort(chance.random(TRACES)) * 3600
    for number, channel in enumerate(CHANNELS):
        amplitudes = channel.gain * energy
        shapes = np.stack([pulse(channel, TRIGGER + shift) for shift in late])
        baseline = 2000 + 40 * chance.standard_normal((TRACES, 1))
        volts = baseline + amplitudes[:, None] * shapes + noise(channel, TRACES, chance)
        branches["event"].append(np.arange(TRACES, dtype=np.int32))
        branches["channel"].append(np.full(TRACES, number, dtype=np.uint8))
        branches["time"].append(times)
        branches["trace"].append(np.clip(np.rint(volts), -32768, 32767).astype(np.int16))
        for event, amplitude in enumerate(amplitudes):
            truth.append({"event": event, "channel": channel.name, "amplitude": round(float(amplitude), 3)})
    return {branch: np.concatenate(parts) for branch, parts in branches.items()}, truth


def write_data(file: Path, name: str) -> list[Json]:
    """Write a data file under a passing name, and give it its own once it is whole; what was put into it."""
    branches, truth = traces(name)
    part = file.with_name(f".{file.name}.part")
    with uproot.recreate(part) as root:
        root["channels"] = " ".join(channel.name for channel in CHANNELS)
        shapes = {"event": "int32", "channel": "uint8", "time": "float64", "trace": np.dtype((np.int16, (SAMPLES,)))}
        root.mktree("raw", shapes).extend(branches)
    part.rename(file)
    return truth


def record(file: Path, run: str, now: dt.datetime) -> Json:
    """The record of a data file, as one adds it to Tidemill."""
    hour = now.hour + now.minute / 60
    return {
        "name": file.stem,
        "status": "good",
        "metadata": {
            "run": run,
            "type": "physics",
            "detector": DETECTOR,
            "md5sum": hashlib.md5(file.read_bytes()).hexdigest(),
            "datecreated": now.isoformat(timespec="seconds"),
            "original_file": f"underground/{file.name}",
            "conditions": {
                "temperature": round(0.0205 + 0.0002 * float(np.sin(hour)), 5),
                "volts": {"detector_a": [8, -2, 4, -2]},
            },
        },
    }


def make(folder: Path, run: str, number: int, fault: str | None) -> Json:
    """One data file with its truth; its record."""
    file = folder / "underground" / f"{run}_{number:03d}.root"
    truth = write_data(file, file.stem)
    if fault == "cut-short":  # the computer stopped while it wrote: so the file is, and so it was recorded
        with file.open("rb+") as whole:
            whole.truncate(file.stat().st_size // 3)
    made = record(file, run, dt.datetime.now(dt.UTC))
    if fault == "no-conditions":
        del made["metadata"]["conditions"]
    elif fault == "bad-status":
        made |= {"status": "bad", "reason": "the cryostat was warm"}
    elif fault == "damaged-on-the-way":  # after its checksum was recorded
        with file.open("rb+") as damaged:
            damaged.seek(file.stat().st_size // 2)
            damaged.write(b"\0" * 64)
    told = {"name": made["name"], "fault": fault, "pulses": truth}
    (folder / "truth" / f"{made['name']}.json").write_text(json.dumps(told), encoding="utf-8")
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description="Make data files and print their records.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--every", type=float, default=0, help="seconds from one file to the next")
    parser.add_argument("--faults", action="store_true", help="some as files and records sometimes are")
    given = parser.parse_args()
    for name in ("underground", "sps", "truth"):
        (given.folder / name).mkdir(parents=True, exist_ok=True)
    write_templates(given.folder / "sps" / "templates")
    run = next_run(given.folder / "underground")
    for number in range(given.files):
        began = time.monotonic()
        made = make(given.folder, run, number, FAULTS.get(number) if given.faults else None)
        sys.stdout.write(json.dumps(made) + "\n")
        sys.stdout.flush()
        if number + 1 < given.files:
            time.sleep(max(0.0, given.every - (time.monotonic() - began)))


if __name__ == "__main__":
    main()
