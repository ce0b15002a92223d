"""The states of a task, and the only ways from one to another.

ARCHITECTURE.md draws this diagram, the table's CHECK constraint lists the same words, and
`tests/unit/test_states.py` holds the three together.
"""

from __future__ import annotations

from enum import StrEnum


class TaskState(StrEnum):
    """Where one item of one run stands. The order is the order of the signs on the pages and in the grid."""

    WAITING = "waiting"
    RUNNING = "running"
    SUBMITTED = "submitted"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self in FINAL

    @property
    def in_hand(self) -> bool:
        return self in IN_HAND


FINAL = frozenset({TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED})
IN_HAND = frozenset({TaskState.RUNNING, TaskState.SUBMITTED})

MOVES: frozenset[tuple[TaskState, TaskState]] = frozenset(
    {
        (TaskState.WAITING, TaskState.RUNNING),  # claim
        (TaskState.WAITING, TaskState.DONE),  # a late result of the last step is promoted
        (TaskState.WAITING, TaskState.CANCELLED),
        (TaskState.RUNNING, TaskState.SUBMITTED),
        (TaskState.RUNNING, TaskState.WAITING),  # next step, retry later, lease lost
        (TaskState.RUNNING, TaskState.DONE),
        (TaskState.RUNNING, TaskState.FAILED),
        (TaskState.RUNNING, TaskState.CANCELLED),
        (TaskState.SUBMITTED, TaskState.WAITING),
        (TaskState.SUBMITTED, TaskState.DONE),
        (TaskState.SUBMITTED, TaskState.FAILED),
        (TaskState.SUBMITTED, TaskState.CANCELLED),
        (TaskState.DONE, TaskState.WAITING),  # re-run from a step
        (TaskState.FAILED, TaskState.WAITING),  # retry, re-run
        (TaskState.FAILED, TaskState.DONE),  # a late result of the last step is promoted
        (TaskState.CANCELLED, TaskState.WAITING),  # retry, re-run
        (TaskState.CANCELLED, TaskState.DONE),  # a late result of the last step is promoted
        # A person goes back to what stood before a re-run, and that was:
        (TaskState.WAITING, TaskState.FAILED),
        (TaskState.DONE, TaskState.FAILED),
        (TaskState.CANCELLED, TaskState.FAILED),
        (TaskState.DONE, TaskState.CANCELLED),
        (TaskState.FAILED, TaskState.CANCELLED),
    }
)


class Outcome(StrEnum):
    """How an attempt ended."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    """The step said that it does not apply to this item; the item goes on as it came."""
    LOST = "lost"
    """The worker's lease ran out and nothing has come back yet."""
    LATE = "late"
    """A result came back after the lease was lost; kept, not applied. A person can promote it."""
    RELEASED = "released"
    """The worker was stopped and gave the task back."""
    UNAVAILABLE = "unavailable"
    """The app was down; no try was used up."""
    CANCELLED = "cancelled"


class RunState(StrEnum):
    """Whether a run still has work. A paused run is active, with `paused` set."""

    ACTIVE = "active"
    DONE = "done"
    CANCELLED = "cancelled"


GRID_BASE = 0x100
"""First code point of a grid string: see `grid_code`."""


def grid_code(step: int, state: TaskState) -> str:
    """One character that says where a task stands: `chr(0x100 + step * 8 + index of the state)`.

    A run of 100,000 items is a string of 100,000 such characters, in the order of the run's items. The code points from
    0x100 up to the surrogates hold 6,880 steps, and need no escape in JSON.
    """
    return chr(GRID_BASE + step * 8 + list(TaskState).index(state))
