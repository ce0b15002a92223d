"""Runs whose items are packages: which packages are due, and one run that makes them, like any other run.

A package is an item of its own kind, named like its file. It enters the run with its plan as its document, so whoever
works needs no database to pack it, and a task that is done again packs what it did before.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from tidemill import __version__
from tidemill.db.database import Database, Row, fetch, fetch_one
from tidemill.db.models import Batch
from tidemill.domain.kinds import OF_PACKAGES, PACKING, PACKING_STEP
from tidemill.domain.package_plan import PackagePlan, StorePlace
from tidemill.domain.stored_json import written
from tidemill.errors import Conflict, InvalidInput
from tidemill.pipelines import apps, pipelines
from tidemill.pipelines.apps import AppFacts, AppSettings
from tidemill.pipelines.pipelines import StepWish
from tidemill.publishing import left_over, objects, planning
from tidemill.publishing.left_over import Called, LeftOver
from tidemill.publishing.objects import Unseen
from tidemill.publishing.package_choice import Busy, Choice, Wanted, keep
from tidemill.publishing.planning import LeftOut
from tidemill.runner import runs
from tidemill.storage.documents import DocumentStore

BUILDER = "package-builder"
"""The built-in app that packs, in the workers themselves."""

DEADLINE = 7 * 86400.0
"""Seconds that one package may take."""

CHUNK = 500
"""Packages that are compared with what is there at a time."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Which packages are wanted. `folder`: where they lie that are not uploaded."""

    folder: Path
    projects: Sequence[str] | None = None
    """None: of all projects."""
    upload: bool = False
    """Upload them, whatever the site says."""
    regenerate: bool = False
    """Those, too, that are there and unchanged."""


@dataclass(slots=True)
class Begun:
    """What came of a wish. `run` is None where there was nothing to do."""

    store: StorePlace
    run: int | None = None
    batch: str = ""
    packages: list[str] = field(default_factory=list)
    """The names of those that the run makes."""
    size: int = 0
    """Bytes of the files that go into them."""
    unchanged: int = 0
    busy: list[Busy] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    """Packages that were not even planned, and why."""
    left_over: list[LeftOver] = field(default_factory=list)
    """Packages that are there, and that nothing calls for any more."""
    due: list[Wanted] = field(default_factory=list)
    """Those that the run makes, with the reason; in a rehearsal those that it would make."""

    unseen: list[Unseen] = field(default_factory=list)

    @property
    def faults(self) -> list[LeftOut]:
        """What somebody has to mend before all packages can be made."""
        return [one for one in self.left_out if one.fault]


async def begin(session: AsyncSession, documents: DocumentStore, wish: Wish) -> Begun:
    """Start one run with all packages that are due: those that are not there, whose bytes are not in their store, or
    whose plan is another than theirs.

    One that a run has in hand is left alone. Raises InvalidInput (an upload to nowhere, a declaration that cannot be
    read), NotFound (projects), Conflict (a package is named like an item), StorageError (the store cannot be written).
    """
    begun, choice, called = await _chosen(session, documents, wish)
    if choice.wants:
        await objects.check_writable(begun.store.url, begun.store.options)
    await _start(session, documents, begun, choice, projects=wish.projects)
    begun.left_over = await left_over.among(session, called)
    await left_over.note(session, called, begun.left_over)
    return begun


async def rehearse(session: AsyncSession, wish: Wish) -> Begun:
    """What `begin` would do; nothing is kept. Raises as `begin` does."""
    begun, choice, called = await _chosen(session, None, wish)
    _take(begun, choice, await choice.settle(session, rehearsal=True))
    begun.left_over = await left_over.among(session, called)
    return begun


async def _chosen(session: AsyncSession, documents: DocumentStore | None, wish: Wish) -> tuple[Begun, Choice, Called]:
    """All plans considered."""
    site = await _publishing(session)
    store = place(site, wish.folder, upload=wish.upload)
    begun, called = Begun(store), Called(wish.projects)
    look = objects.Look()
    choice = Choice(store, not (wish.upload or site.get("upload")), wish.regenerate, look)

    async def planned() -> AsyncIterator[PackagePlan]:
        async for part in planning.surveys(session, projects=wish.projects, store=store):
            begun.left_out += part.left_out
            called.take(part)
            for plan in part.plans:
                yield plan

    async for chunk in _chunks(planned()):
        await choice.consider(session, documents, chunk)
    begun.unseen = look.told()
    return begun, choice, called


