"""Watching runs, schedules and quiet hours through the site file, the command line, the API and the pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.program import Program
from tests.watching import Watched
from tests.webserver import Web

from tidemill.db.database import Database
from tidemill.errors import SiteFileError
from tidemill.executors.addresses import AddressPolicy
from tidemill.pipelines import apply as service
from tidemill.pipelines.export import export
from tidemill.pipelines.site_file import parse_site_file
from tidemill.storage.documents import DocumentStore

SITE = """
[[apps]]
name = "one"
kind = "python"
url = "python:one"
version = "1"
quiet = [
  { days = ["sat", "sun"], from = "22:00", to = "06:00", zone = "Europe/Berlin" },
  { from = 12:00:00, to = "13:00" },
]

[[pipelines]]
name = "chain"
steps = [{ app = "one" }]

[[watching]]
name = "physics"
pipeline = "chain"
status = ["good", "new"]
project = "detector-a"
require = ["conditions.volts"]
prefix = "ma22"
files = 1
priority = 5
reuse = false
quiet = [{ from = "22:00", to = "06:00", zone = "Europe/Berlin" }]

[watching.where]
kind = "physics"
run = [1, 2]
conditions.temperature = { max = 0.1 }
day = { min = 2026-01-01 }

[[watching]]
name = "rest"
pipeline = "chain"

[[schedules]]
name = "nightly"
cron = "0 2 * * *"
zone = "Europe/Berlin"
start = { batch = "may", pipeline = "chain", only_not_done = true }

[[schedules]]
name = "hourly"
cron = "7 * * * *"
sync = "tapes"

