"""Apps as they are registered, read again, paused; and pipelines made of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import func, select, text
from tests.apps import ScriptedApp

from tidemill.db.database import Database
from tidemill.db.models import App, AppVersion, Step
from tidemill.errors import AppRefused, InvalidInput, NotFound, PipelineMismatch
from tidemill.executors.addresses import AddressPolicy
from tidemill.pipelines import apps, pipelines
from tidemill.pipelines.apps import AppSettings
from tidemill.pipelines.pipelines import StepWish

POLICY = AddressPolicy()
PARAMETERS = [{"name": "minLines", "type": "integer", "default": 3, "multivalued": False}]


@pytest.fixture
def clams() -> Iterator[ScriptedApp]:
    with ScriptedApp(name="bars", parameters=PARAMETERS) as app:
        yield app


async def _register(database: Database, settings: AppSettings) -> bool:
    facts = await apps.look(POLICY, settings)
    async with database.begin() as session:
        return await apps.register(session, settings, facts)


async def test_a_clams_app_is_registered_by_its_url(database: Database, clams: ScriptedApp) -> None:
    assert await _register(database, AppSettings("bars", clams.url))
    async with database.begin() as session:
        (row,) = await apps.listing(session)
    assert (row["version"], row["identifier"]) == ("v1.0", clams.identifier)
    assert row["metadata"]["parameters"] == PARAMETERS
    assert row["metadata"]["input"] == clams.metadata()["input"]
    assert (row["in_hand"], row["pipelines"], row["revision"]) == (0, [], 1)


async def test_registering_the_same_again_changes_nothing(database: Database, clams: ScriptedApp) -> None:
    settings = AppSettings("bars", clams.url, concurrency=2)
    await _register(database, settings)
    assert not await _register(database, settings)
    async with database.begin() as session:
        assert (await apps.get(session, "bars")).revision == 1


async def test_metadata_that_changed_without_a_new_version_is_kept_as_another_row(
    database: Database, clams: ScriptedApp
) -> None:
    await _register(database, AppSettings("bars", clams.url))
    async with database.begin() as session:
        first = (await apps.get(session, "bars")).version_id
    clams._parameters = [*PARAMETERS, {"name": "fast", "type": "boolean", "default": False}]
    async with database.begin() as session:
        settings = await apps.settings_of(session, "bars")
    facts = await apps.look(POLICY, settings)
    async with database.begin() as session:
        assert await apps.refresh(session, "bars", facts)
    async with database.begin() as session:
        assert not await apps.refresh(session, "bars", facts)
        app = await apps.get(session, "bars")
        assert app.version_id != first
        assert app.revision == 2
        assert (await session.get_one(AppVersion, first)).details["parameters"] == PARAMETERS


async def test_an_app_without_metadata_has_no_version_unless_it_is_given(database: Database) -> None:
    await _register(database, AppSettings("plain", "http://127.0.0.1:9/", protocol="json"))
    settings = AppSettings("tidy", "python:tidy", kind="python")
    facts = await apps.look(POLICY, settings, version="1.2")
    async with database.begin() as session:
        await apps.register(session, settings, facts)
    async with database.begin() as session:
        rows = {row["name"]: row for row in await apps.listing(session)}
    assert (rows["plain"]["version"], rows["tidy"]["version"]) == ("", "1.2")
    assert rows["tidy"]["protocol"] == "json"


async def test_what_is_no_clams_app_is_refused(clams: ScriptedApp) -> None:
    clams.stop()
    with pytest.raises(AppRefused, match="cannot be reached"):
        await apps.look(POLICY, AppSettings("bars", clams.url))


@pytest.mark.parametrize(
    "settings",
    [
        AppSettings("a/b", "http://127.0.0.1/"),
        AppSettings("a", "http://127.0.0.1/", kind="slurm"),
        AppSettings("a", "http://127.0.0.1/", protocol="soap"),
        AppSettings("a", "tidy", kind="python:"),
        AppSettings("a", "http://127.0.0.1/", concurrency=0),
        AppSettings("a", "http://127.0.0.1/", deadline=0),
    ],
)
async def test_settings_that_make_no_sense_are_refused(settings: AppSettings) -> None:
    with pytest.raises(InvalidInput):
        await apps.look(POLICY, settings)


async def test_pausing_and_resuming_is_seen_by_workers_and_closes_the_circuit(
    database: Database, clams: ScriptedApp
) -> None:
    await _register(database, AppSettings("bars", clams.url))
    async with database.begin() as session:
        assert await apps.pause(session, "bars")
        assert not await apps.pause(session, "bars")
        await session.execute(
            text("update app set circuit_failures = 3, circuit_open_until = now(), circuit_reason = 'x'")
        )
    async with database.begin() as session:
        assert await apps.resume(session, "bars")
    async with database.begin() as session:
        app = await apps.get(session, "bars")
        assert (app.paused, app.circuit_failures, app.circuit_open_until, app.revision) == (False, 0, None, 3)
        with pytest.raises(NotFound, match="no app named 'bar'") as missing:
            await apps.pause(session, "bar")
    assert missing.value.hint == "Did you mean 'bars'?"


async def _define(database: Database, *steps: StepWish, title: str | None = None) -> int:
    async with database.begin() as session:
        return (await pipelines.define(session, "slates", steps, title)).number


async def test_a_pipeline_has_a_new_version_only_when_its_steps_differ(database: Database, clams: ScriptedApp) -> None:
    await _register(database, AppSettings("bars", clams.url))
    steps = (StepWish("bars"), StepWish("bars", parameters={"minLines": "4"}), StepWish("bars", name="last", tries=1))
    assert await _define(database, *steps, title="Slates") == 1
    assert await _define(database, *steps) == 1
    assert (
        await _define(database, steps[0], StepWish("bars", parameters={"minLines": 4, "pretty": None}), steps[2]) == 1
    )
    assert await _define(database, steps[1], steps[0], steps[2]) == 2
    assert await _define(database, *steps) == 3
    async with database.begin() as session:
        (row,) = await pipelines.listing(session)
        assert await session.scalar(select(func.count()).select_from(Step)) == 9
    assert (row["number"], row["title"]) == (3, "Slates")
    assert [step["name"] for step in row["steps"]] == ["bars", "bars-2", "last"]
    assert row["steps"][1]["parameters"] == {"minLines": 4}


async def test_a_pipeline_that_does_not_fit_is_not_made(database: Database, clams: ScriptedApp) -> None:
    await _register(database, AppSettings("bars", clams.url))
    with ScriptedApp(name="slate", inputs=("VideoDocument", "TimeFrame")) as slate:
        await _register(database, AppSettings("slate", slate.url))
    with pytest.raises(PipelineMismatch, match="'slate' needs TimeFrame") as mismatch:
        await _define(database, StepWish("slate"))
    assert mismatch.value.hint == "Put an app that writes it before 'slate': bars."
    with pytest.raises(InvalidInput, match="did you mean 'minLines'"):
        await _define(database, StepWish("bars", parameters={"minlines": 3}))
    with pytest.raises(NotFound, match="no app named 'bras'"):
        await _define(database, StepWish("bras"))
    with pytest.raises(InvalidInput, match="several steps named x"):
        await _define(database, StepWish("bars", name="x"), StepWish("bars", name="x"))
    with pytest.raises(InvalidInput, match="no steps"):
        await _define(database)
    async with database.begin() as session:
        assert await pipelines.listing(session) == []
        assert await session.scalar(select(func.count()).select_from(App)) == 2
