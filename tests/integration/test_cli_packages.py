"""Packages from the command line: made, listed, dispatched, stopped and gone on with, cleaned up."""

from __future__ import annotations

import re
import sys
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.program import Program

PACKAGES = """
[[packages]]
name = "all"
per = "project"
file = "{project}_ALL.zip"
files = [{ into = "{item}/{name}" }]

[[packages]]
name = "single"
per = "item"
file = "{item}.zip"
files = [{ into = "{name}" }]
"""
NAMES = ["P1_ALL.zip", "S1.zip", "S2.zip"]


@pytest.fixture
def tidemill(tmp_path: Path, database_url: str) -> Program:
    for item in ("S1", "S2"):
        path = tmp_path / "bucket" / "P1" / item / f"{item}.bin"
        path.parent.mkdir(parents=True)
        path.write_text(item * 1000)
    return Program(tmp_path / "site", database_url)


def laid(tidemill: Program, more: str = "") -> None:
    """The site file applied, and its source read."""
    path = tidemill.site.parent / "site.toml"
    path.write_text(
        '[[sources]]\nname = "bucket"\nurl = "bucket"\n'
        'layout = [{ pattern = "{project}/{item}/{file}.bin" }, '
        '{ pattern = "*.csv", attributes = { role = "metadata" } }]\n' + PACKAGES + more
    )
    tidemill("apply", path, "--yes")
    tidemill("sync-original-files")


def slow(tidemill: Program) -> Path:
    """An app that packs when the file whose path is returned is there; as `publishing.engine`."""
    go = tidemill.site.parent / "go"
    program = Path(sys.executable).with_name("tidemill")
    command = f"until test -e {go}; do sleep 0.05; done; exec {program} build-package $1 $2"
    laid(
        tidemill,
        f'[publishing]\nengine = "packer"\n[[apps]]\nname = "packer"\nkind = "command"\ntries = 1\n'
        f'command = ["sh", "-c", "{command}", "sh", "{{input}}", "{{output}}"]\n',
    )
    return go


def test_packages_are_made_and_listed_and_not_made_again(tidemill: Program) -> None:
    laid(tidemill)
    made = tidemill("generate-computed-files", "--max-workers", 2)
    assert "Run 1: 3 packages of" in made.err
    assert "[3 of 3]" in made.out
    assert "Packages: 3 made." in made.out
    rows = tidemill("computed-files", "--json").json
    assert [(row["name"], row["state"], row["project"]) for row in rows] == [(name, "current", "P1") for name in NAMES]
    for row in rows:
        path = Path(urlsplit(row["store"]).path) / row["key"]
        assert path.stat().st_size == row["size"]
        assert zipfile.ZipFile(path).testzip() is None
    exported = tidemill("export").out
    assert "package-builder" not in exported
    assert "[[pipelines]]" not in exported
    assert "package-builder" not in tidemill("apply", tidemill.site.parent / "site.toml", "--yes").out
    again = tidemill("generate-computed-files")
    assert "3 packages there and unchanged." in again.err
    assert tidemill("generate-computed-files", "--json").json["run"] is None
    assert tidemill("computed-files", "--project-id", "P1", "--json").json == rows
    assert "P9" in tidemill("computed-files", "--project-id", "P9", code=4).err


def test_uploads_and_cleans_up_what_was_uploaded(tidemill: Program) -> None:
    far = tidemill.site.parent / "far"
    laid(tidemill, f'[publishing]\nstore = "{far.as_uri()}"\n')
    near = tidemill("generate-computed-files", "--json").json
    assert near["store"] == (tidemill.site / "packages").as_uri()
    told = tidemill("generate-computed-files", "--update-s3", "--clean-up-output-data", "--clean-up-input-data")
    assert f"to {far.as_uri()}" in told.err
    assert "Removed 3 packages from the site's folder" in told.err
    assert "nothing to clean up" in told.err
    assert not [path for path in (tidemill.site / "packages").rglob("*") if path.is_file()]
    assert len([path for path in far.rglob("*") if path.is_file()]) == 3


