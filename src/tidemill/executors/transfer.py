"""Transfers as steps: an item's files from where they lie to another place, verified at both ends.

`transfer_copy` copies one file, `places/` are the ends. A transfer never deletes what it has just copied, since its
result is not on record yet: that is another step, with mode `remove`, which believes only the record and its own eyes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tidemill.domain import record_document
from tidemill.domain.item_files import ItemFile, copies_of, files_now
from tidemill.errors import InvalidInput
from tidemill.executors.amounts import amount, span
from tidemill.executors.contract import (
    Done,
    Failed,
    KeptFile,
    Outcome,
    Progress,
    Report,
    Submitted,
    Unavailable,
    Work,
)
from tidemill.executors.places.contract import Taken, Trouble, Unusable
from tidemill.executors.places.opening import Places
from tidemill.executors.transfer_copy import Copied, Job, checked, copy
from tidemill.executors.transfer_files import Errand, errands, selected
from tidemill.executors.transfer_options import REMOVE, TransferOptions

AT_ONCE = 8
"""Items whose files a worker moves at a time: each has a few chunks in memory, and a link gains little by more."""
TELL_EVERY = 5.0
"""Seconds between lines in the log about a file that is under way."""


class TransferExecutor:
    """The engine of kind `transfer`. Files of one item go one after the other; items go side by side."""

    at_once: int | None = AT_ONCE

    def __init__(self) -> None:
        self._places = Places()
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def submit(self, work: Work, report: Report) -> Outcome | Submitted:
        """Copy the item's files; see `Executor`. Cut or cancelled, it goes on from there at the next try."""
        meter = Meter(report)
        try:
            async with self._turns, asyncio.timeout(work.app.deadline):
                outcome = await self._attempt(work, meter)
        except TimeoutError:
            reason = f"The transfer did not finish within its deadline of {span(work.app.deadline)}."
            return Failed(f"{reason} {meter.so_far()}".rstrip(), meter.log, timed_out=True)
        except Unusable as error:
            return Unavailable(f"{error} {meter.so_far()}".rstrip())
        except Trouble as error:
            return Failed(str(error), meter.log)
        except InvalidInput as error:
            return Failed(error.message, meter.log, retry=False)
        return replace(outcome, log=meter.log)

    async def poll(self, work: Work, handle: Mapping[str, Any]) -> Progress | None:
        """Nothing is ever submitted: all work is finished."""
        return None

    async def collect(self, work: Work, handle: Mapping[str, Any]) -> Outcome:
        """Nothing is ever submitted."""
        return Failed("Transfers finish within their call; there is nothing to collect.")

    async def cancel(self, work: Work, handle: Mapping[str, Any]) -> None:
        """Nothing is ever submitted."""

    async def close(self) -> None:
        """Log out everywhere."""
        await self._places.close()

    async def _attempt(self, work: Work, meter: Meter) -> Done:
        document = await asyncio.to_thread(record_document.read, work.document)
        if document is None:
            raise InvalidInput("A transfer takes the files of a record, and this step's input is none.")
        options = TransferOptions.of(work.app.options)
        files = files_now(document)
        if options.mode == REMOVE:
            removed = [await self._remove(file, document, options, meter) for file in _originals(document, options)]
            return _done(work, document, removed, [], {})
        todo = errands(document, files, options)
        meter.expect(2 * sum(errand.size or 0 for errand in todo))
        reaches = record_document.reaches(document)
        made = [await self._copy(errand, options, reaches.get(errand.url, {}), meter) for errand in todo]
        kept = [KeptFile(one["name"], one["size"], one["sha256"], one["to"]) for one in made]
        return _done(work, document, made, kept, options.reach())

    async def _copy(
        self, errand: Errand, options: TransferOptions, reach: Mapping[str, Any], meter: Meter
    ) -> dict[str, Any]:
        source, source_key = self._places.holding(errand.url, {**options.ends(), **reach})
        target = self._places.open(options.target, options.ends())
        job = Job(source, source_key, target, errand.key, options.overwrite, errand.expected)
        meter.begin(errand.name)
        try:
            copied = await copy(job, meter.tell)
        except Taken:
            raise InvalidInput(
                f"{target.told(errand.key)} is there already and holds other bytes; nothing was overwritten. "
                "Take it away, or say overwrite = true."
            ) from None
        meter.end(_told(errand, copied))
        made = {
            "name": errand.name,
            "from": errand.url,
            "to": target.url_of(errand.key),
            "size": copied.size,
            "sha256": copied.sha256,
        }
        return made | ({"md5": copied.md5} if copied.md5 else {})

    async def _remove(
        self, file: ItemFile, document: Mapping[str, Any], options: TransferOptions, meter: Meter
    ) -> dict[str, Any]:
        """Delete one original, once its copy was found on record, and both were read and are the same."""
        target = options.target.rstrip("/") + "/" if options.target else ""
        copies = [one for one in copies_of(document, file.url) if one["to"].startswith(target)]
        if not copies:
            where = f" in {options.target}" if target else ""
            raise InvalidInput(f"{file.url} has no copy{where} on record in an earlier step, so it is not removed.")
        there, sha256 = copies[-1]["to"], copies[-1]["sha256"]
        meter.begin(file.name)
        place, key = self._places.holding(there, options.ends())
        found = await checked(place, key, meter.tell)
        if found != sha256:
            state = "is not there" if found is None else "has other bytes than are on record"
            raise Trouble(f"The copy {there} {state}, so {file.url} is not removed.")
        place, key = self._places.holding(file.url, options.ends())
        if await checked(place, key, meter.tell) not in (None, sha256):
            raise InvalidInput(f"{file.url} has changed since it was copied, so it is not removed.")
        await place.remove(key)
        meter.end(f"{file.name}: removed from {file.url}; its copy {there} is verified")
        return {"name": file.name, "removed": file.url, "copy": there, "sha256": sha256}


