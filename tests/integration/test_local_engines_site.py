"""Commands and transfers from the site file to the record, through the real program."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.program import Program

from tidemill.errors import SiteFileError
from tidemill.executors.addresses import AddressPolicy
from tidemill.pipelines.apply import look_at_apps
from tidemill.pipelines.apply_check import pipeline_faults
from tidemill.pipelines.site_file import read_site_file

SITE = """
[[sources]]
name = "underground"
url = "underground"
layout = [{{ pattern = "{{item}}.root" }}]

[[sources]]
name = "sps"
url = "sps"
layout = [{{ pattern = "{{item}}/*.root" }}]

[[apps]]
name = "move_to_sps"
kind = "transfer"
from = "underground"
to = "sps"
key = "{{item}}/{{name}}"

[[apps]]
name = "pulses"
kind = "command"
command = ["{python}", "-I", "{{code}}", "{{file}}", "{{output}}", "{{folder}}", "--threshold={{threshold}}"]
inputs = {{ code = "steps/pulses.py" }}
files = ["*.amp"]
memory = "1GB"
deadline = "1m"

[[apps]]
name = "remove_underground"
kind = "transfer"
from = "underground"
mode = "remove"

[[pipelines]]
name = "chain"
[[pipelines.steps]]
app = "move_to_sps"
[[pipelines.steps]]
app = "pulses"
parameters = {{ threshold = 3 }}
[[pipelines.steps]]
app = "remove_underground"
"""

PULSES = """
import json, pathlib, sys
file, output, folder, threshold = sys.argv[1:]
data = pathlib.Path(file).read_text()
pathlib.Path(folder, "pulses.amp").write_text(data.upper())
pathlib.Path(output).write_text(json.dumps({"read": file, "length": len(data), "asked": threshold}))
print("fitting", file=sys.stderr)
"""


@pytest.fixture
def tidemill(tmp_path: Path, database_url: str) -> Program:
    return Program(tmp_path / "site", database_url)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site file with its folders: two data files underground, an empty folder at the computing centre."""
    for folder in ("underground", "sps", "steps"):
        (tmp_path / folder).mkdir()
    for number in range(2):
        (tmp_path / "underground" / f"ma22a000_00{number}.root").write_text(f"pulses {number}")
    (tmp_path / "steps" / "pulses.py").write_text(PULSES)
    path = tmp_path / "site.toml"
    path.write_text(SITE.format(python=sys.executable))
    return path


def test_files_are_moved_then_processed_where_they_are_then_removed_at_the_old_place(
    tidemill: Program, site: Path
) -> None:
    shown = tidemill("apply", site, "--dry-run").out
    assert "+ app move_to_sps" in shown
    assert str(site.parent / "steps" / "pulses.py") in shown, "paths are taken from the site file's folder"
    tidemill("apply", site, "--yes")
    assert tidemill("apply", site).out.startswith("nothing to change")
    tidemill("sync", "underground")
    tidemill("batch", "make", "all", "--ids", "-", text="ma22a000_000 ma22a000_001")
    assert "2 done" in tidemill("run", "all").out

    new = site.parent / "sps" / "ma22a000_001" / "ma22a000_001.root"
    assert new.read_text() == "pulses 1"
    assert not list((site.parent / "underground").iterdir())
    item = tidemill("item", "ma22a000_001", "--json", "--log").json
    moved, processed, removed = _attempts(item)
    sha256 = hashlib.sha256(b"pulses 1").hexdigest()
    assert moved["files"] == [{"name": "ma22a000_001.root", "size": 8, "sha256": sha256, "url": new.as_uri()}]
    assert processed["files"][0]["name"] == "pulses.amp"
    assert [one["name"] for one in processed["inputs"]] == ["code"]
    assert "fitting" in processed["log"]
    assert removed["files"] in ([], None)
    document = tidemill("document", "ma22a000_001").json
    assert document["process"][1]["output"] == {"read": str(new), "length": 8, "asked": "--threshold=3"}
    assert document["process"][2]["output"]["files"][0]["copy"] == new.as_uri()


def _attempts(item: dict[str, Any]) -> list[dict[str, Any]]:
    return sorted(item["attempts"], key=lambda one: one["fence"])


def test_what_is_exported_is_applied_and_a_changed_command_is_a_new_version(tidemill: Program, site: Path) -> None:
    tidemill("apply", site, "--yes")
    again = site.parent / "again.toml"
    tidemill("export", again)
    written = again.read_text()
    assert 'kind = "transfer"' in written
    assert "command:" not in written, "commands have no url"
    assert tidemill("apply", again, "--json").json["changes"] == []

    again.write_text(written.replace("memory = 1000000000", 'memory = "2GB"'))
    (change,) = tidemill("apply", again, "--yes", "--json").json["changes"]
    assert change["name"] == "pulses"
    assert {detail["key"] for detail in change["details"]} == {"options", "what it says of itself"}
    assert "as before" in tidemill("apps", "refresh", "pulses").out
    assert tidemill("apply", again, "--json").json["changes"] == []


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("{{threshold}}", "{{treshold}}", 22, "the command has {treshold}, which no step gives as a parameter"),
        ("{{output}}", "{{outptu}}", 22, "did you mean {output}?"),
        ('"{{file}}"', '"{{file"', 22, "a brace that begins or ends no placeholder"),
        ("threshold = 3", "threshold = 3, treshold = 4", 40, "no parameter 'treshold'; did you mean 'threshold'?"),
        ("parameters = {{ threshold = 3 }}", "", 38, "parameter 'threshold' has no default, so it must be given"),
        ('"1GB"', '"1XB"', 25, "must be bytes, or a size such as"),
        ('kind = "command"', 'kind = "transfer"', 22, "command is a key of command apps, and this one has"),
        ('to = "sps"', 'to = "sp"', 16, "to is 'sp', which is no source of this file; did you mean 'sps'?"),
        ('to = "sps"', 'to = "ftp://x/y"', 16, "is neither a folder nor at s3://"),
        ('to = "sps"', 'to = "sftp://me:secret@host/data"', 16, "sftp://host has a password in it"),
        ('key = "{{item}}/{{name}}"', 'key = "{{nmae}}"', 17, "key has {nmae}, which nothing fills"),
        ('mode = "remove"', 'mode = "move"', 32, 'mode "move" is two steps'),
        ("inputs = {{ code", "inputs = {{ input", 23, "a side input cannot be named 'input'"),
    ],
)  # fmt: skip
async def test_mistakes_are_told_with_their_line(site: Path, old: str, new: str, line: int, message: str) -> None:
    assert old in SITE
    site.write_text(SITE.replace(old, new, 1).format(python=sys.executable))
    told = await _faults(site)
    assert f"site.toml:{line}: " in told
    assert message in told


async def _faults(site: Path) -> str:
    """What apply says of a site file before it looks at the database."""
    try:
        file = read_site_file(site)
    except SiteFileError as error:
        return error.message
    facts = await look_at_apps(AddressPolicy(), file)
    return "\n".join(pipeline_faults(file, {name: dict(fact.metadata) for name, fact in facts.items()}))
