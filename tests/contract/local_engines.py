"""The engines that work with files on this machine, with something small to do that can be told to go wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import orjson
from tests.packing import file_entry, plan

from tidemill.domain.package_plan import StorePlace
from tidemill.domain.record_document import record_document
from tidemill.executors.command import CommandExecutor
from tidemill.executors.contract import AppCall, Executor, Report
from tidemill.executors.package import PackageExecutor
from tidemill.executors.transfer import TransferExecutor
from tidemill.executors.workbench import Workbench
from tidemill.publishing.build import build
from tidemill.storage.files import FileStore

Made = tuple[Executor, AppCall, Callable[[str], None], Callable[[int], bytes]]
"""The engine, its app, how the app is told to behave, and the input document of an item by its number."""

PROGRAM = """#!{python} -IS
import json, pathlib, sys
how = pathlib.Path({how!r}).read_text()
if how == "fail":
    sys.exit("no bars in it")
if how == "slow":
    print("progress: 0.25", "50%", '{{"progress": 0.75}}', sep="\\n", file=sys.stderr)
document = json.loads(pathlib.Path(sys.argv[1]).read_text())
pathlib.Path(sys.argv[2]).write_text(json.dumps(document | {{"steps": ["command"]}}))
"""


def command(folder: Path) -> Made:
    """A program that puts the document out with one key more; `down`: the program is not there."""
    program, how = folder / "program", folder / "how"
    bench = Workbench(folder / "work", FileStore((folder / "files").as_uri()))
    options = {"command": [str(program), "{input}", "{output}"]}

    def behave(word: str) -> None:
        how.write_text(word)
        if word == "down":
            program.unlink()

    program.write_text(PROGRAM.format(python=sys.executable, how=str(how)))
    program.chmod(0o755)
    behave("ok")
    app = AppCall("command", "command", "command:command", "json", options=options)
    return CommandExecutor(bench), app, behave, lambda number: b'{"item": %d}' % number


def transfer(folder: Path) -> Made:
    """From one folder to another; `fail`: other bytes have the name; `down`: the folder is not there."""
    here, there = folder / "here", folder / "there"
    name = "no bars in it"
    for one in (here, there):
        one.mkdir()

    def behave(word: str) -> None:
        if word == "fail":
            (there / name).mkdir()
            (there / name / "1.root").write_text("other bytes")
        if word == "down":
            there.rmdir()

    def document(number: int) -> bytes:
        path = here / f"{number}.root"
        path.write_text(f"data of {number}")
        row = {"name": number, "revision": 1, "status": "good", "metadata": {}}
        file = {"url": path.as_uri(), "key": path.name, "size": path.stat().st_size, "attributes": {}}
        return record_document(row, [file])

    options = {"to": there.as_uri(), "key": f"{name}/{{name}}"}
    app = AppCall("transfer", "transfer", "transfer:transfer", "json", options=options)
    return TransferExecutor(), app, behave, document


def package(folder: Path) -> Made:
    """From one folder into another; `fail`: the file is gone. What was built is told as the suite wants it told."""
    here, there = folder / "here", folder / "there"
    here.mkdir()
    (here / "no bars in it").write_text("data")
    entry = file_entry(here, "no bars in it")

    async def builder(document: bytes, report: Report) -> bytes:
        built = await build(document, report)
        assert (there / built.key).stat().st_size == built.size
        return orjson.dumps({"item": int(built.name.removesuffix(".zip")), "steps": ["package"]})

    def behave(word: str) -> None:
        if word == "fail":
            (here / "no bars in it").unlink()

    def document(number: int) -> bytes:
        made = plan({"data": StorePlace(here.as_uri())}, StorePlace(there.as_uri()), [entry], f"{number}.zip")
        return made.document

    app = AppCall("package", "package", "package:", "json")
    return PackageExecutor(builder), app, behave, document
