"""Batches, runs, tasks, attempts, documents, workers."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import (
    REAL,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Text

from tidemill.db.models.base import Base, Json, Key, Now, one_of
from tidemill.domain.states import FINAL, IN_HAND, Outcome, RunState, TaskState

_final = one_of("state", [s for s in TaskState if s in FINAL])
_in_hand = one_of("state", [s for s in TaskState if s in IN_HAND])

HOT = {"fillfactor": "70", "autovacuum_vacuum_scale_factor": "0.02", "autovacuum_vacuum_cost_delay": "0"}
"""The task table's rows change several times each: room on the page, and vacuum early."""


class Batch(Base):
    """A named set of items. `made_from` says how: a project, a search, ids, or other batches."""

    __tablename__ = "batch"

    id: Mapped[Key]
    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str] = mapped_column(server_default="")
    pipeline_id: Mapped[int | None] = mapped_column(ForeignKey("pipeline.id", ondelete="SET NULL"))
    """The pipeline that this batch is meant for, where it has one."""
    made_from: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    created_at: Mapped[Now]


class BatchItem(Base):
    """The items of a batch, in order: positions from 0 without a gap."""

    __tablename__ = "batch_item"
    __table_args__ = (UniqueConstraint("batch_id", "item_id"),)

    batch_id: Mapped[int] = mapped_column(ForeignKey("batch.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"), index=True)


class Run(Base):
    """One start of a batch through one version of a pipeline."""

    __tablename__ = "run"
    __table_args__ = (
        CheckConstraint(one_of("state", RunState), name="state"),
        CheckConstraint("(finished_at is not null) = (state <> 'active')", name="finished"),
        Index("run_active_idx", "id", postgresql_where=text("state = 'active'")),
    )

    id: Mapped[Key]
    batch_id: Mapped[int] = mapped_column(ForeignKey("batch.id"), index=True)
    pipeline_version_id: Mapped[int] = mapped_column(ForeignKey("pipeline_version.id"))
    state: Mapped[str] = mapped_column(server_default="active")
    paused: Mapped[bool] = mapped_column(server_default=text("false"))
    priority: Mapped[int] = mapped_column(Integer, server_default="0")
    """Higher goes first."""
    reuse: Mapped[bool] = mapped_column(server_default=text("true"))
    """Whether the output of an earlier attempt with the same input, app version and parameters is taken."""
    quiet: Mapped[list[Any]] = mapped_column(server_default=text("'[]'"))
    """Hours in which no attempt of this run is begun; as in `App.quiet`."""
    watch: Mapped[str | None]
    """The watch that it was started for; the run that takes in items now is the one that `Watch` names."""
    steps: Mapped[int] = mapped_column(SmallInteger)
    total: Mapped[int] = mapped_column(Integer, server_default="0")
    created_at: Mapped[Now]
    finished_at: Mapped[dt.datetime | None]


class Watch(Base):
    """What makes a run a watching one: every item that matches its condition enters, whenever it comes.

    Its batch, which has the same name, holds the items that have entered.
    """

    __tablename__ = "watch"

    run_id: Mapped[int] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    condition: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    """See `domain/conditions.py`."""
    seen: Mapped[str | None]
    """The database snapshot (`pg_current_snapshot()`) up to which changes were looked at; NULL: look at all items."""
    swept_at: Mapped[dt.datetime | None]
    """When all items were last looked at."""


class Tally(Base):
    """How many tasks of a run stand at a step in a state: rows to be added up, written by a trigger with every move."""

    __tablename__ = "tally"
    __table_args__ = (
        Index("tally_run_id_idx", "run_id"),
        {"postgresql_with": {"autovacuum_vacuum_scale_factor": "0.05", "autovacuum_vacuum_cost_delay": "0"}},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(cache=200), primary_key=True)
    run_id: Mapped[int]
    step: Mapped[int] = mapped_column(SmallInteger)
    state: Mapped[str]
    tasks: Mapped[int]


