"""Watching runs: whatever matches enters, whenever it came, and once."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.watching import Watched

from tidemill.db.database import Database
from tidemill.errors import Conflict, NotFound
from tidemill.pipelines import watching
from tidemill.runner import redo, runs, watch, watch_steering
from tidemill.runner.housekeeping import Duty, Housekeeping
from tidemill.storage.documents import DocumentStore

Json = dict[str, Any]


@pytest.fixture
async def mill(database: Database, documents: DocumentStore) -> Watched:
    mill = Watched(database, documents)
    await mill.pipeline("chain", ["one", "two"])
    return mill


def say(document: Json, _: Json) -> Json:
    return {"ok": True}


FUNCTIONS = {"one": say, "two": say}


async def test_items_from_before_and_items_that_come_later_enter(mill: Watched) -> None:
    await mill.add("before-1", "before-2")
    run = await mill.watch()
    await mill.keep_house()
    assert set(await mill.standing(run)) == {"before-1", "before-2"}
    await mill.add("later")
    await mill.look()
    assert await mill.standing(run) == {"before-1": "waiting", "before-2": "waiting", "later": "waiting"}


async def test_an_item_goes_all_the_way_by_itself_and_the_run_stays_open(mill: Watched) -> None:
    run = await mill.watch()
    async with mill.at_work(FUNCTIONS):
        await mill.add("a", "b")
        await mill.until_states(run, {"done": 2})
        await mill.add("c")
        await mill.until_states(run, {"done": 3})
    assert (await mill.sql("select state from run"))[0]["state"] == "active"


async def test_what_came_while_nobody_was_there_enters_at_the_next_start(mill: Watched) -> None:
    run = await mill.watch()
    await mill.keep_house()
    await mill.add("while-down")
    async with mill.at_work(FUNCTIONS):
        await mill.until_states(run, {"done": 1})


async def test_no_item_is_skipped_whichever_order_transactions_commit_in(mill: Watched) -> None:
    run = await mill.watch()
    await mill.add("z")
    await mill.keep_house()
    slow = await mill.database.connect()
    slower = await mill.database.connect()
    async with slow, slower:
        async with slow.transaction():
            await slow.execute(b"insert into item (name) values ('early-number-late-commit')")
            async with slower.transaction():
                await slower.execute(b"insert into item (name) values ('commits-in-between')")
                await mill.add("commits-first")
                await mill.look()
                assert set(await mill.standing(run)) == {"z", "commits-first"}
            await mill.look()
        await mill.look()
    assert set(await mill.standing(run)) == {"z", "commits-first", "commits-in-between", "early-number-late-commit"}


async def test_an_edit_that_makes_an_item_match_lets_it_enter(mill: Watched) -> None:
    run = await mill.watch(condition={"require": ["conditions"], "where": {"conditions.temperature": {"max": 0.1}}})
    await mill.add("data")
    await mill.keep_house()
    assert await mill.why("data") == [
        "It has not entered: no `conditions`; no `conditions.temperature`, must be at most 0.1."
    ]
    await mill.sql("""update item set metadata = '{"conditions": {"temperature": 0.4}}'""")
    await mill.look()
    assert await mill.why("data") == ["It has not entered: conditions.temperature is 0.4, must be at most 0.1."]
    await mill.sql("""update item set metadata = '{"conditions": {"temperature": 0.05}}'""")
    assert await mill.why("data") == ["It matches, and is about to enter."]
    await mill.look()
    assert await mill.standing(run) == {"data": "waiting"}
    assert await mill.why("data", "all") == [f"It entered, and is waiting at one in run {run}."]


async def test_an_item_that_no_longer_matches_is_held_until_it_does_again(mill: Watched) -> None:
    run = await mill.watch()
    await mill.add("a", "b")
    await mill.keep_house()
    await mill.sql("update item set status = 'bad', status_reason = 'dead channel' where name = 'a'")
    await mill.look()
    told = "no longer matches: status is bad (dead channel), must be good"
    assert await mill.standing(run) == {"a": f"waiting: {told}", "b": "waiting"}
    assert await mill.why("a") == [f"It entered, and is waiting at one in run {run}: {told}."]
    async with mill.working(FUNCTIONS):
        await mill.until_states(run, {"waiting": 1, "done": 1})
    await mill.sql("update item set status = 'good', status_reason = '' where name = 'a'")
    async with mill.at_work(FUNCTIONS):
        await mill.until_states(run, {"done": 2})


async def test_an_item_that_turns_bad_during_a_step_is_held_before_the_next_one(mill: Watched) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow(document: Json, _: Json) -> Json:
        begun.set()
        await go.wait()
        return {"ok": 1}

    run = await mill.watch()
    async with mill.at_work({"one": slow, "two": say}):
        await mill.add("a")
        await begun.wait()
        await mill.sql("update item set status = 'bad'")

        async def noted() -> bool:
            return bool(await mill.sql("select from task where held"))

        await mill.until(noted)
        go.set()

        async def finished_one() -> bool:
            return (await mill.tasks(run))[0]["step"] == 1

        await mill.until(finished_one)
        (task,) = await mill.tasks(run)
        assert (task["state"], task["reason"]) == ("waiting", "no longer matches: status is bad, must be good")
        await mill.sql("update item set status = 'good'")
        await mill.until_states(run, {"done": 1})
    assert Counter(attempt["outcome"] for attempt in await mill.attempts(run)) == {"done": 2}


async def test_projects_count_as_they_are_entered_left_locked_and_unlocked(mill: Watched) -> None:
    run = await mill.watch(condition={"project": "a"})
    await mill.add("x", "y")
    await mill.sql("insert into project (name) values ('a')")
    await mill.keep_house()
    assert await mill.standing(run) == {}
    await mill.sql("insert into project_item select p.id, i.id from project p, item i where i.name = 'x'")
    await mill.look()
    assert await mill.standing(run) == {"x": "waiting"}
    await mill.sql("update project set locked = true")
    await mill.sql("insert into project_item select p.id, i.id from project p, item i where i.name = 'y'")
    await mill.look()
    assert await mill.standing(run) == {"x": "waiting: no longer matches: project `a` is locked"}
    assert await mill.why("y") == ["It has not entered: project `a` is locked."]
    await mill.sql("update project set locked = false")
    await mill.look()
    assert await mill.standing(run) == {"x": "waiting", "y": "waiting"}
    await mill.sql("delete from project_item")
    await mill.look()
    told = "waiting: no longer matches: is in no project, must be in `a`"
    assert await mill.standing(run) == {"x": told, "y": told}


async def test_a_file_that_comes_lets_an_item_enter(mill: Watched) -> None:
    run = await mill.watch(condition={"files": 1})
    await mill.add("x")
    await mill.keep_house()
    assert await mill.why("x") == ["It has not entered: has 0 files, must have at least 1."]
    await mill.sql("insert into source (name, url) values ('s', '/s')")
    await mill.sql("insert into file (source_id, key, size) select id, 'x.dat', 1 from source")
    await mill.sql("insert into item_file select i.id, f.id from item i, file f")
    await mill.look()
    assert await mill.standing(run) == {"x": "waiting"}


async def test_a_paused_watch_takes_in_nothing_until_it_is_resumed(mill: Watched) -> None:
    run = await mill.watch()
    await mill.keep_house()
    async with mill.database.begin() as session:
        await runs.pause(session, run)
    await mill.add("x")
    await mill.keep_house()
    assert await mill.standing(run) == {}
    assert await mill.why("x") == ["It matches, and enters when the run is resumed: it is paused."]
    async with mill.database.begin() as session:
        await runs.pause(session, run, False)
    await mill.look()
    assert await mill.standing(run) == {"x": "waiting"}


async def test_a_changed_condition_is_held_against_everything_again(mill: Watched) -> None:
    run = await mill.watch(condition={"prefix": "a"})
    await mill.add("a-1", "b-1")
    await mill.keep_house()
    assert await mill.watch(condition={"prefix": "b"}) == run
    await mill.keep_house()
    assert await mill.standing(run) == {
        "a-1": "waiting: no longer matches: name is a-1, must begin with `b`",
        "b-1": "waiting",
    }


async def test_more_changes_than_fit_in_a_transaction_are_left_to_a_sweep(
    mill: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "CHUNK", 7)
    run = await mill.watch()
    await mill.keep_house()
    await mill.add(*(f"n-{n:02}" for n in range(30)))
    await mill.look()
    assert await mill.standing(run) == {}
    await mill.keep_house()
    tasks = await mill.tasks(run)
    assert [(t["position"], t["item"]) for t in tasks] == [(n, f"n-{n:02}") for n in range(30)]
    await mill.sql("update item set status = 'bad'")
    await mill.keep_house()
    await mill.keep_house()
    assert Counter((await mill.standing(run)).values()) == {
        "waiting: no longer matches: status is bad, must be good": 30
    }


async def test_changes_that_were_pruned_unseen_are_made_up_for_by_a_sweep(mill: Watched) -> None:
    run = await mill.watch()
    await mill.add("x")
    await mill.keep_house()
    await mill.add("pruned")
    await mill.sql("delete from change")
    await mill.add("y")
    await mill.keep_house()
    assert set(await mill.standing(run)) == {"x", "pruned", "y"}
    await mill.keep_house()
    assert (await mill.sql("select swept_at > now() - interval '1 hour' as swept from watch"))[0]["swept"]


async def test_an_item_that_failed_stays_failed_when_it_matches_again(mill: Watched) -> None:
    def fail(document: Json, _: Json) -> Json:
        raise ValueError("no pulses")

    run = await mill.watch()
    await mill.add("x")
    async with mill.at_work({"one": fail, "two": say}):
        await mill.until_states(run, {"failed": 1})
        await mill.sql("update item set status = 'bad'")
        await mill.look()
        await mill.sql("update item set status = 'good'")
        await mill.look()
        assert await mill.states(run) == {"failed": 1}


async def test_poison_does_not_keep_the_others_from_going_on(mill: Watched) -> None:
    def picky(document: Json, _: Json) -> Json:
        if document["item"] == "poison":
            raise ValueError("I cannot eat this")
        return {"ok": 1}

    run = await mill.watch()
    async with mill.at_work({"one": picky, "two": say}):
        await mill.add("before", "poison", "after")
        await mill.until_states(run, {"done": 2, "failed": 1})
        await mill.add("later")
        await mill.until_states(run, {"done": 3, "failed": 1})
    assert "I cannot eat this" in (await mill.standing(run))["poison"]


async def test_a_rerun_of_step_one_does_step_two_again(mill: Watched) -> None:
    done: Counter[str] = Counter()

    def counted(name: str) -> Any:
        def step(document: Json, _: Json) -> Json:
            done[name] += 1
            return {"times": done[name]}

        return step

    run = await mill.watch()
    async with mill.at_work({"one": counted("one"), "two": counted("two")}):
        await mill.add("x")
        await mill.until_states(run, {"done": 1})
        async with mill.database.begin() as session:
            await redo.rerun(session, run, 0)
            await runs.announce(session)

        async def again() -> bool:
            return done == {"one": 2, "two": 2} and await mill.states(run) == {"done": 1}

        await mill.until(again)


async def test_steps_that_another_system_did_are_not_done_again(mill: Watched) -> None:
    await mill.add("half", "all", "other")
    await mill.sql(
        "insert into past_step (item_id, position, name) select id, 0, 'one' from item where name in ('half', 'all')"
    )
    await mill.sql("insert into past_step (item_id, position, name) select id, 1, 'two' from item where name = 'all'")
    await mill.sql("insert into past_step (item_id, position, name) select id, 0, 'two' from item where name = 'other'")
    run = await mill.watch()
    async with mill.at_work(FUNCTIONS):
        await mill.until_states(run, {"done": 3})
    did = Counter((attempt["item"], attempt["step"]) for attempt in await mill.attempts(run))
    assert did == {("half", 1): 1, ("other", 0): 1, ("other", 1): 1}


async def test_a_new_version_of_the_pipeline_goes_on_in_a_new_run(mill: Watched) -> None:
    first = await mill.watch(priority=3)
    await mill.add("old", "held")
    await mill.keep_house()
    await mill.sql("update item set status = 'bad' where name = 'held'")
    await mill.pipeline("chain", ["one"])
    async with mill.database.begin() as session:
        assert await watching.succeed(session) == ["all"]
        row = await watching.get(session, "all")
    second = row["run"]
    assert (second != first, row["priority"], row["pipeline_version"], row["older_runs"]) == (True, 3, 2, [first])
    async with mill.at_work(FUNCTIONS):
        await mill.add("new")
        await mill.until_states(second, {"done": 1})
        await mill.until_states(first, {"done": 1, "waiting": 1})
        assert "status is bad" in (await mill.standing(first))["held"]
        await mill.sql("update item set status = 'good'")
        await mill.until(mill.finished(first))
    assert set(await mill.standing(second)) == {"new"}
    assert await mill.states(first) == {"done": 2}


async def test_asked_for_again_everything_enters_the_new_run(mill: Watched) -> None:
    first = await mill.watch()
    await mill.add("a", "b")
    await mill.keep_house()
    second = await mill.watch(again=True)
    await mill.keep_house()
    assert set(await mill.standing(first)) == set(await mill.standing(second)) == {"a", "b"}
    third = await mill.watch(again=True)
    await mill.keep_house()
    assert set(await mill.standing(third)) == {"a", "b"}
    assert [row["name"] for row in await mill.sql("select name from batch order by id")] == ["all", "all 2", "all 3"]


async def test_an_ended_watch_lets_what_entered_finish(mill: Watched) -> None:
    run = await mill.watch()
    await mill.add("a", "b")
    await mill.keep_house()
    await mill.sql("update item set status = 'bad' where name = 'b'")
    await mill.look()
    async with mill.database.begin() as session:
        assert await watch_steering.end(session, "all") == {"run": run, "cancelled": 1}
    await mill.add("too-late")
    await mill.work(FUNCTIONS, until=mill.finished(run))
    assert await mill.states(run) == {"done": 1, "cancelled": 1}
    with pytest.raises(NotFound):
        await mill.why("a", "all")


async def test_a_cancelled_watch_does_not_come_back_by_a_retry_but_can_be_started_again(mill: Watched) -> None:
    run = await mill.watch()
    await mill.add("a")
    await mill.keep_house()
    async with mill.database.begin() as session:
        await runs.cancel(session, run)
    async with mill.database.begin() as session:
        await redo.retry(session, run, redo.Filter(states=["cancelled"]))
    await mill.add("b")
    await mill.keep_house()
    assert await mill.standing(run) == {"a": "waiting"}
    second = await mill.watch()
    await mill.keep_house()
    assert await mill.standing(second) == {"b": "waiting"}


async def test_a_batch_of_the_same_name_is_not_taken_over(mill: Watched) -> None:
    await mill.sql("insert into batch (name) values ('all')")
    with pytest.raises(Conflict, match="There is a batch named 'all' already"):
        await mill.watch()


async def test_two_of_everything_do_each_thing_once(mill: Watched) -> None:
    done: Counter[tuple[str, str]] = Counter()

    def counted(name: str) -> Any:
        async def step(document: Json, _: Json) -> Json:
            done[document["item"], name] += 1
            await asyncio.sleep(0)
            return {**document, "ok": 1}

        return step

    functions = {"one": counted("one"), "two": counted("two")}
    run = await mill.watch()
    async with mill.house(2), mill.working(functions, slots=3), mill.working(functions, slots=3):
        for chunk in range(10):
            await mill.add(*(f"{chunk}-{n}" for n in range(5)))
        await mill.until_states(run, {"done": 50})
    assert set(done.values()) == {1}
    assert len(done) == 100


async def test_what_enters_is_in_the_feed(mill: Watched) -> None:
    run = await mill.watch()
    await mill.add("a")
    await mill.keep_house()
    assert await mill.sql("select kind, run_id, position, state from change where kind = 'task'") == [
        {"kind": "task", "run_id": run, "position": 0, "state": "waiting"}
    ]


async def test_unknown_names_are_told(mill: Watched) -> None:
    await mill.watch("pulses")
    with pytest.raises(NotFound, match="no item named 'x'"):
        await mill.why("x")
    await mill.add("x")
    with pytest.raises(NotFound, match="Did you mean 'pulses'"):
        await mill.why("x", "pulse")
    with pytest.raises(NotFound, match="no pipeline named 'chaim'"):
        await mill.watch("b", "chaim")


async def test_a_watch_that_cannot_take_an_item_in_does_not_keep_the_others_from_it(
    mill: Watched, tmp_path: Path
) -> None:
    """The document of `large` has to go to the object store, and that is away."""
    (tmp_path / "documents").write_text("in the way of the folder")
    large = await mill.watch("large", condition={"prefix": "large"})
    small = await mill.watch("small", condition={"prefix": "small"})
    await mill.keep_house()
    await mill.add("large", metadata='{"x": "' + "y" * 5000 + '"}')
    await mill.add("small")
    await mill.look()
    assert (await mill.standing(large), await mill.standing(small)) == ({}, {"small": "waiting"})
    (tmp_path / "documents").unlink()
    await mill.look()
    assert await mill.standing(large) == {"large": "waiting"}


async def test_housekeepers_end_when_told_even_as_something_wakes_them(mill: Watched) -> None:
    async def nothing(_: Database) -> None: ...

    for _ in range(20):
        house = Housekeeping(mill.database, [Duty("nothing", nothing, every=60, wakes=frozenset({"items"}))])
        job = asyncio.create_task(house.run())
        for _ in range(6):  # until the duty is done and waits
            await asyncio.sleep(0)
        house._wake_all()
        job.cancel()
        ended, _ = await asyncio.wait([job], timeout=60)
        assert ended
