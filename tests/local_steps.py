"""Attempts at commands and transfers, straight at their engines: work with a record and files in a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tidemill.domain.record_document import record_document
from tidemill.executors.command import CommandExecutor
from tidemill.executors.contract import AppCall, Done, Outcome, Progress, Submitted, Work
from tidemill.executors.transfer import TransferExecutor
from tidemill.executors.workbench import Workbench
from tidemill.storage.files import FileStore

Json = dict[str, Any]


@dataclass
class Bench:
    """One engine, and what it reported. `document`: made by `item`, the input of all attempts from there on."""

    executor: CommandExecutor | TransferExecutor
    kind: str
    document: bytes = b"{}"
    item: str = "ma22a000_000"
    reports: list[Progress] = field(default_factory=list)
    attempts: int = 0

    def record(
        self, files: Sequence[Path] = (), metadata: Json | None = None, process: Sequence[Json] = (), item: str = ""
    ) -> None:
        """The record that the next attempts take."""
        self.item = item or self.item
        row = {"name": self.item, "revision": 1, "status": "good", "metadata": metadata or {}, "past": list(process)}
        listed = [{"url": one.as_uri(), "key": one.name, "size": one.stat().st_size, "attributes": {}} for one in files]
        self.document = record_document(row, listed)

    def work(self, options: Mapping[str, Any], parameters: Json | None = None, **app: Any) -> Work:
        self.attempts += 1
        call = AppCall("app", self.kind, f"{self.kind}:app", "json", options=options, **{"deadline": 60.0} | app)
        return Work(f"1-{self.attempts}", self.item, call, parameters or {}, self.document, "step")

    async def do(self, options: Mapping[str, Any], parameters: Json | None = None, **app: Any) -> Outcome | Submitted:
        """One attempt."""
        return await self.executor.submit(self.work(options, parameters, **app), self.reports.append)

    async def done(self, options: Mapping[str, Any], parameters: Json | None = None, **app: Any) -> Json:
        """One attempt that must end well; its entry in the process. The next attempt takes what it put out."""
        outcome = await self.do(options, parameters, **app)
        assert isinstance(outcome, Done), outcome
        self.document = outcome.document
        entry: Json = orjson.loads(outcome.document)["process"][-1]
        return entry

    @property
    def log(self) -> str:
        """What was passed on of the log while it ran."""
        return "".join(report.log for report in self.reports)

    @property
    def fractions(self) -> list[float]:
        return [report.fraction for report in self.reports if report.fraction is not None]


def command_bench(folder: Path) -> Bench:
    files = FileStore((folder / "files").as_uri())
    return Bench(CommandExecutor(Workbench(folder / "work", files), at_once=8), "command")


def transfer_bench() -> Bench:
    return Bench(TransferExecutor(), "transfer")