class Schedule(Base):
    """A run or a sync that is started by the clock. The database's clock, in the schedule's time zone."""

    __tablename__ = "schedule"

    id: Mapped[Key]
    name: Mapped[str] = mapped_column(unique=True)
    cron: Mapped[str]
    zone: Mapped[str] = mapped_column(server_default="UTC")
    action: Mapped[Json]
    """`{"start": {"batch", "pipeline", …}}` or `{"sync": source}`."""
    paused: Mapped[bool] = mapped_column(server_default=text("false"))
    next_at: Mapped[dt.datetime | None] = mapped_column(index=True)
    last_at: Mapped[dt.datetime | None]
    last_result: Mapped[str] = mapped_column(server_default="")


class Document(Base):
    """What a step put out, addressed by its SHA-256. `body` in the row, or `location` in the object store."""

    __tablename__ = "document"
    __table_args__ = (
        CheckConstraint("num_nonnulls(body, location) = 1", name="one_place"),
        CheckConstraint("octet_length(sha256) = 32", name="sha256"),
    )

    sha256: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    size: Mapped[int]
    body: Mapped[str | None]
    location: Mapped[str | None]
    created_at: Mapped[Now]


class Worker(Base):
    """A process that claims tasks."""

    __tablename__ = "worker"

    id: Mapped[Key]
    hostname: Mapped[str]
    pid: Mapped[int] = mapped_column(Integer)
    process: Mapped[str] = mapped_column(server_default="")
    """Names the process beyond doubt (see `runner/processes.py`), so that a neighbour can tell it is dead."""
    slots: Mapped[int] = mapped_column(Integer)
    kinds: Mapped[list[str]] = mapped_column(ARRAY(Text))
    """Engines that it has, and the Python steps, as `python:name`."""
    token_id: Mapped[int | None] = mapped_column(ForeignKey("token.id", ondelete="SET NULL"))
    """The token of a worker that has no database and works over HTTP."""
    turn: Mapped[int] = mapped_column(server_default="0")
    """How often such a worker has given back what it did not know of: a claim it asked for before comes too late."""
    started_at: Mapped[Now]
    seen_at: Mapped[Now]
    stopped_at: Mapped[dt.datetime | None]


class Task(Base):
    """One item in one run: a cursor at a step, with its state.

    `document` is the newest document: the input of the step at the cursor, or the final output of a task that is done.
    """

    __tablename__ = "task"
    __table_args__ = (
        UniqueConstraint("run_id", "position"),
        UniqueConstraint("item_id", "run_id"),
        CheckConstraint("not held or state in ('waiting', 'running', 'submitted')", name="held"),
        CheckConstraint(one_of("state", TaskState), name="state"),
        CheckConstraint(f"(finished_at is not null) = ({_final})", name="finished"),
        CheckConstraint(f"(lease_until is not null) = ({_in_hand})", name="lease"),
        CheckConstraint(f"(worker_id is not null) = ({_in_hand})", name="worker"),
        CheckConstraint("handle is null or state = 'submitted'", name="handle"),
        Index("task_waiting_idx", "run_id", "step", "held", "due_at", "id", postgresql_where=text("state = 'waiting'")),
        Index("task_in_hand_idx", "run_id", "step", postgresql_where=text(_in_hand)),
        Index("task_failed_idx", "finished_at", postgresql_where=text("state = 'failed'")),
        Index("task_failed_position_idx", "run_id", "position", postgresql_where=text("state = 'failed'")),
        Index("task_ended_idx", "run_id", "step", "state", "id", postgresql_where=text(_final)),
        {"postgresql_with": HOT},
    )

    id: Mapped[Key]
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"))
    position: Mapped[int] = mapped_column(Integer)
    item_id: Mapped[int] = mapped_column(ForeignKey("item.id"))
    step: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    state: Mapped[str] = mapped_column(server_default="waiting")
    fence: Mapped[int] = mapped_column(Integer, server_default="0")
    tries: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    """Tries used up at the step at the cursor."""
    entered_step: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    """The step that it began at: not the first where another system has done some (see `PastStep`)."""
    held: Mapped[bool] = mapped_column(server_default=text("false"))
    """Waits although it is due; `reason` says why (its item no longer matches, a person holds it back). Of a task in
    hand: it will, when this step is over."""
    fresh: Mapped[bool] = mapped_column(server_default=text("false"))
    """Set by a re-run: earlier outputs are not used again."""
    document: Mapped[bytes] = mapped_column(LargeBinary)
    revision: Mapped[int | None]
    """The item's revision that `document` tells of, where it is a record document; it is renewed when that is old."""
    due_at: Mapped[Now]
    started_at: Mapped[dt.datetime | None]
    lease_until: Mapped[dt.datetime | None]
    worker_id: Mapped[int | None]
    handle: Mapped[Json | None]
    progress: Mapped[float | None] = mapped_column(REAL)
    reason: Mapped[str | None]
    """Why it waits or failed, in words."""
    finished_at: Mapped[dt.datetime | None]


