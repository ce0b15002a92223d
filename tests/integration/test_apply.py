"""Making the database match a site file, and writing it back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.apps import ScriptedApp

from tidemill.db.database import Database
from tidemill.errors import AppRefused, Conflict, SiteFileError
from tidemill.executors.addresses import AddressPolicy
from tidemill.pipelines import apply, apps, pipelines
from tidemill.pipelines.apply import Plan
from tidemill.pipelines.export import export
from tidemill.pipelines.site_file import parse_site_file

POLICY = AddressPolicy()
PARAMETERS = [
    {"name": "minLines", "type": "integer", "default": 3, "multivalued": False},
    {"name": "labels", "type": "string", "default": ["bars"], "multivalued": True},
    {"name": "method", "type": "string", "default": "a", "choices": ["content", "adaptive"]},
]

SITE = """
title = "Riverside"

[vocabulary]
item = "recording"
items = "recordings"

[fields.year]
type = "integer"
title = "Year"

[[projects]]
name = "evening"
title = "Evening programmes"
metadata = {{ aired = 1972-03-04, tags = ["a", "b"] }}

[[sources]]
name = "recordings"
url = "recordings and more"

[[sources.layout]]
pattern = "{{project}}/{{item}}.mp4"

[[sources.layout]]
pattern = "**/*.json"
ignore = true

[[apps]]
name = "bars"
url = "{bars}"
concurrency = 2
deadline = "10m"
max_answer = "50MB"

[[apps]]
name = "slate"
url = "{slate}"

[[apps]]
name = "tidy"
kind = "python"
url = "python:tidy"
version = "1.2"

[[pipelines]]
name = "slates"
title = "The slates"

[[pipelines.steps]]
app = "bars"

[[pipelines.steps]]
app = "slate"
parameters = {{ minLines = 4, labels = "x", method = "content" }}
tries = 1
backoff = 0.5

