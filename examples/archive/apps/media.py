"""Read a recording's pictures and sound, and say in words when that cannot be done."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # quiet: what it would print is said by the errors below

import cv2
import imageio_ffmpeg
import numpy as np

Picture = np.ndarray[Any, np.dtype[np.uint8]]
SOUND_RATE = 8000


class UnreadableMedia(Exception):
    """The recording is missing, is not what its name says, or ends too early."""


def path_of(document: Any) -> Path:
    """The file that an MMIF document names. Raises UnreadableMedia if there is none at its location."""
    location = document.location_path(nonexist_ok=True)
    if not location:
        raise UnreadableMedia(f"document {document.id} names no file: its location is empty")
    path = Path(location)
    if not path.is_file():
        raise UnreadableMedia(f"{path.name} is not there: document {document.id} says it is at {path}")
    return path


class Video:
    """The pictures of one file, in order. A context manager; raises UnreadableMedia if it can't be opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        self.rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.promised = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.read = 0
        if not self._capture.isOpened() or self.rate <= 0:
            self._capture.release()
            raise UnreadableMedia(f"{path.name} is not a video that can be opened")

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        self._capture.release()

    def pictures(self, every_ms: int = 0, start_ms: int = 0, stop_ms: int = 0) -> Iterator[tuple[int, Picture]]:
        """Time in milliseconds and picture (height × width × BGR), at most one in `every_ms`; `stop_ms` 0 is the end.

        Raises UnreadableMedia when the pictures end more than a second before the header says.
        """
        due = start_ms
        while self._capture.grab():
            time_ms = round(self.read * 1000 / self.rate)
            self.read += 1
            if stop_ms and time_ms >= stop_ms:
                return
            if time_ms >= due:
                okay, picture = self._capture.retrieve()
                if not okay:
                    break
                due = time_ms + every_ms
                yield time_ms, picture
        require_whole(self.path, self.read, self.promised, self.rate)


def require_whole(path: Path, read: int, promised: int, rate: float) -> None:
    """Raise UnreadableMedia if more than a second of the promised pictures could not be read."""
    if promised - read > rate:
        raise UnreadableMedia(
            f"{path.name} is cut short: its header promises {promised / rate:.1f} s, "
            f"but its pictures end at {read / rate:.1f} s"
        )


def has_sound(path: Path) -> bool:
    """Whether the file has a sound track. Raises UnreadableMedia if it is no media file."""
    probe = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-i", str(path)]
    said = subprocess.run(probe, capture_output=True, text=True, errors="replace", check=False).stderr
    if "Stream #" not in said:
        raise UnreadableMedia(f"{path.name} is not a video or sound file that can be opened")
    return "Audio:" in said


def sound(path: Path, block_ms: int) -> Iterator[np.ndarray[Any, np.dtype[np.float32]]]:
    """The first sound track, mixed to one channel at SOUND_RATE, in blocks of `block_ms`, values in −1…1."""
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-v", "quiet", "-nostdin", "-i", str(path), "-map", "0:a:0"),
        *("-ac", "1", "-ar", str(SOUND_RATE), "-f", "s16le", "-"),
    ]
    size = SOUND_RATE * block_ms // 1000 * 2
    with subprocess.Popen(command, stdout=subprocess.PIPE) as ffmpeg:
        assert ffmpeg.stdout is not None
        try:
            while len(block := ffmpeg.stdout.read(size)) == size:
                yield np.frombuffer(block, dtype="<i2").astype(np.float32) / 32768
        finally:
            ffmpeg.kill()
