"""A CLAMS app that cuts a video into shots with PySceneDetect."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent))

from media import Video, path_of, require_whole
from mmif import AnnotationTypes, Mmif, View
from recording_app import RecordingApp, serve
from scenedetect import SceneManager, open_video
from scenedetect.detectors import AdaptiveDetector, ContentDetector, HistogramDetector

logging.getLogger("pyscenedetect").setLevel(logging.WARNING)

METHODS = {"content": ContentDetector, "adaptive": AdaptiveDetector, "histogram": HistogramDetector}


class ShotDetector(RecordingApp):
    """Adds one TimeFrame for each shot; together they cover the recording."""

    def annotate_recording(self, mmif: Mmif, document: Any, view: View, **parameters: Any) -> None:
        path = path_of(document)
        with Video(path) as opened:  # PySceneDetect's own errors don't say what is wrong with the file
            rate, promised = opened.rate, opened.promised
        view.new_contain(AnnotationTypes.TimeFrame, document=document.long_id, timeUnit="milliseconds")
        shortest = max(1, round(parameters["minDuration"] * rate / 1000))
        manager = SceneManager()
        manager.add_detector(METHODS[parameters["method"]](min_scene_len=shortest))
        read = manager.detect_scenes(open_video(str(path), backend="opencv"))
        require_whole(path, read, promised, rate)
        for start, end in manager.get_scene_list(start_in_scene=True):
            view.new_annotation(
                AnnotationTypes.TimeFrame,
                start=round(start.seconds * 1000),
                end=round(end.seconds * 1000),
                label="shot",
            )


def get_app() -> ShotDetector:
    """The app, for clams-python's command line."""
    return ShotDetector()


if __name__ == "__main__":
    serve(get_app())
