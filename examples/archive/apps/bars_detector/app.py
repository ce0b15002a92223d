"""A CLAMS app that finds SMPTE colour bars (SMPTE EG 1) in a video."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent))

import cv2
import numpy as np
from media import Picture, Video, path_of
from mmif import AnnotationTypes, Mmif, View
from recording_app import RecordingApp, serve

# Grey, yellow, cyan, green, magenta, red, blue, each at 75 %, as BGR. They fill the upper two thirds.
BARS = np.array([[1, 1, 1], [0, 1, 1], [1, 1, 0], [0, 1, 0], [1, 0, 1], [0, 0, 1], [1, 0, 0]], dtype=np.float32)
STRIPES = 7 * 8


def likeness(picture: Picture) -> float:
    """How alike the picture and the bars are, 0 to 1: right colours in the right order, and upright stripes."""
    upper = picture[: picture.shape[0] * 6 // 10]
    small = cv2.resize(upper, (STRIPES, 24), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    across = small.mean(axis=0)
    stripes = across.reshape(7, 8, 3)[:, 2:6].mean(axis=1)
    if stripes.std() < 0.05:  # one flat colour has no pattern to compare
        return 0.0
    same = float(np.corrcoef(stripes.ravel(), BARS.ravel())[0, 1])
    upright = 1 - min(float(small.std(axis=0).mean()) * 4, 1)
    return max(same, 0.0) * upright


class BarsDetector(RecordingApp):
    """Adds one TimeFrame for each stretch of bars."""

    def annotate_recording(self, mmif: Mmif, document: Any, view: View, **parameters: Any) -> None:
        view.new_contain(AnnotationTypes.TimeFrame, document=document.long_id, timeUnit="milliseconds")
        with Video(path_of(document)) as video:
            for start, end, alike in self.find(video, **parameters):
                view.new_annotation(
                    AnnotationTypes.TimeFrame,
                    start=start,
                    end=end,
                    label="bars",
                    classification={"bars": round(alike, 3)},
                )

    @staticmethod
    def find(video: Video, **parameters: Any) -> list[tuple[int, int, float]]:
        """Start and end in milliseconds, and mean likeness, of each stretch of bars."""
        found: list[tuple[int, int, float]] = []
        start, alike, time_ms = -1, [0.0], 0
        for time_ms, picture in video.pictures(parameters["sampleEvery"], stop_ms=parameters["stopAt"]):
            score = likeness(picture)
            if score >= parameters["threshold"]:
                start, alike = (time_ms, [score]) if start < 0 else (start, [*alike, score])
            elif start >= 0:
                if time_ms - start >= parameters["minDuration"]:
                    found.append((start, time_ms, sum(alike) / len(alike)))
                    if parameters["stopAfterOne"]:
                        return found
                start = -1
        if start >= 0 and time_ms - start >= parameters["minDuration"]:
            found.append((start, time_ms, sum(alike) / len(alike)))
        return found


def get_app() -> BarsDetector:
    """The app, for clams-python's command line."""
    return BarsDetector()


if __name__ == "__main__":
    serve(get_app())
