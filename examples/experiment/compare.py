"""Hold what was found in data files against what the maker put into them.

    python compare.py DATA < FOUND

FOUND: lines of JSON, `{"item", "file"}`: a data file's name, and the `.amp.root` that was made of it. Prints a line of
JSON for each: pulses that should be found (of seven times the resolution and more) and how many were, how many were
found where there is none, how far the amplitudes are off in the mean (percent) and how they scatter (in resolutions).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import uproot

CLEAR = 7.0
"""Times the resolution from which on a pulse must be found; what is smaller may be."""


def compared(truth: list[dict[str, Any]], file: Path) -> dict[str, Any]:
    """The figures of one data file."""
    with uproot.open(file) as root:
        names = str(root["channels"]).split()
        found = root["amplitudes"].arrays(library="np")
    keys = [(names[channel], int(event)) for channel, event in zip(found["channel"], found["event"], strict=True)]
    amplitudes = dict(zip(keys, map(float, found["amplitude"]), strict=True))
    resolutions = {name: float(one) for (name, _), one in zip(keys, found["resolution"], strict=True)}
    known = {(pulse["channel"], pulse["event"]): pulse["amplitude"] for pulse in truth}
    clear = [key for key, amplitude in known.items() if amplitude > CLEAR * resolutions[key[0]]]
    seen = [key for key in clear if key in amplitudes]
    off = np.array([(amplitudes[key] - known[key]) / resolutions[key[0]] for key in seen])
    ratio = np.array([amplitudes[key] / known[key] for key in seen])
    return {
        "clear": len(clear),
        "found": len(seen),
        "false": sum(known[key] == 0 for key in amplitudes),
        "bias_percent": round(100 * float(ratio.mean() - 1), 2),
        "scatter": round(float(off.std()), 2),
    }


def main() -> None:
    data = Path(sys.argv[1])
    for line in sys.stdin:
        asked = json.loads(line)
        truth = json.loads((data / "truth" / f"{asked['item']}.json").read_text(encoding="utf-8"))
        found = {"item": asked["item"], **compared(truth["pulses"], Path(asked["file"]))}
        sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
