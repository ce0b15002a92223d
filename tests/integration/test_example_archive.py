"""The archive example: its recordings are made and its CLAMS apps look at them, each for real."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "archive"
WHOLE = [1, 2, 3, 4, 5, 6, 9]
SILENT, CUT_SHORT, NOT_VIDEO = 5, 7, 8
CHAIN = ["bars_detector", "tone_detector", "slate_reader", "shot_detector"]
TOLERANCE_MS = 250  # the apps look five times a second

Json = dict[str, Any]

pytestmark = pytest.mark.xdist_group("archive")  # so that one process alone starts the apps, and asks them once


@pytest.fixture(scope="session")
def python() -> Path:
    """The interpreter of the example's own environment, which is made if need be."""
    made = subprocess.run(
        [sys.executable, str(EXAMPLE / "setup_env.py")], check=True, stdout=subprocess.PIPE, text=True, timeout=900
    )
    return Path(made.stdout.strip())


def make_recordings(python: Path, folder: Path) -> str:
    command = [str(python), str(EXAMPLE / "make_recordings.py"), str(folder)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


@pytest.fixture(scope="session")
def recordings(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the example's recordings, made once for all of pytest's processes."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder = root / "recordings"
    with (root / "recordings.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make_recordings(python, folder)
    return folder


@contextmanager
def serving(python: Path, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, str]]]:
    """The apps, running: the process that keeps them, and name → URL."""
    addresses = folder / "apps.json"
    command = [str(python), str(EXAMPLE / "serve_apps.py"), "--with-parent", "--ports-file", str(addresses)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: addresses.exists() or process.poll() is not None, seconds=90)
            assert process.poll() is None, "serve_apps.py ended while starting"
            yield process, json.loads(addresses.read_text())
        finally:
            process.terminate()


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def apps(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with serving(python, tmp_path_factory.mktemp("apps")) as (_, urls):
        yield urls


@pytest.fixture(scope="module")
def truth(recordings: Path) -> dict[int, Json]:
    return {entry["number"]: entry for entry in json.loads((recordings / "truth.json").read_text())}


def source(file: Path) -> Json:
    """The MMIF that a chain starts from: one video document and no view."""
    properties = {"id": "d1", "mime": "video/mp4", "location": f"file://{file}"}
    video = {"@type": "http://clams.ai/vocabulary/type/VideoDocument/v2", "properties": properties}
    return {"metadata": {"mmif": "http://mmif.clams.ai/1.2.0"}, "documents": [video], "views": []}


def post(url: str, mmif: Json, **parameters: object) -> tuple[int, Json]:
    """Status and MMIF that an app answers."""
    request = urllib.request.Request(f"{url}/?{urllib.parse.urlencode(parameters)}", json.dumps(mmif).encode())
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def found(view: Json, kind: str) -> list[Json]:
    """The properties of the view's annotations of a kind, with those that they share (MMIF's `contains`)."""
    shared = {uri.split("/")[-2]: properties for uri, properties in view["metadata"]["contains"].items()}
    annotations = [a for a in view["annotations"] if a["@type"].split("/")[-2] == kind]
    return [{**shared.get(kind, {}), **annotation["properties"]} for annotation in annotations]


def only_view(mmif: Json, app: str) -> Json:
    [view] = [view for view in mmif["views"] if app.replace("_", "-") in view["metadata"]["app"]]
    return view


def error_of(mmif: Json) -> str:
    return str(mmif["views"][-1]["metadata"]["error"]["message"])


@pytest.fixture(scope="module")
def through_chain(apps: dict[str, str], recordings: Path, truth: dict[int, Json]) -> Callable[[int], Json]:
    """Sends a recording through all apps, each getting what the one before put out; remembers the end."""

    @cache
    def send(number: int) -> Json:
        mmif = source(recordings / truth[number]["file"])
        for name in CHAIN:
            status, answer = post(apps[name], mmif)
            assert status == 200, error_of(answer)
            assert answer["views"][: len(mmif["views"])] == mmif["views"]
            mmif = answer
        return mmif

    return send


@pytest.mark.parametrize("number", WHOLE)
def test_bars_and_tone_are_found_where_they_are(
    number: int, truth: dict[int, Json], through_chain: Callable[[int], Json]
) -> None:
    mmif = through_chain(number)
    [bars] = found(only_view(mmif, "bars_detector"), "TimeFrame")
    assert bars["label"] == "bars"
    assert [bars["start"], bars["end"]] == pytest.approx(truth[number]["bars_ms"], abs=TOLERANCE_MS)
    if number != SILENT:
        [tone] = found(only_view(mmif, "tone_detector"), "TimeFrame")
        assert tone["label"] == "tone"
        assert [tone["start"], tone["end"]] == pytest.approx(truth[number]["tone_ms"], abs=TOLERANCE_MS)


@pytest.mark.parametrize("number", WHOLE)
def test_the_slate_is_found_and_read(number: int, truth: dict[int, Json], through_chain: Callable[[int], Json]) -> None:
    view = only_view(through_chain(number), "slate_reader")
    [slate] = found(view, "TimeFrame")
    assert slate["label"] == "slate"
    assert [slate["start"], slate["end"]] == pytest.approx(truth[number]["slate_ms"], abs=TOLERANCE_MS)
    [document] = found(view, "TextDocument")
    text = document["text"]["@value"]
    for words in truth[number]["slate_text"]:
        assert words in text
    assert len(text.splitlines()) == 5


def test_each_piece_of_the_slate_is_tied_to_its_box(through_chain: Callable[[int], Json]) -> None:
    view = only_view(through_chain(1), "slate_reader")
    text = found(view, "TextDocument")[0]["text"]["@value"]
    spans = {span["id"]: span for span in found(view, "Span")}
    boxes = {box["id"]: box for box in found(view, "BoundingBox")}
    pairs = [(a["source"], a["target"]) for a in found(view, "Alignment") if a["source"] in boxes]
    assert len(pairs) == len(boxes) == len(spans) > 0
    for box, span in pairs:
        assert text[spans[span]["start"] : spans[span]["end"]] == spans[span]["text"]
        assert all(0 <= x <= 640 and 0 <= y <= 360 for x, y in boxes[box]["coordinates"])


@pytest.mark.parametrize("number", WHOLE)
def test_shots_begin_at_the_cuts_and_cover_the_recording(
    number: int, truth: dict[int, Json], through_chain: Callable[[int], Json]
) -> None:
    shots = found(only_view(through_chain(number), "shot_detector"), "TimeFrame")
    assert {shot["label"] for shot in shots} == {"shot"}
    assert [shot["start"] for shot in shots[1:]] == pytest.approx(truth[number]["cuts_ms"], abs=TOLERANCE_MS)
    assert [shot["end"] for shot in shots[:-1]] == [shot["start"] for shot in shots[1:]]
    assert shots[0]["start"] == 0
    assert shots[-1]["end"] == pytest.approx(truth[number]["duration_ms"], abs=TOLERANCE_MS)


def test_a_recording_without_sound_is_no_failure(through_chain: Callable[[int], Json]) -> None:
    warnings = only_view(through_chain(SILENT), "tone_detector")["metadata"]["warnings"]
    assert any("has no sound track" in warning for warning in warnings)


def test_a_recording_cut_short_is_read_as_far_as_it_goes(
    apps: dict[str, str], recordings: Path, truth: dict[int, Json]
) -> None:
    _, bars = post(apps["bars_detector"], source(recordings / truth[CUT_SHORT]["file"]))
    status, slate = post(apps["slate_reader"], bars)
    assert status == 200
    assert truth[CUT_SHORT]["title"] in found(only_view(slate, "slate_reader"), "TextDocument")[0]["text"]["@value"]
    status, answer = post(apps["shot_detector"], slate)
    assert status == 500
    assert answer["views"][:-1] == slate["views"]
    assert "is cut short: its header promises 43.0 s, but its pictures end at" in error_of(answer)


@pytest.mark.parametrize("name", CHAIN)
def test_what_is_no_video_is_an_error_in_words(
    name: str, apps: dict[str, str], recordings: Path, truth: dict[int, Json]
) -> None:
    status, answer = post(apps[name], source(recordings / truth[NOT_VIDEO]["file"]))
    assert status == 500
    assert truth[NOT_VIDEO]["file"] in error_of(answer)
    assert "that can be opened" in error_of(answer)


@pytest.mark.parametrize("name", CHAIN)
def test_a_missing_file_is_an_error_in_words(name: str, apps: dict[str, str], tmp_path: Path) -> None:
    status, answer = post(apps[name], source(tmp_path / "cpb-aacip-507-0000000099.mp4"))
    assert status == 500
    assert "cpb-aacip-507-0000000099.mp4 is not there" in error_of(answer)


def test_an_app_that_was_fed_before_a_broken_file_still_works(
    apps: dict[str, str], recordings: Path, truth: dict[int, Json]
) -> None:
    assert post(apps["bars_detector"], source(recordings / truth[NOT_VIDEO]["file"]))[0] == 500
    assert post(apps["bars_detector"], source(recordings / truth[3]["file"]))[0] == 200


def test_the_slate_reader_finds_the_slate_without_bars_too(
    apps: dict[str, str], recordings: Path, truth: dict[int, Json]
) -> None:
    _, answer = post(apps["slate_reader"], source(recordings / truth[3]["file"]))
    assert truth[3]["title"] in found(only_view(answer, "slate_reader"), "TextDocument")[0]["text"]["@value"]


def test_parameters_change_what_an_app_does(apps: dict[str, str], recordings: Path, truth: dict[int, Json]) -> None:
    whole = source(recordings / truth[3]["file"])
    status, answer = post(apps["bars_detector"], whole, minDuration=20000, stopAfterOne="false")
    assert status == 200
    assert "produced no annotations" in answer["views"][-1]["metadata"]["warnings"][0]
    _, answer = post(apps["tone_detector"], whole, frequency=440)
    assert "produced no annotations" in answer["views"][-1]["metadata"]["warnings"][0]
    _, answer = post(apps["shot_detector"], whole, minDuration=15000)
    assert len(found(answer["views"][-1], "TimeFrame")) < len(truth[3]["cuts_ms"])
    status, answer = post(apps["shot_detector"], whole, method="guess")
    assert status == 500
    assert "must be one of ['content', 'adaptive', 'histogram']" in error_of(answer)


def test_the_metadata_tells_which_app_must_come_before_which(apps: dict[str, str]) -> None:
    metadata = {name: json.load(urllib.request.urlopen(url, timeout=30)) for name, url in apps.items()}
    frame = "http://clams.ai/vocabulary/type/TimeFrame/v6"
    [video, bars] = metadata["slate_reader"]["input"]
    assert video["@type"] == "http://clams.ai/vocabulary/type/VideoDocument/v2"
    assert (bars["@type"], bars["properties"], bars["required"]) == (frame, {"label": "bars"}, True)
    assert bars["properties"].items() <= metadata["bars_detector"]["output"][0]["properties"].items()
    assert len({entry["identifier"] for entry in metadata.values()}) == len(CHAIN)
    assert {entry["app_version"] for entry in metadata.values()} == {"1.0.0"}


def test_an_app_runs_on_the_command_line(
    python: Path, recordings: Path, truth: dict[int, Json], tmp_path: Path
) -> None:
    def run(number: int) -> tuple[int, Json]:
        (tmp_path / "in.mmif").write_text(json.dumps(source(recordings / truth[number]["file"])))
        command = [
            str(python),
            "cli.py",
            "--minDuration",
            "1500",
            "--",
            str(tmp_path / "in.mmif"),
            str(tmp_path / "out.mmif"),
        ]
        done = subprocess.run(command, cwd=EXAMPLE / "apps" / "bars_detector", capture_output=True, timeout=60)
        return done.returncode, json.loads((tmp_path / "out.mmif").read_text())

    status, answer = run(3)
    assert status == 0
    assert found(answer["views"][0], "TimeFrame")[0]["label"] == "bars"
    assert answer["views"][0]["metadata"]["appConfiguration"]["minDuration"] == 1500
    status, answer = run(NOT_VIDEO)
    assert status == 1
    assert "is not a video that can be opened" in error_of(answer)


@pytest.mark.fault
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_no_app_outlives_the_one_that_started_it(how: signal.Signals, python: Path, tmp_path: Path) -> None:
    def refused(url: str) -> bool:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return False
        except urllib.error.HTTPError:
            return False
        except OSError as error:  # what takes long to answer is there
            return isinstance(getattr(error, "reason", error), ConnectionRefusedError)

    with serving(python, tmp_path) as (process, urls):
        assert not any(refused(url) for url in urls.values())
        process.send_signal(how)
        process.wait(60)
        wait_until(lambda: all(refused(url) for url in urls.values()), seconds=60)


def test_nothing_is_made_twice(python: Path, recordings: Path) -> None:
    before = {file.name: file.stat().st_mtime_ns for file in recordings.glob("*.mp4")}
    assert len(before) == 9
    lines = make_recordings(python, recordings).splitlines()
    assert all(line.endswith(": already there") for line in lines)
    assert len(lines) == 9
    assert {file.name: file.stat().st_mtime_ns for file in recordings.glob("*.mp4")} == before

    marker = EXAMPLE / ".venv" / "made-from"
    made = marker.stat().st_mtime_ns
    subprocess.run([sys.executable, str(EXAMPLE / "setup_env.py")], check=True, capture_output=True, timeout=60)
    assert marker.stat().st_mtime_ns == made