def test_a_dry_run_says_what_would_be_made_and_why(tidemill: Program) -> None:
    laid(tidemill)
    would = tidemill("generate-computed-files", "--dry-run")
    assert "3 packages of" in would.out
    assert "it is not there" in would.out
    told = tidemill("dispatch-to-batch", "--dry-run", "--json").json
    assert (told["dry_run"], told["run"], [one["name"] for one in told["due"]]) == (True, None, NAMES)
    assert tidemill("runs", "--json").json == []
    assert tidemill("computed-files", "--json").json == []


def test_a_dry_run_of_both_says_what_it_cannot_know(tidemill: Program) -> None:
    (tidemill.site.parent / "bucket" / "projects.csv").write_text("project,title\nP1,First\n")
    laid(
        tidemill,
        '[[tables]]\nname = "projects"\nfile = "projects.csv"\ndescribes = "projects"\nid = "project"\n',
    )
    would = tidemill("load-data", "--dry-run")
    assert "3 packages of" in would.out
    assert "cannot be said before: more may be." in would.err
    told = tidemill("load-data", "--dry-run", "--json").json
    assert told["metadata"]["dry_run"]
    assert ([one["name"] for one in told["packages"]["due"]], told["packages"]["estimate"]) == (NAMES, True)
    assert tidemill("runs", "--json").json == []


def test_packages_that_nothing_calls_for_are_told_and_purged(tidemill: Program) -> None:
    laid(tidemill)
    tidemill("generate-computed-files")
    site_file = tidemill.site.parent / "site.toml"
    site_file.write_text(site_file.read_text().replace("{item}.zip", "{item}_NEW.zip"))
    tidemill("apply", site_file, "--yes")
    made = tidemill("generate-computed-files")
    assert "2 packages left over" in made.err
    assert [row["name"] for row in tidemill("computed-files", "--left-over", "--json").json] == ["S1.zip", "S2.zip"]
    would = tidemill("purge-computed-files")
    assert "makes none of this name" in would.out
    assert "give --yes" in would.err
    assert len(tidemill("computed-files", "--json").json) == 5
    assert "is not left over" in tidemill("purge-computed-files", "P1_ALL.zip", "--yes", code=5).err
    one = tidemill("purge-computed-files", "S1.zip", "--yes", "--json").json
    assert ([row["name"] for row in one["packages"]], one["done"], one["removed"]) == (["S1.zip"], True, [])
    rest = tidemill("purge-computed-files", "--delete-from-s3", "--yes")
    assert "1 package taken out of the offer." in rest.out
    assert "Removed 1 package from its store." in rest.err
    lying = {path.name for path in (tidemill.site / "packages").rglob("*") if path.is_file()}
    assert lying == {"P1_ALL.zip", "S1.zip", "S1_NEW.zip", "S2_NEW.zip"}  # links to S1.zip are good for a day yet
    assert "Nothing is left over" in tidemill("purge-computed-files").err


def test_bytes_that_are_gone_are_listed_and_made_again(tidemill: Program) -> None:
    laid(tidemill)
    tidemill("generate-computed-files")
    assert "3 computed files looked at: all are in their stores." in tidemill("computed-files", "--check").err
    (row,) = [row for row in tidemill("computed-files", "--json").json if row["name"] == "S1.zip"]
    lost = Path(urlsplit(row["store"]).path) / row["key"]
    lost.unlink()
    told = tidemill("computed-files", "--check", "--project-id", "P1", "--json", code=1).json
    assert [(one["name"], one["why"]) for one in told["amiss"]] == [
        ("S1.zip", f"its bytes are gone from {row['store']}")
    ]
    assert "S1.zip" in tidemill("computed-files", "--check", code=1).out
    tidemill("computed-files", "--check", "--replaced", code=2)
    assert "1 package of" in tidemill("generate-computed-files", "--dry-run").out
    assert "Packages: 1 made." in tidemill("generate-computed-files").out
    assert lost.stat().st_size == row["size"]