class Attempt(Base):
    """One try at one step of one task: the provenance record. Its key is the task and the fence of the claim."""

    __tablename__ = "attempt"
    __table_args__ = (
        CheckConstraint(one_of("outcome", Outcome), name="outcome"),
        CheckConstraint("(outcome = 'done') <= (output is not null)", name="output"),
        Index(
            "attempt_reuse_idx",
            "input",
            "app_version_id",
            postgresql_where=text("outcome = 'done' and origin_task_id is null and inputs is null"),
        ),
        Index(
            "attempt_inputs_idx",
            "inputs",
            postgresql_using="gin",
            postgresql_ops={"inputs": "jsonb_path_ops"},
            postgresql_where=text("inputs is not null"),
        ),
        Index("attempt_finished_at_idx", "finished_at", postgresql_using="brin"),
        Index(
            "attempt_skipped_idx",
            "step",
            "task_id",
            postgresql_where=text("outcome = 'skipped' and superseded_at is null"),
        ),
        Index("attempt_app_version_id_idx", "app_version_id", postgresql_where=text("superseded_at is null")),
    )

    task_id: Mapped[int] = mapped_column(ForeignKey("task.id", ondelete="CASCADE"), primary_key=True)
    fence: Mapped[int] = mapped_column(Integer, primary_key=True)
    step: Mapped[int] = mapped_column(SmallInteger)
    app_version_id: Mapped[int] = mapped_column(BigInteger)
    parameters: Mapped[Json]
    outcome: Mapped[str]
    worker_id: Mapped[int | None]
    started_at: Mapped[dt.datetime]
    finished_at: Mapped[Now]
    input: Mapped[bytes] = mapped_column(LargeBinary)
    output: Mapped[bytes | None] = mapped_column(LargeBinary)
    error: Mapped[str | None]
    log: Mapped[str] = mapped_column(server_default="")
    files: Mapped[list[Any] | None]
    """The files that it put out: `[{"name", "size", "sha256", "url"}]`."""
    inputs: Mapped[list[Any] | None]
    """The side inputs that it used (calibration, templates): `[{"name", "url", "size", "sha256"}]`."""
    app_said: Mapped[str] = mapped_column(server_default="")
    """The version that the app reported in its answer, where it did."""
    origin_task_id: Mapped[int | None]
    """Set where the output of an earlier attempt was used again: that attempt's key."""
    origin_fence: Mapped[int | None] = mapped_column(Integer)
    superseded_at: Mapped[dt.datetime | None]


class Trial(Base):
    """A few tasks of a failure family that were tried again before the rest of it."""

    __tablename__ = "trial"

    id: Mapped[Key]
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), index=True)
    family: Mapped[str]
    """See `domain/failures.py`."""
    tried: Mapped[list[Any]]
    """`[{"task", "step", "fence"}]`: what was tried, and the last attempt before."""
    started_at: Mapped[Now]


class LiveLog(Base):
    """The newest lines of an attempt in hand, for whoever looks on. Gone when it ends: it keeps its own log."""

    __tablename__ = "live_log"
    __table_args__ = {"prefixes": ["UNLOGGED"]}  # noqa: RUF012

    task_id: Mapped[int] = mapped_column(primary_key=True)
    fence: Mapped[int] = mapped_column(Integer, primary_key=True)
    log: Mapped[str] = mapped_column(server_default="")
    total: Mapped[int] = mapped_column(server_default="0")
    """Characters said so far; `log` holds the last of them."""
    updated_at: Mapped[Now]