[[pipelines.steps]]
app = "bars"
"""


@pytest.fixture
def bars() -> Iterator[ScriptedApp]:
    with ScriptedApp(name="bars") as app:
        yield app


@pytest.fixture
def slate() -> Iterator[ScriptedApp]:
    with ScriptedApp(name="slate", inputs=("VideoDocument", "TimeFrame"), parameters=PARAMETERS) as app:
        yield app


async def _plan(database: Database, written: str, offline: bool = False) -> Plan:
    site_file = parse_site_file(written, Path("site.toml"))
    facts = await apply.look_at_apps(POLICY, site_file, offline=offline)
    async with database.begin() as session:
        return await apply.plan(session, site_file, facts)


async def _apply(database: Database, written: str) -> Plan:
    plan = await _plan(database, written)
    async with database.begin() as session:
        await apply.carry_out(session, plan)
    return plan


async def _rows(database: Database) -> dict[str, int]:
    tables = ("app", "app_version", "pipeline", "pipeline_version", "step", "source", "project", "site")
    async with database.begin() as session:
        return {table: await session.scalar(text(f"select count(*) from {table}")) or 0 for table in tables}


async def test_apply_makes_all_of_it_and_a_second_time_nothing(
    database: Database, bars: ScriptedApp, slate: ScriptedApp
) -> None:
    written = SITE.format(bars=bars.url, slate=slate.url)
    first = await _plan(database, written)
    assert (await _rows(database))["app"] == 0, "a plan changes nothing"
    assert "+ pipeline slates" in first.lines()
    await _apply(database, written)
    rows = await _rows(database)
    again = await _apply(database, written)
    assert again.empty
    assert again.lines() == ["nothing to change"]
    assert await _rows(database) == rows
    async with database.begin() as session:
        (pipeline,) = await pipelines.listing(session)
    assert [step["name"] for step in pipeline["steps"]] == ["bars", "slate", "bars-2"]
    assert pipeline["steps"][1]["parameters"] == {"minLines": 4, "labels": ["x"], "method": "content"}


async def test_what_export_writes_apply_finds_no_difference_in(
    database: Database, bars: ScriptedApp, slate: ScriptedApp
) -> None:
    await _apply(database, SITE.format(bars=bars.url, slate=slate.url))
    async with database.begin() as session:
        written = await export(session)
    assert (await _plan(database, written)).lines() == ["nothing to change"]
    assert 'title = "Riverside"' in written
    assert "recordings and more" in written


async def test_an_exported_site_makes_the_same_site_elsewhere(
    database: Database, bars: ScriptedApp, slate: ScriptedApp
) -> None:
    await _apply(database, SITE.format(bars=bars.url, slate=slate.url))
    async with database.begin() as session:
        written = await export(session)
        for table in ("site", "project", "source", "pipeline", "app"):
            await session.execute(text(f"truncate {table} cascade"))
    await _apply(database, written)
    async with database.begin() as session:
        assert await export(session) == written


async def test_a_changed_file_shows_before_and_after(database: Database, bars: ScriptedApp, slate: ScriptedApp) -> None:
    written = SITE.format(bars=bars.url, slate=slate.url)
    await _apply(database, written)
    plan = await _apply(database, written.replace("concurrency = 2", "concurrency = 5").replace("Riverside", "Hill"))
    assert plan.lines() == ["~ site", '    title: "Riverside" → "Hill"', "~ app bars", "    concurrency: 2 → 5"]
    async with database.begin() as session:
        app = await apps.get(session, "bars")
        assert (app.concurrency, app.revision) == (5, 2)
    assert (await _rows(database))["pipeline_version"] == 1


async def test_other_steps_are_a_new_version_and_what_the_file_drops_stays(
    database: Database, bars: ScriptedApp, slate: ScriptedApp
) -> None:
    written = SITE.format(bars=bars.url, slate=slate.url)
    await _apply(database, written)
    plan = await _apply(database, written.replace("minLines = 4", "minLines = 5"))
    assert [change.noun for change in plan.changes] == ["pipeline"]
    shorter = await _apply(database, 'title = "Riverside"')
    assert shorter.left_alone == [
        "source recordings", "app bars", "app slate", "app tidy", "pipeline slates",
    ]  # fmt: skip
    rows = await _rows(database)
    assert (rows["pipeline_version"], rows["app"], rows["step"]) == (2, 3, 6)


async def test_an_app_of_a_new_version_is_a_change(database: Database, bars: ScriptedApp, slate: ScriptedApp) -> None:
    written = SITE.format(bars=bars.url, slate=slate.url)
    await _apply(database, written)
    bars.version = "v1.1"
    plan = await _apply(database, written)
    assert '    version: "v1.0" → "v1.1"' in plan.lines()
    assert (await _rows(database))["app_version"] == 4


async def test_an_app_that_is_down_is_named_with_its_line_and_can_be_left_for_later(
    database: Database, bars: ScriptedApp, slate: ScriptedApp
) -> None:
    written = SITE.format(bars=bars.url, slate=slate.url)
    await _apply(database, written)
    bars.stop()
    with pytest.raises(AppRefused, match=r"site\.toml:30: app 'bars': .*cannot be (read|reached)") as refused:
        await _plan(database, written)
    assert "--offline" in (refused.value.hint or "")
    assert (await _plan(database, written, offline=True)).empty


async def test_an_address_that_the_site_does_not_allow_is_refused(database: Database) -> None:
    written = '[[apps]]\nname = "far"\nurl = "http://192.0.2.7/"\n'
    with pytest.raises(AppRefused, match=r"site\.toml:3: app 'far': .*does not allow") as refused:
        await _plan(database, written)
    assert "TIDEMILL_APP_ADDRESSES" in (refused.value.hint or "")


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ('app = "slate"', 'app = "slat"', r"no app named 'slat'; did you mean 'slate'\?"),
        ("minLines = 4", 'minLines = "four"', r"'minLines' is \"four\", but must be a whole number"),
        ("minLines = 4", "minlines = 4", r"'minlines'; did you mean 'minLines'\?"),
        ('"content"', '"contents"', r"one of \"content\", \"adaptive\" \(did you mean \"content\"\?\)"),
    ],
)
async def test_a_step_that_does_not_fit_its_app_is_refused_with_its_line(
    database: Database, bars: ScriptedApp, slate: ScriptedApp, right: str, wrong: str, message: str
) -> None:
    written = SITE.format(bars=bars.url, slate=slate.url)
    line = written[: written.index(right)].count("\n") + 1
    with pytest.raises(SiteFileError, match=rf"^site\.toml:{line}: pipeline 'slates': [^\n]*{message}[^\n]*$"):
        await _plan(database, written.replace(right, wrong))


async def test_a_chain_that_does_not_fit_says_which_step_lacks_what(
    database: Database, bars: ScriptedApp, slate: ScriptedApp
) -> None:
    written = SITE.format(bars=bars.url, slate=slate.url).replace('[[pipelines.steps]]\napp = "bars"\n', "", 1)
    with pytest.raises(SiteFileError, match=r"Step 1, 'slate' needs TimeFrame, .*Move 'bars' before 'slate'\."):
        await _plan(database, written)


async def test_a_plan_that_is_no_longer_true_is_not_carried_out(
    database: Database, bars: ScriptedApp, slate: ScriptedApp
) -> None:
    written = SITE.format(bars=bars.url, slate=slate.url)
    plan = await _plan(database, written)
    await _apply(database, written)
    async with database.begin() as session:
        with pytest.raises(Conflict, match="changed since"):
            await apply.carry_out(session, plan)


async def test_the_example_of_the_archive_is_a_right_site_file() -> None:
    path = Path(__file__).parents[2] / "examples" / "archive" / "site.toml"
    assert parse_site_file(path.read_text(), path).content.title