def test_projects_that_there_are_not_and_a_store_that_cannot_be_written(tidemill: Program) -> None:
    laid(tidemill)
    for command in ("generate-computed-files", "dispatch-to-batch", "computed-files"):
        assert "There is no project named 'NOPE'." in tidemill(command, "--project-id", "NOPE", code=4).err
    tidemill.site.mkdir(exist_ok=True)
    (tidemill.site / "packages").write_text("no folder")
    assert "cannot be written to: file exists." in tidemill("dispatch-to-batch", code=10).err
    assert tidemill("runs", "--json").json == []


def test_the_members_of_a_package_are_listed(tidemill: Program) -> None:
    laid(tidemill)
    tidemill("generate-computed-files")
    (file,) = [row["id"] for row in tidemill("computed-files", "--json").json if row["name"] == "P1_ALL.zip"]
    told = tidemill("computed-files", "--members", file, "--json").json
    assert [(one["name"], one["size"]) for one in told["rows"]] == [("S1/S1.bin", 2000), ("S2/S2.bin", 2000)]
    assert (told["total"], told["files"], told["size"]) == (2, 2, 4000)
    page = tidemill("computed-files", "--members", file, "--limit", 1)
    assert "S1/S1.bin" in page.out
    assert "1 to 1 of 2 members" in page.err
    tidemill("computed-files", "--members", 99, code=4)


def test_a_package_that_cannot_be_made_is_told_with_its_reason(tidemill: Program) -> None:
    laid(tidemill)
    (tidemill.site.parent / "bucket" / "P1" / "S2" / "S2.bin").write_text("changed, and not synced")
    ended = tidemill("generate-computed-files", code=1)
    assert "Packages: 1 made, 2 failed." in ended.out
    assert "✕ S2.zip: bucket: P1/S2/S2.bin changed" in ended.out
    told = tidemill("generate-computed-files", "--json", code=1).json
    assert [failure["name"] for failure in told["failures"]] == ["P1_ALL.zip", "S2.zip"]
    assert told["unchanged"] == 1
    states = {row["name"]: row["state"] for row in tidemill("computed-files", "--json").json}
    assert states == {"P1_ALL.zip": "failed", "S1.zip": "current", "S2.zip": "failed"}


def test_what_is_dispatched_is_left_to_workers_and_not_dispatched_twice(tidemill: Program) -> None:
    laid(tidemill)
    first = tidemill("dispatch-to-batch", "--project-id", "P1")
    assert first.out.strip() == "Run 1: http://127.0.0.1:8400/runs/1"
    second = tidemill("dispatch-to-batch", "--json").json
    assert (second["run"], len(second["in_hand"])) == (None, 3)
    assert len(tidemill("runs", "--json").json) == 1
    assert tidemill("computed-files", "--json").json[0]["state"] == "being built"
    with tidemill.start("worker") as worker:
        assert tidemill("watch", 1).code == 0
        worker.signal()
        worker.end()
    assert "3 packages there and unchanged." in tidemill("dispatch-to-batch").err
    assert {row["state"] for row in tidemill("computed-files", "--json").json} == {"current"}
    every = tidemill("dispatch-to-batch", "--regenerate-all", "--json").json
    assert (every["run"], sorted(every["packages"])) == (2, NAMES)


def test_a_signal_leaves_a_run_that_goes_on(tidemill: Program) -> None:
    go = slow(tidemill)
    with tidemill.start("generate-computed-files", "--max-workers", 1) as making:
        making.until("Run 1: 3 packages")
        tidemill_running(tidemill)
        making.signal()
        assert making.end() == 130
        assert "3 left" in making.said
        assert "the same command joins it again" in making.said
    states = {row["state"] for row in tidemill("computed-files", "--json").json}
    assert states == {"being built"}
    go.touch()
    joined = tidemill("generate-computed-files")
    assert "3 packages in hand already, in run 1." in joined.err
    assert "Packages: 3 made." in joined.out


