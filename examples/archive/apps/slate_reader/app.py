"""A CLAMS app that finds a recording's slate and reads it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent))

import cv2
import numpy as np
from media import Picture, Video, path_of
from mmif import AnnotationTypes, Mmif, View
from rapidocr import RapidOCR
from recording_app import RecordingApp, serve

LOOK_EVERY_MS = 200
STILL_MS = 1000
STILL = 2.0  # mean difference of two pictures, of 255, up to which nothing moves
SHARP = 0.01  # part of a picture that must be edges before the reader is asked


@dataclass(frozen=True)
class Still:
    """A stretch in which the picture stands still; times in milliseconds."""

    start: int
    end: int
    picture: Picture

    @property
    def middle(self) -> int:
        return (self.start + self.end) // 2


@dataclass(frozen=True)
class Piece:
    """One piece of a line that was read: its text, how sure the reader is, its four corners in pixels."""

    text: str
    confidence: float
    corners: list[list[int]]

    @property
    def height(self) -> int:
        return self.corners[3][1] - self.corners[0][1]

    @property
    def middle(self) -> float:
        return (self.corners[0][1] + self.corners[3][1]) / 2


def stills(video: Video, start_ms: int, stop_ms: int) -> Iterator[Still]:
    """The stretches of at least a second in which the picture stands still, in order, each at its end."""
    first: tuple[int, Picture, Picture] | None = None
    last = start_ms
    for last, picture in video.pictures(LOOK_EVERY_MS, start_ms, stop_ms):
        small = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), (160, 90), interpolation=cv2.INTER_AREA)
        if first is not None and float(cv2.absdiff(small, first[2]).mean()) <= STILL:
            continue
        if first is not None and last - first[0] >= STILL_MS:
            yield Still(first[0], last, first[1])
        first = (last, picture, small)
    if first is not None and last - first[0] >= STILL_MS:
        yield Still(first[0], last, first[1])


def may_hold_text(picture: Picture) -> bool:
    """Whether there are edges enough for text: a flat picture need not be read."""
    edges = cv2.Canny(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), 80, 160)
    return float(np.count_nonzero(edges)) / edges.size >= SHARP


class SlateReader(RecordingApp):
    """Adds the slate's TimeFrame and TimePoint, its text as one TextDocument, and a box for each line."""

    _reader: RapidOCR | None = None

    def warm_up(self) -> None:
        # Loaded in the process that serves, not in the one that forks it: the model's threads don't survive a fork.
        self._reader = RapidOCR(
            params={
                "Global.log_level": "error",
                "Global.use_cls": False,
                "EngineConfig.onnxruntime.intra_op_num_threads": 2,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )

    def read(self, picture: Picture, least: float) -> list[list[Piece]]:
        """The picture's lines of text from top to bottom, each with its pieces from left to right."""
        if self._reader is None:
            self.warm_up()
        assert self._reader is not None
        seen = self._reader(picture)
        if not seen.txts:
            return []
        pieces = [
            Piece(text, float(score), np.rint(box).astype(int).tolist())
            for text, score, box in zip(seen.txts, seen.scores, seen.boxes, strict=True)
            if score >= least and text.strip()
        ]
        return in_lines(pieces)

    def annotate_recording(self, mmif: Mmif, document: Any, view: View, **parameters: Any) -> None:
        path = path_of(document)
        for at_type in (AnnotationTypes.TimeFrame, AnnotationTypes.TimePoint):
            view.new_contain(at_type, document=document.long_id, timeUnit="milliseconds")
        view.new_contain(AnnotationTypes.BoundingBox, document=document.long_id)
        start = bars_end(mmif, document)
        with Video(path) as video:
            for still in stills(video, start, start + parameters["searchFor"]):
                if not may_hold_text(still.picture):
                    continue
                lines = self.read(still.picture, parameters["minConfidence"])
                if len(lines) >= parameters["minLines"]:
                    add_slate(view, still, lines)
                    return


def in_lines(pieces: list[Piece]) -> list[list[Piece]]:
    """The pieces in lines: those whose middles lie within half a letter's height of each other stand side by side."""
    lines: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda piece: piece.middle):
        if lines and piece.middle - lines[-1][0].middle < piece.height / 2:
            lines[-1].append(piece)
        else:
            lines.append([piece])
    return [sorted(line, key=lambda piece: piece.corners[0][0]) for line in lines]


def bars_end(mmif: Mmif, document: Any) -> int:
    """Where the bars of this recording end, in milliseconds; 0 if no app found any."""
    ends = [
        int(frame.get_property("end"))
        for view in mmif.get_all_views_contain(AnnotationTypes.TimeFrame)
        for frame in view.get_annotations(AnnotationTypes.TimeFrame, label="bars")
        if frame.get_property("document") in (document.id, document.long_id)
    ]
    return max(ends, default=0)


def add_slate(view: View, still: Still, lines: list[list[Piece]]) -> None:
    """Add the slate and its text to the view. Each piece is a Span of the text, aligned to its box."""
    point = view.new_annotation(AnnotationTypes.TimePoint, timePoint=still.middle, label="slate")
    frame = view.new_annotation(
        AnnotationTypes.TimeFrame, start=still.start, end=still.end, label="slate", representatives=[point.long_id]
    )
    text = view.new_textdocument("\n".join(" ".join(piece.text for piece in line) for line in lines))
    for source in (frame, point):
        view.new_annotation(AnnotationTypes.Alignment, source=source.long_id, target=text.long_id)
    view.new_contain(AnnotationTypes.Span, document=text.long_id)
    offset = 0
    for piece in (piece for line in lines for piece in line):
        add_piece(view, point, piece, offset)
        offset += len(piece.text) + 1


def add_piece(view: View, point: Any, piece: Piece, offset: int) -> None:
    """Add where in the picture and where in the text a piece stands."""
    box = view.new_annotation(
        AnnotationTypes.BoundingBox,
        coordinates=piece.corners,
        timePoint=point.long_id,
        label="text",
        confidence=round(piece.confidence, 3),
    )
    span = view.new_annotation(AnnotationTypes.Span, start=offset, end=offset + len(piece.text), text=piece.text)
    view.new_annotation(AnnotationTypes.Alignment, source=box.long_id, target=span.long_id)


def get_app() -> SlateReader:
    """The app, for clams-python's command line."""
    return SlateReader()


if __name__ == "__main__":
    serve(get_app())