[[sources]]
name = "tapes"
url = "/tapes"
layout = [{ pattern = "{item}.mp4" }]
"""


async def plan(database: Database, text: str) -> service.Plan:
    file = parse_site_file(text, Path("site.toml"))
    facts = await service.look_at_apps(AddressPolicy(["127.0.0.1"]), file)
    async with database.begin() as session:
        return await service.plan(session, file, facts)


async def applied(database: Database, text: str) -> list[str]:
    made = await plan(database, text)
    async with database.begin() as session:
        await service.carry_out(session, made)
    assert (await plan(database, text)).changes == []
    return made.lines()


async def test_a_site_file_makes_it_all_and_is_written_back(database: Database) -> None:
    await applied(database, SITE)
    async with database.begin() as session:
        text = await export(session)
    assert (await plan(database, text)).lines() == ["nothing to change"]
    assert await applied(database, text.replace("priority = 5", "priority = 6").replace("0 2 * * *", "0 3 * * *")) == [
        "~ watching run physics",
        "    priority: 5 → 6",
        "~ schedule nightly",
        '    cron: "0 2 * * *" → "0 3 * * *"',
    ]
    left = (await plan(database, SITE.partition("[[watching]]")[0])).left_alone
    assert left == ["source tapes", "watching run physics", "watching run rest", "schedule hourly", "schedule nightly"]


async def test_a_new_version_of_a_pipeline_goes_on_in_new_runs_also_where_the_file_does_not_name_the_watch(
    database: Database,
) -> None:
    await applied(database, SITE)
    shorter = SITE.replace('steps = [{ app = "one" }]', 'steps = [{ app = "one" }, { app = "one" }]')
    told = await applied(database, shorter.replace('[[watching]]\nname = "rest"\npipeline = "chain"', ""))
    goes_on = '"a new run with the newest version; the old one finishes what it has"'
    assert f'    run: "1 (version 1 of chain)" → {goes_on}' in told
    assert f'    run: "2 (version 1 of chain)" → {goes_on}' in told
    assert "  not in the file, left alone: watching run rest" in told
    async with database.begin() as session:
        rows = await service.watching.listing(session)
    assert [(row["name"], row["run"], row["pipeline_version"], row["older_runs"]) for row in rows] == [
        ("physics", 3, 2, [1]),
        ("rest", 4, 2, [2]),
    ]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("max = 0.1", "mx = 0.1", "site.toml:31: watching run 'physics': where: conditions.temperature has 'mx'"),
        ("files = 1", "files = -1", "site.toml:23: watching run 'physics': files must be a whole number"),
        ("prefix", "prefx", "site.toml:22: watching run 'physics' has 'prefx', which is not a key here; did you mean"),
        ('"sat", "sun"', '"sat", "son"', "site.toml:7: app 'one': quiet is"),
        ("from = 12:00:00", "form = 12:00:00", "entry 2 has form; there are: days, from, to, zone"),
        ("0 2 * * *", "0 25 * * *", "site.toml:40: schedule 'nightly': '0 25 * * *' is no cron expression: wrong hour"),
        ('zone = "Europe/Berlin"\nstart', 'zone = "Berlin"\nstart', "schedule 'nightly': 'Berlin' is no time zone"),
        ('sync = "tapes"', "", "site.toml:44: schedule 'hourly' has neither of start and sync"),
        ('name = "rest"', 'name = "physics"', "there is another watching run named 'physics', on line 16"),
        ('name = "rest"\npipeline = "chain"', 'name = "rest"', "watching run 'rest' lacks pipeline"),
    ],
)
async def test_mistakes_are_told_with_their_line(before: str, after: str, told: str) -> None:
    assert before in SITE
    with pytest.raises(SiteFileError) as refused:
        parse_site_file(SITE.replace(before, after), Path("site.toml"))
    assert told in refused.value.message


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (
            'name = "rest"\npipeline = "chain"',
            'name = "rest"\npipeline = "chian"',
            "no pipeline named 'chian'; did you mean",
        ),
        (
            'sync = "tapes"',
            'sync = "tape"',
            "site.toml:47: schedule 'hourly': there is no source named 'tape'; did you",
        ),
    ],
)
async def test_names_that_name_nothing_are_told_with_their_line(
    database: Database, before: str, after: str, told: str
) -> None:
    with pytest.raises(SiteFileError) as refused:
        await plan(database, SITE.replace(before, after))
    assert told in refused.value.message


@pytest.fixture
async def mill(database: Database, documents: DocumentStore) -> Watched:
    mill = Watched(database, documents)
    await mill.pipeline("chain", ["one"])
    return mill


async def call(web: Web, method: str, path: str, status: int = 200, body: Any = None) -> Any:
    answer = await web.client.request(method, path, **({"json": body} if body is not None else {}))
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


async def test_the_api_of_watching_runs(mill: Watched, web: Web) -> None:
    wish = {"name": "hot", "pipeline": "chain", "condition": {"where": {"t": {"min": 1}}}, "priority": 2}
    made = await call(web, "POST", "/api/watching", 201, wish)
    assert (made["state"], made["priority"], made["in_words"][-1]) == ("active", 2, "t must be at least 1")
    await mill.add("a", metadata='{"t": 0.5}')
    await mill.keep_house()
    (why,) = (await call(web, "GET", "/api/items/a/why"))["watching"]
    assert (why["watch"], why["missed"], why["entered"]) == ("hot", ["t is 0.5, must be at least 1"], [])
    changed = await call(web, "PATCH", "/api/watching/hot", body={"condition": {"where": {"t": {"min": 0.5}}}})
    assert (changed["run"], changed["priority"]) == (made["run"], 2)
    await mill.keep_house()
    (why,) = (await call(web, "GET", "/api/items/a/why?watch=hot"))["watching"]
    assert why["entered"][0]["state"] == "waiting"
    assert (await call(web, "POST", "/api/watching/hot/pause"))["paused"] is True
    assert (await call(web, "POST", "/api/watching/hot/resume"))["paused"] is False
    quiet = [{"from": "22:00", "to": "06:00", "zone": "Europe/Berlin"}]
    assert (await call(web, "PATCH", "/api/watching/hot", body={"quiet": quiet}))["quiet"] == quiet
    assert [row["name"] for row in (await call(web, "GET", "/api/watching"))["watching"]] == ["hot"]
    overview = await call(web, "GET", f"/api/runs/{made['run']}")
    assert (overview["watch"], overview["total"]) == ("hot", 1)
    assert await call(web, "POST", "/api/watching/hot/end") == {"watch": "hot", "run": made["run"], "cancelled": 0}
    assert "no watching run named 'hot'" in (await call(web, "GET", "/api/watching/hot", 404))["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({"condition": {"where": {"t": {"mim": 1}}}}, 422, "where: t has 'mim', which is no test; did you mean min?"),
        ({"quiet": [{"from": "22"}]}, 422, 'quiet: its entry must have from = "HH:MM"'),
        ({"pipeline": "chian"}, 404, "There is no pipeline named 'chian'."),
        ({"name": "a/b"}, 422, "has a slash"),
        ({"prio": 1}, 422, "prio"),
    ],
)
async def test_what_the_api_refuses(mill: Watched, web: Web, body: Any, status: int, told: str) -> None:
    answer = await call(web, "POST", "/api/watching", status, {"name": "x", "pipeline": "chain"} | body)
    assert told in answer["error"]["message"]
    assert (await call(web, "GET", "/api/watching"))["watching"] == []


async def test_the_api_of_schedules(mill: Watched, web: Web) -> None:
    body = {"cron": "0 2 * * *", "start": {"batch": "may", "pipeline": "chain"}}
    made = await call(web, "PUT", "/api/schedules/nightly", body=body)
    assert (made["zone"], made["last_result"], made["next_at"] > made["now"]) == ("UTC", "", True)
    done = await call(web, "POST", "/api/schedules/nightly/run")
    assert done["result"] == "failed: There is no batch named 'may'. (asked for by a person)"
    assert (await call(web, "POST", "/api/schedules/nightly/pause"))["paused"] is True
    assert (await call(web, "POST", "/api/schedules/nightly/resume"))["paused"] is False
    assert len((await call(web, "GET", "/api/schedules"))["schedules"]) == 1
    refused = await call(web, "PUT", "/api/schedules/x", 422, {"cron": "0 2 * * *"})
    assert "exactly one of start and sync" in refused["error"]["message"]
    await call(web, "DELETE", "/api/schedules/nightly", 204)
    await call(web, "GET", "/api/schedules/nightly", 404)


async def test_the_pages(mill: Watched, web: Web) -> None:
    await mill.watch("hot", condition={"where": {"t": {"min": 1}}})
    run = await mill.watch("all")
    await mill.add("a/b", metadata='{"t": 0.5}')
    await mill.keep_house()
    await mill.sql("update item set status = 'bad', status_reason = 'dead channel'")
    await mill.look()
    quiet = '[{"from": "00:00", "to": "00:00", "zone": "Europe/Berlin"}]'
    await mill.sql("update app set quiet = cast(:quiet as jsonb)", quiet=quiet)
    await mill.sql(
        """insert into schedule (name, cron, action, next_at) values ('s', '0 2 * * *', '{"sync": "t"}', now())"""
    )

    async def page(path: str) -> str:
        answer = await web.client.get(path)
        assert answer.status_code == 200, answer.text
        return str(answer.text)

    watching = await page("/watching")
    assert "t must be at least 1" in watching
    assert "1 waiting" in watching
    why = await page("/items/a%2Fb/why")
    assert "t is 0.5, must be at least 1" in why
    assert "no longer matches: status is bad (dead channel), must be good" in why
    assert "/items/a%2Fb/why" in await page("/items/a%2Fb")
    assert "are cancelled" in await page("/watching/all/end")
    told = await page("/apps/one")
    assert "quiet until" in told
    assert "00:00–00:00 Europe/Berlin" in told
    assert "one has quiet hours until" in await page(f"/runs/{run}")
    assert 'read source <a href="/sources/t">' in await page("/schedules")
    for path in ("/watching/hot/pause", "/watching/hot/resume", "/watching/all/end", "/schedules/s/pause",
                 "/schedules/s/resume", "/schedules/s/run"):  # fmt: skip
        assert (await web.client.post(path)).status_code == 303, path
    assert "failed: There is no source named" in await page("/schedules")


def test_the_command_line(database_url: str, tmp_path: Path) -> None:
    tidemill = Program(tmp_path / "site", database_url)
    site = tmp_path / "site.toml"
    site.write_text(SITE.replace('url = "/tapes"', f'url = "{tmp_path}"'))
    tidemill("apply", "--yes", site)
    tests = ["--where", "t>=1", "--where", "kind=a|b", "--require", "x.y"]
    row = tidemill("watching", "start", "hot", "-p", "chain", *tests, "--json").json
    assert row["condition"]["where"] == {"t": {"min": 1}, "kind": {"one_of": ["a", "b"]}}
    assert row["in_words"][2:] == ["has `x.y`", 'kind must be "a" or "b"', "t must be at least 1"]
    (tmp_path / "x.mp4").write_bytes(b"x")
    assert "1 new item;" in tidemill("schedules", "run", "hourly").out
    told = tidemill("why", "x").out
    assert "hot: It has not entered: no `x.y`; no `kind`" in told
    assert "rest: It matches, and is about to enter." in told
    assert "status is good; no project of it is locked" in tidemill("watching").out
    assert tidemill("watching", "end", "hot", "--json").json["cancelled"] == 0
    tidemill("schedules", "pause", "hourly")
    assert "paused" in tidemill("schedules").out
    assert "no test; write PATH=VALUE" in tidemill("watching", "start", "y", "-p", "chain", "--where", "t", code=3).err
    assert "Did you mean 'rest'" in tidemill("watching", "show", "rets", code=4).err
