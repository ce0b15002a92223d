"""A CLAMS app that finds a steady test tone in a recording's sound."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent))

import numpy as np
from media import SOUND_RATE, has_sound, path_of, sound
from mmif import AnnotationTypes, Mmif, View
from recording_app import RecordingApp, serve

BLOCK_MS = 200
QUIET = 1e-3  # root mean square below which there is no sound to speak of


def purity(block: np.ndarray[Any, np.dtype[np.float32]], frequency: int) -> float:
    """The part of the block's energy that lies within 30 Hz of the frequency, 0 to 1; 0 for silence."""
    if float(np.sqrt(np.mean(block**2))) < QUIET:
        return 0.0
    energy = np.abs(np.fft.rfft(block * np.hanning(len(block)))) ** 2
    near = np.abs(np.fft.rfftfreq(len(block), 1 / SOUND_RATE) - frequency) <= 30
    return float(energy[near].sum() / energy.sum())


class ToneDetector(RecordingApp):
    """Adds one TimeFrame for each stretch of tone."""

    def annotate_recording(self, mmif: Mmif, document: Any, view: View, **parameters: Any) -> None:
        path = path_of(document)
        view.new_contain(AnnotationTypes.TimeFrame, document=document.long_id, timeUnit="milliseconds")
        if not has_sound(path):
            warnings.warn(f"{path.name} has no sound track", stacklevel=1)
            return
        start, end = -1, 0
        for place, block in enumerate(sound(path, BLOCK_MS)):
            end = place * BLOCK_MS
            pure = purity(block, parameters["frequency"]) >= parameters["purity"]
            if pure and start < 0:
                start = end
            elif not pure and start >= 0:
                self._add(view, start, end, parameters["minDuration"])
                start = -1
        if start >= 0:
            self._add(view, start, end + BLOCK_MS, parameters["minDuration"])

    @staticmethod
    def _add(view: View, start: int, end: int, least: int) -> None:
        if end - start >= least:
            view.new_annotation(AnnotationTypes.TimeFrame, start=start, end=end, label="tone")


def get_app() -> ToneDetector:
    """The app, for clams-python's command line."""
    return ToneDetector()


if __name__ == "__main__":
    serve(get_app())
