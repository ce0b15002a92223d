"""Make the example's recordings: small videos built the way an archive's tapes are.

    python make_recordings.py FOLDER

Each has SMPTE bars with a 1 kHz tone, a slate, a programme of several shots with a lower third, and credits.
One has no sound, one is cut short, one is no video at all. `truth.json` beside them says what is in each, for
tests. What is already there is not made again. Needs the example's environment (`setup_env.py`).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

import drawing
import imageio_ffmpeg

FPS = 10
CREDITS_SECONDS = 4


@dataclass(frozen=True)
class Recording:
    """One recording, and so also the truth about it. Lengths are in whole seconds."""

    number: int
    title: str
    date: str
    tape: str
    director: str
    guest: str
    role: str
    bars: int
    slate: int
    shots: list[int] = field(default_factory=lambda: [4, 5, 4, 5])
    fault: str | None = None  # "no-sound" | "cut-short" | "not-video"

    @property
    def guid(self) -> str:
        return f"cpb-aacip-507-{self.number:010d}"

    @property
    def slate_lines(self) -> list[tuple[str, str]]:
        return [
            ("PROGRAM", self.title),
            ("DATE", self.date),
            ("TAPE", self.tape),
            ("DIRECTOR", self.director),
            ("GUID", self.guid),
        ]

    @property
    def seconds(self) -> int:
        return self.bars + self.slate + sum(self.shots) + CREDITS_SECONDS

    @property
    def cuts(self) -> list[int]:
        """The second at which each new shot starts, slate, programme and credits included."""
        lengths = [self.bars, self.slate, *self.shots]
        return [sum(lengths[: place + 1]) for place in range(len(lengths))]


RECORDINGS = [
    Recording(
        1,
        title="Evening Journal",
        date="1974-03-12",
        tape="A-1041",
        director="Ruth Calder",
        guest="Dr. Alma Reyes",
        role="Marine biologist",
        bars=5,
        slate=4,
    ),
    Recording(
        2,
        title="Rivers of the North",
        date="1981-11-02",
        tape="B-2207",
        director="Tom Halvorsen",
        guest="Ingrid Moe",
        role="Ferry captain",
        bars=8,
        slate=5,
        shots=[6, 5, 7, 4, 6],
    ),
    Recording(
        3,
        title="City Council Live",
        date="1969-06-24",
        tape="C-0318",
        director="Peter Lamb",
        guest="Mayor Ellis Grant",
        role="City Hall",
        bars=4,
        slate=3,
        shots=[5, 3, 3, 4],
    ),
    Recording(
        4,
        title="The Jazz Hour",
        date="1977-09-30",
        tape="D-4410",
        director="Nina Brooks",
        guest="Clyde Warren",
        role="Trumpet",
        bars=10,
        slate=5,
        shots=[5, 6, 4, 5, 7, 6, 4],
    ),
    Recording(
        5,
        title="Silent Harvest",
        date="1958-08-17",
        tape="E-0052",
        director="Walter Finch",
        guest="Farmers of Dale",
        role="County archive",
        bars=4,
        slate=4,
        shots=[5, 4, 6],
        fault="no-sound",
    ),
    Recording(
        6,
        title="Science Workshop",
        date="1986-01-21",
        tape="F-6120",
        director="Maria Ortega",
        guest="Prof. Henry Wu",
        role="Physicist",
        bars=6,
        slate=4,
        shots=[4, 4, 3, 5, 4],
    ),
    Recording(
        7,
        title="Harbor Report",
        date="1979-05-08",
        tape="G-3371",
        director="Sam Whitaker",
        guest="Lucille Dunn",
        role="Dock worker",
        bars=5,
        slate=4,
        shots=[6, 6, 6, 6, 6],
        fault="cut-short",
    ),
    Recording(
        8,
        title="Lost Broadcast",
        date="1972-12-01",
        tape="H-0009",
        director="Unknown",
        guest="Unknown",
        role="Unknown",
        bars=5,
        slate=4,
        fault="not-video",
    ),
    Recording(
        9,
        title="Letters from Home",
        date="1983-02-14",
        tape="K-7755",
        director="Joan Pickett",
        guest="Arthur Bell",
        role="Historian",
        bars=7,
        slate=4,
        shots=[5, 5, 4, 6],
    ),
]


@cache
def smpte_bars() -> bytes:
    """One picture of SMPTE bars as ffmpeg draws them, in raw RGB."""
    source = f"smptebars=size={drawing.WIDTH}x{drawing.HEIGHT}:rate=1"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", source, "-frames:v", "1"]
    return subprocess.run(
        [*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], check=True, capture_output=True
    ).stdout


def pictures(recording: Recording) -> Iterator[bytes]:
    """Every picture of the recording in order, in raw RGB."""
    yield from (smpte_bars() for _ in range(recording.bars * FPS))
    slate = drawing.slate(recording.slate_lines).tobytes()
    yield from (slate for _ in range(recording.slate * FPS))
    for place, length in enumerate(recording.shots):
        seed = recording.number * 100 + place
        for tick in range(length * FPS):
            picture = drawing.scene(2 * recording.number + place, seed, tick / FPS)
            if place == 1 and FPS <= tick < 4 * FPS:
                picture = drawing.lower_third(picture, recording.guest, recording.role)
            yield picture.tobytes()
    thanks = [recording.title, f"Directed by {recording.director}", f"With {recording.guest}", "Tidemill Public Media"]
    for tick in range(CREDITS_SECONDS * FPS):
        yield drawing.credit_roll(thanks, tick / FPS).tobytes()


def sound_inputs(recording: Recording) -> list[str]:
    """ffmpeg's arguments for the sound: the tone under the bars, then soft noise as of a room."""
    if recording.fault == "no-sound":
        return ["-map", "0:v"]
    tone = f"sine=frequency=1000:sample_rate=16000:duration={recording.bars}"
    rest = recording.seconds - recording.bars
    room = f"anoisesrc=color=pink:amplitude=0.2:seed={recording.number}:sample_rate=16000:duration={rest}"
    return [
        *("-f", "lavfi", "-i", tone, "-f", "lavfi", "-i", room),
        *("-filter_complex", "[1:a][2:a]concat=n=2:v=0:a=1[sound]", "-map", "0:v", "-map", "[sound]"),
        *("-c:a", "aac", "-b:a", "48k"),
    ]