def test_what_others_make_elsewhere_is_made_where_it_is_wanted_next(tidemill: Program) -> None:
    far = tidemill.site.parent / "far"
    laid(tidemill, f'[publishing]\nstore = "{far.as_uri()}"\n')
    tidemill("dispatch-to-batch")
    made = tidemill("generate-computed-files", "--update-s3")
    assert "3 packages in hand already, in run 1." in made.err
    assert "Packages: 6 made." in made.out
    assert {row["store"] for row in tidemill("computed-files", "--json").json} == {far.as_uri()}


def test_a_paused_run_is_not_waited_for(tidemill: Program) -> None:
    laid(tidemill)
    tidemill("dispatch-to-batch")
    tidemill("pause", 1)
    ended = tidemill("generate-computed-files", code=130)
    assert "Run 1 waits:" in ended.err
    assert "paused" in ended.err
    assert "Packages: 3 left." in ended.out


def tidemill_running(tidemill: Program) -> None:
    """Wait until a task is in hand."""
    for _ in range(500):
        if any(run["running"] for run in tidemill("runs", "--json").json):
            return
    raise AssertionError("nothing was begun")


def test_two_commands_at_once_make_each_package_once(tidemill: Program) -> None:
    go = slow(tidemill)
    with (
        tidemill.start("generate-computed-files", "--json") as one,
        tidemill.start("generate-computed-files", "--json") as other,
    ):
        tidemill_running(tidemill)
        go.touch()
        assert (one.end(), other.end()) == (0, 0)
    assert len(tidemill("runs", "--json").json) == 1
    rows = tidemill("computed-files", "--replaced", "--json").json
    assert [(row["name"], row["state"]) for row in rows] == [(name, "current") for name in NAMES]


def test_bars_with_bytes_are_shown_on_a_terminal(tidemill: Program) -> None:
    go = slow(tidemill)
    shown = tidemill.on_terminal("generate-computed-files")
    shown.until("0 of 3 packages")
    shown.until(r"S1\.zip .*0.0/2\.0 kB")
    go.touch()
    shown.until("S1.zip done, 2 kB")
    shown.until("Packages: 3 made")
    assert shown.end() == 0


def test_a_project_is_purged_after_saying_what_goes(tidemill: Program) -> None:
    laid(tidemill)
    tidemill("generate-computed-files")
    said = tidemill("purge-project", "--project-id", "P1")
    assert "3 computed files would go" in said.out
    assert re.search(r"S2.zip  2\S* kB  file:///.*/S2.zip", said.out)
    assert "2 original files would stay" in said.out
    assert "Nothing was changed: give --yes" in said.err
    assert tidemill("purge-project", "--project-id", "P1", "--json").json["done"] is False
    asked = tidemill.on_terminal("purge-project", "--project-id", "P1")
    asked.until(r"Take P1 away\?")
    asked.press("n\n")
    assert asked.end() == 7
    assert len(tidemill("computed-files", "--json").json) == 3
    gone = tidemill("purge-project", "--project-id", "P1", "--delete-from-s3", "--yes")
    assert "P1 is gone." in gone.out
    assert "Removed 3 packages from their stores." in gone.err
    assert tidemill("computed-files", "--json").json == []
    assert not [path for path in (tidemill.site / "packages").rglob("*") if path.is_file()]
    assert "There is no project named 'P1'" in tidemill("purge-project", "--project-id", "P1", "--yes", code=4).err


def test_with_json_nothing_goes_unasked_on_a_terminal_either(tidemill: Program) -> None:
    laid(tidemill)
    told = tidemill.on_terminal("purge-project", "--project-id", "P1", "--json")
    told.until('"done": false')
    assert told.end() == 0
    assert "Take P1 away" not in told.screen


def test_ctrl_c_at_a_question_ends_it_and_changes_nothing(tidemill: Program) -> None:
    laid(tidemill)
    asked = tidemill.on_terminal("purge-project", "--project-id", "P1")
    asked.until(r"Take P1 away\? \[y/N\]")
    asked.press("\x03")
    assert asked.end() == 130
    assert tidemill("purge-project", "--project-id", "P1", "--json").json["done"] is False
