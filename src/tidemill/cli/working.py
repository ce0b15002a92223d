"""A worker in this process, from its first task to its farewell: slots, signals, and the pipe to its parent."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from tidemill.cli import door
from tidemill.cli.exits import Exit
from tidemill.cli.output import count, say

if TYPE_CHECKING:
    from tidemill.runner.worker import Worker
    from tidemill.sdk.step import DeclaredStep
    from tidemill.settings import Settings


def usual_slots(settings: Settings, steps: Mapping[str, DeclaredStep]) -> int:
    """Slots where none are asked for: steps that compute get one for each processor, what only waits gets many."""
    if "slots" not in settings.model_fields_set and any(not step.is_async for step in steps.values()):
        return os.cpu_count() or 1
    return settings.slots


async def work_until_stopped(running: Worker) -> Exit:
    """Run a worker; the first signal lets work in hand finish, the second gives it back."""
    stopper = Stopper(running)
    with door.stop_signals(stopper.signalled):
        await running.run()
    return stopper.farewell()


class Stopper:
    """Stops a worker: gently at the first signal, at once at the second."""

    def __init__(self, running: Worker) -> None:
        self._running = running
        self._given_back: int | None = None
        self.signals = 0

    def signalled(self, number: int) -> None:
        """Signal number `number` has come."""
        self.signals = number
        held = self._running.in_hand
        if number == 1:
            self._running.stop()
            if held:
                say(f"Stopping: letting {count(held, 'task')} in hand finish. Once more gives them back.")
        elif number == 2:
            self._given_back = held
            self._running.abandon()

    def farewell(self) -> Exit:
        """Say how it ended."""
        done = count(self._running.steps_finished, "step")
        if self._given_back:
            say(f"Stopped after {done}; {count(self._given_back, 'task')} given back.")
            return Exit.INTERRUPTED
        say(f"Stopped after {done}.")
        return Exit.OK


class lifeline_to:  # noqa: N801 - reads as a statement: `with lifeline_to(worker, pipe)`
    """Within: when the pipe at this descriptor closes, its other end's process has died, and the worker leaves."""

    def __init__(self, running: Worker, descriptor: int | None) -> None:
        self._running, self._descriptor = running, descriptor

    def __enter__(self) -> None:
        if self._descriptor is not None:
            os.set_blocking(self._descriptor, False)
            asyncio.get_running_loop().add_reader(self._descriptor, self._look, self._descriptor)

    def _look(self, descriptor: int) -> None:
        with suppress(BlockingIOError):
            if not os.read(descriptor, 64):
                self.__exit__()
                self._running.abandon()

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            asyncio.get_running_loop().remove_reader(self._descriptor)