def _originals(document: Mapping[str, Any], options: TransferOptions) -> list[ItemFile]:
    """The item's own files where its record says that they came from, as far as they lie in `from`."""
    return selected(files_now({**document, "process": []}), options, document)


def _done(
    work: Work, document: Mapping[str, Any], made: list[dict[str, Any]], kept: list[KeptFile], reach: Mapping[str, Any]
) -> Done:
    entry = {"name": work.step, "app": work.app.name, "version": work.app.version, "output": {"files": made}}
    listed = [
        {"name": f.name, "size": f.size, "sha256": f.sha256, "url": f.url} | ({"reach": reach} if reach else {})
        for f in kept
    ]
    return Done(record_document.with_step(document, entry | {"files": listed}), files=tuple(kept))


def _told(errand: Errand, copied: Copied) -> str:
    what = f"{errand.name}: {amount(copied.size)}"
    if not copied.copied and copied.size:
        how = "was there already"
    elif copied.resumed_at:
        how = f"copied from byte {copied.resumed_at:,} on"
    else:
        how = "copied"
    return f"{what} {how}, SHA-256 {copied.sha256} at both ends"


@dataclass(slots=True)
class Meter:
    """How far a transfer is: bytes read at both ends, and what is said of it in the log."""

    report: Report
    log: str = ""
    done: int = 0
    _total: int = 0
    _name: str = ""
    _since: float = field(default_factory=time.monotonic)
    _told: float = field(default_factory=time.monotonic)
    _in_file: int = 0

    def expect(self, total: int) -> None:
        """How many bytes there are to read in all."""
        self._total = total

    def begin(self, name: str) -> None:
        """Another file."""
        self._name, self._in_file, self._since = name, 0, time.monotonic()

    def tell(self, size: int) -> None:
        """So many bytes more."""
        self.done += size
        self._in_file += size
        now = time.monotonic()
        if now - self._told >= TELL_EVERY:
            self._told = now
            self._say(f"{self._name}: {amount(max(self._in_file, 0))} read at both ends, {self._rate(now)}")
        elif self._total:
            self.report(Progress(self._fraction(), self.so_far()))

    def end(self, words: str) -> None:
        """The file is done."""
        self._say(f"{words} ({self._rate(time.monotonic())})")

    def so_far(self) -> str:
        """For a person; empty before the first byte. Each counts twice: sent, and read back."""
        return f"{self._fraction() or 0:.0%} of it was done." if self.done > 0 and self._total else ""

    def _say(self, line: str) -> None:
        self.log += line + "\n"
        self.report(Progress(self._fraction(), line, log=line + "\n"))

    def _fraction(self) -> float | None:
        return min(max(self.done / self._total, 0.0), 1.0) if self._total else None

    def _rate(self, now: float) -> str:
        return f"{amount(int(max(self._in_file, 0) / max(now - self._since, 0.001)))}/s"