def encode(recording: Recording, target: Path) -> None:
    """Write the recording as MP4. Its index comes first, so that a cut file still opens, as from a broken copy."""
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"),
        *("-s", f"{drawing.WIDTH}x{drawing.HEIGHT}", "-r", str(FPS), "-i", "-"),
        *sound_inputs(recording),
        *("-c:v", "libx264", "-preset", "veryfast", "-crf", "26", "-pix_fmt", "yuv420p", "-threads", "1"),
        *("-g", str(5 * FPS), "-fflags", "+bitexact", "-flags", "+bitexact", "-movflags", "+faststart"),
        *("-f", "mp4", str(target)),
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as ffmpeg:
        assert ffmpeg.stdin is not None
        for picture in pictures(recording):
            ffmpeg.stdin.write(picture)
        ffmpeg.stdin.close()
    if ffmpeg.returncode:
        raise RuntimeError(f"ffmpeg ended with {ffmpeg.returncode} while making {target.name}")


def make(recording: Recording, folder: Path) -> str:
    """Make one recording in `folder` unless it is there; returns a line that says what happened."""
    target = folder / f"{recording.guid}.mp4"
    label = f"{target.name}  {recording.title}, {recording.seconds} s"
    if recording.fault:
        label += f" ({recording.fault})"
    if target.exists():
        return f"{label}: already there"
    started = time.monotonic()
    part = target.with_suffix(".part")
    if recording.fault == "not-video":
        part.write_text("This tape was lost. Only the label is left.\n" * 200)
    else:
        encode(recording, part)
    if recording.fault == "cut-short":
        with part.open("r+b") as file:
            file.truncate(part.stat().st_size * 6 // 10)
    part.rename(target)
    return f"{label}: made in {time.monotonic() - started:.1f} s"


def truth(recording: Recording) -> dict[str, object]:
    """What a perfect reader would find in the recording; times in milliseconds."""
    return {
        **asdict(recording),
        "guid": recording.guid,
        "file": f"{recording.guid}.mp4",
        "duration_ms": recording.seconds * 1000,
        "bars_ms": [0, recording.bars * 1000],
        "tone_ms": None if recording.fault == "no-sound" else [0, recording.bars * 1000],
        "slate_ms": [recording.bars * 1000, (recording.bars + recording.slate) * 1000],
        "slate_text": [value for _, value in recording.slate_lines],
        "cuts_ms": [second * 1000 for second in recording.cuts],
    }


def make_all(folder: Path) -> None:
    """Make every recording and `truth.json` in `folder`, two at a time, one printed line for each."""
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(2) as pool:
        for line in pool.map(lambda recording: make(recording, folder), RECORDINGS):
            print(line, flush=True)
    (folder / "truth.json").write_text(json.dumps([truth(recording) for recording in RECORDINGS], indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the example's recordings.")
    parser.add_argument("folder", type=Path)
    make_all(parser.parse_args().folder)


if __name__ == "__main__":
    main()