async def begin_plans(session: AsyncSession, documents: DocumentStore, plans: Iterable[PackagePlan]) -> Begun:
    """Start one run with these packages (a dataset's, say), as far as they are due; all go into the same store."""
    listed = list(plans)
    begun = Begun(_store_of(listed[0]) if listed else StorePlace(""))
    choice = Choice(begun.store)
    await choice.consider(session, documents, listed)
    await _start(session, documents, begun, choice, projects=None)
    return begun


def place(publishing: Row, folder: Path, *, upload: bool = False) -> StorePlace:
    """Where packages go: the site's store where that is wanted, else a folder. Raises InvalidInput."""
    if not (upload or publishing.get("upload")):
        return StorePlace(folder.absolute().as_uri())
    if not publishing.get("store"):
        raise InvalidInput(
            "The site does not say where packages are uploaded to.",
            hint='Write [publishing] store = "s3://bucket/prefix" into the site file, and apply it.',
        )
    options = {key: publishing[key] for key in ("endpoint", "region") if publishing.get(key)}
    return StorePlace(str(publishing["store"]).rstrip("/"), options)


async def store_of_site(session: AsyncSession, folder: Path, *, upload: bool = False) -> StorePlace:
    """Where the packages of this site go; see `place`."""
    return place(await _publishing(session), folder, upload=upload)


async def progress(session: AsyncSession, run: int) -> list[Row]:
    """The packages of a run in order: `task, name, project, size, state, progress, reason, seconds`."""
    return await fetch(session, "package_runs.progress", {"run": run})


async def packers(database: Database) -> dict[str, str]:
    """The apps that pack in the pipeline as it is now and in runs that are not over, by name with their kinds."""
    async with database.begin() as session:
        rows = await fetch(session, "package_runs.packers", {"pipeline": PACKING})
    return {row["name"]: row["kind"] for row in rows}


async def ensure_pipeline(session: AsyncSession) -> str:
    """The pipeline that packs, with the app that the site names for it or the workers' own; that app's name.

    Raises Conflict where the site has a pipeline of that name for something else, or the app is not there.
    """
    await fetch(session, "pipelines.lock")
    engine = (await _publishing(session)).get("engine")
    steps = await fetch(session, "package_runs.steps", {"pipeline": PACKING})
    if steps and [step["name"] for step in steps] != [PACKING_STEP]:
        raise Conflict(
            f"The site has a pipeline named {PACKING!r} of its own: that name is the one that packs.",
            hint="Give it another name in the site file.",
        )
    if engine is None:
        engine = BUILDER
        settings = AppSettings(BUILDER, "package:", "package", "json", deadline=DEADLINE)
        await apps.register(session, settings, AppFacts(__version__))
    await pipelines.define(session, PACKING, [StepWish(engine, PACKING_STEP)], title="Packages")
    return str(engine)


async def _chunks(plans: AsyncIterator[PackagePlan]) -> AsyncIterator[list[PackagePlan]]:
    chunk: list[PackagePlan] = []
    async for plan in plans:
        chunk.append(plan)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


async def _start(
    session: AsyncSession,
    documents: DocumentStore,
    begun: Begun,
    choice: Choice,
    *,
    projects: Sequence[str] | None,
) -> None:
    """Let what is due enter a run, if anything is. From here on nobody else begins one, until the transaction ends."""
    await fetch(session, "package_runs.alone")
    due = await choice.settle(session)
    _take(begun, choice, due)
    if not due:
        return
    await ensure_pipeline(session)
    await keep(session, due)
    title = await fetch_one(session, "package_runs.title")
    assert title is not None
    batch = Batch(name=title["name"], description=_description(projects), made_from={OF_PACKAGES: len(due)})
    session.add(batch)
    await session.flush()
    await fetch(session, "batches.from_names", {"batch": batch.id, "names": written(begun.packages)})
    begun.batch = batch.name
    begun.run = await runs.start(session, documents, runs.Start(batch.name, PACKING, reuse=False))


def _take(begun: Begun, choice: Choice, due: list[Wanted]) -> None:
    """Say what was chosen."""
    begun.busy, begun.unchanged, begun.due = choice.busy, choice.unchanged, due
    begun.packages, begun.size = [one.name for one in due], sum(one.size for one in due)


def _description(projects: Sequence[str] | None) -> str:
    if projects is None:
        return "Packages of all projects."
    shown = ", ".join(projects[:10]) + (" …" if len(projects) > 10 else "")
    return f"Packages of {shown}."


def _store_of(plan: PackagePlan) -> StorePlace:
    told = orjson.loads(plan.document)["store"]
    return StorePlace(told["url"], told["options"])


async def _publishing(session: AsyncSession) -> Row:
    row = await fetch_one(session, "package_runs.publishing")
    return row["publishing"] if row else {}
