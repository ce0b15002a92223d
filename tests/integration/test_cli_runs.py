"""The main job from the command line: from a site file to the documents, with what goes wrong on the way."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
from tests.apps import ScriptedApp
from tests.program import Program, site_file


@pytest.fixture
def tidemill(tmp_path: Path, database_url: str) -> Program:
    return Program(tmp_path / "site", database_url)


@pytest.fixture
def ready(tidemill: Program, tmp_path: Path) -> tuple[Program, ScriptedApp]:
    """A site with three recordings, an app, a pipeline of two steps, and the batch `all`."""
    with ScriptedApp("ok") as app:
        tidemill("apply", site_file(tmp_path, app), "--yes")
        tidemill("sync")
        tidemill("batch", "make", "all", "--from-project", "evening")
        yield tidemill, app


def test_apply_shows_asks_applies_once_and_is_exported(tidemill: Program, tmp_path: Path) -> None:
    with ScriptedApp("ok") as app:
        file = site_file(tmp_path, app)
        shown = tidemill("apply", file, "--dry-run")
        assert "+ app bars" in shown.out
        assert "+ pipeline slates" in shown.out
        refused = tidemill("apply", file, code=7)
        assert "+ app bars" in refused.out
        assert "--yes" in refused.err
        assert tidemill("apps", "--json").json == []
        assert tidemill("apply", file, "--yes", "--json").json["applied"]
        assert tidemill("apply", file).out.startswith("nothing to change")
        tidemill("export", tmp_path / "again.toml")
        assert tidemill("apply", tmp_path / "again.toml", "--json").json["changes"] == []
        assert "is there already" in tidemill("export", tmp_path / "again.toml", code=3).err


def test_a_mistake_in_the_site_file_is_told_with_its_line(tidemill: Program, tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text('title = "x"\n[[apps]]\nname = "bars"\nurll = "http://127.0.0.1:1"\n')
    wrong = tidemill("apply", tmp_path / "site.toml", "--yes", code=3)
    assert "site.toml:4" in wrong.err
    assert "url" in wrong.err


def test_a_run_goes_to_its_end_and_gives_each_recordings_mmif(
    ready: tuple[Program, ScriptedApp], tmp_path: Path
) -> None:
    tidemill, app = ready
    ran = tidemill("run", "all")
    assert "No worker is there" in ran.err
    assert "3 done" in ran.out
    mmif = json.loads(tidemill("document", "rec-1").out)
    assert len(mmif["views"]) == 2
    assert len(json.loads(tidemill("document", "rec-1", "--step", "1").out)["views"]) == 1
    assert len(json.loads(tidemill("document", "rec-1", "--step", "bars-2").out)["views"]) == 2
    view = tidemill("item", "rec-1", "--json").json
    assert [step["name"] for step in view["process"]] == ["bars", "bars-2"]
    assert tidemill("document", view["process"][0]["output"]).out == tidemill("document", "rec-1", "--step", "1").out
    assert "bars-2" in tidemill("item", "rec-1").out
    tidemill("document", "rec-1", "-o", tmp_path / "out.mmif")
    assert json.loads((tmp_path / "out.mmif").read_text()) == mmif
    calls = len(app.calls)
    tidemill("run", "all")
    assert len(app.calls) == calls, "outputs are used again"
    tidemill("run", "all", "--no-reuse")
    assert len(app.calls) == calls + 6
    assert "nothing to start" in tidemill("run", "all", "--only-not-done", code=5).err


def test_what_failed_is_told_and_tried_again(ready: tuple[Program, ScriptedApp]) -> None:
    tidemill, app = ready
    app.script("error_view:message=no picture", when="rec-2")
    ran = tidemill("run", "all", code=1)
    assert "1 failed" in ran.out
    assert "rec-2 at bars: " in ran.out
    assert "no picture" in ran.out
    watched = tidemill("watch", 1, "--json", code=1).lines
    assert watched[-1]["type"] == "end"
    assert watched[-1]["failures"][0]["item"] == "rec-2"
    assert watched[-1]["run"]["totals"]["done"] == 2
    assert "it is failed at bars" in tidemill("document", "rec-2", code=5).err
    assert tidemill("retry", 1, "--reason", "no such words", code=5).err.startswith("error: Run 1 has no failed")
    app.script("ok", when="rec-2")
    assert tidemill("retry", 1, "--reason", "picture", "--json").json == {"run": 1, "retried": 1}
    with tidemill.start("worker"):
        assert "3 done" in tidemill("watch", 1).out


def test_a_rerun_shows_what_it_will_touch_and_wants_a_yes(ready: tuple[Program, ScriptedApp]) -> None:
    tidemill, app = ready
    tidemill("run", "all")
    refused = tidemill("rerun", 1, "--from", "bars-2", "--item", "rec-0", code=7)
    assert "1 task would start again, 1 finished step" in refused.err
    assert "superseded" in refused.err
    assert tidemill("runs", "--json").json[0]["state"] == "done"
    calls = len(app.calls)
    assert tidemill("rerun", 1, "--from", "2", "--item", "rec-0", "--yes", "--json").json == {"run": 1, "rerun": 1}
    with tidemill.start("worker"):
        tidemill("watch", 1)
    assert len(app.calls) == calls + 1
    assert "unknown items of run 1: rec-9" in tidemill("rerun", 1, "--from", "1", "--item", "rec-9", code=3).err
    assert "It has: 1 bars, 2 bars-2" in tidemill("rerun", 1, "--from", "3", "--yes", code=4).err


def test_a_run_is_paused_resumed_and_cancelled(ready: tuple[Program, ScriptedApp]) -> None:
    tidemill, app = ready
    started = tidemill("run", "all", "--paused", "--pipeline", "slates", "--priority", "5", "--json").json["run"]
    assert (started["id"], started["paused"], started["priority"]) == (1, True, 5)
    with tidemill.start("worker") as worker:
        worker.until("Working")
        tidemill("cancel", 1, "rec-0")
        assert not app.calls
        assert "Run 1 is active again" in tidemill("resume", 1).out
        ended = tidemill("watch", 1)
        assert "2 done, 1 cancelled" in ended.out
        tidemill("pause", "--app", "bars")
        assert tidemill("apps", "--json").json[0]["paused"]
        tidemill("run", "all", "--no-reuse", "--no-watch")
        with tidemill.start("watch", 2) as watching:
            watching.until("bars is paused")
            tidemill("cancel", 2)
            assert watching.end() == 8
        tidemill("apps", "resume", "bars")
    assert "there is nothing left to hold back" in tidemill("pause", 2, code=5).err


def test_batches_are_made_all_or_not_at_all(ready: tuple[Program, ScriptedApp], tmp_path: Path) -> None:
    tidemill, _ = ready
    unknown = tidemill("batch", "make", "some", "--ids", "-", text="rec-0, rec-7\nrec-8", code=3)
    assert "2 unknown items: rec-7, rec-8" in unknown.err
    (tmp_path / "ids.txt").write_text("rec-2\nrec-0\n")
    assert tidemill("batch", "make", "some", "--ids", tmp_path / "ids.txt", "--json").json["size"] == 2
    assert tidemill("batch", "show", "some", "--items").out.split() == ["rec-2", "rec-0"]
    assert tidemill("batch", "make", "one", "--search", "rec-1").out == "Batch one: 1 item.\n"
    tidemill("batch", "duplicate", "some", "more")
    combined = tidemill("batch", "combine", "both", "some", "one")
    assert "Batch both: 3 items." in combined.out
    assert "one: 1 item, 0 also in another, 1 only here: rec-1" in combined.err
    assert [row["name"] for row in tidemill("batch", "list", "--json").json] == ["both", "more", "one", "some", "all"]
    assert "Did you mean 'both'?" in tidemill("batch", "show", "bouth", code=4).err
    assert "say from what" in tidemill("batch", "make", "none", code=2).err
    assert "already" in tidemill("batch", "make", "some", "--from-batch", "all", code=5).err


def test_sync_reports_what_it_saw(ready: tuple[Program, ScriptedApp], tmp_path: Path) -> None:
    tidemill, _ = ready
    (tmp_path / "media" / "rec-0.mp4").unlink()
    (tmp_path / "media" / "rec-1.mp4").write_bytes(b"longer than before")
    (tmp_path / "media" / "notes.txt").write_text("?")
    refused = tidemill("sync", "tapes", code=5)
    assert "33% of its 3 files are gone (1: rec-0.mp4)" in refused.err
    assert "--allow-bucket-wipe" in refused.err
    said = tidemill("sync", "tapes", "--allow-bucket-wipe", "--json").json[0]
    assert (said["created"], said["changed"], said["deleted"]) == (0, 1, 1)
    assert said["gone"] == {"count": 1, "keys": ["rec-0.mp4"]}
    assert said["unmatched"] == {"count": 1, "keys": ["notes.txt"]}
    assert tidemill("items", "rec-*", "--limit", "1", "--json").json["total"] == 3
    assert tidemill("sync", "taps", code=4)


def test_apps_are_registered_shown_and_refreshed(tidemill: Program) -> None:
    parameters = [{"name": "minFrames", "type": "integer", "default": 5, "description": "how many"}]
    with ScriptedApp("ok", name="Bars", version="v1.0", parameters=parameters) as app:
        assert "App bars v1.0 is registered" in tidemill("apps", "add", "bars", app.url).out
        assert "is as it was" in tidemill("apps", "add", "bars", app.url).out
        shown = tidemill("apps", "show", "bars")
        assert "minFrames" in shown.out
        assert "● up" in shown.out
        app.version = "v2.0"
        assert tidemill("apps", "refresh", "--json").json == [
            {"app": "bars", "changed": True, "version": "v2.0", "error": None}
        ]
    gone = tidemill("apps", "refresh", "bars", code=9)
    assert "bars: " in gone.out
    assert "does not allow" in tidemill("apps", "add", "far", "http://192.0.2.1/", code=9).err


def test_a_run_comes_as_a_zip(ready: tuple[Program, ScriptedApp], tmp_path: Path) -> None:
    tidemill, app = ready
    app.script("error_view:message=no picture", when="rec-2")
    tidemill("run", "all", code=1)
    tidemill("document", "--run", 1, "--zip", tmp_path / "all.zip")
    packed = zipfile.ZipFile(io.BytesIO((tmp_path / "all.zip").read_bytes()))
    names = packed.namelist()
    assert sum("rec-" in name for name in names) == 2
    manifest = packed.read(next(name for name in names if "manifest" in name)).decode()
    assert "rec-2" in manifest
