"""The HTTP engine against real servers: the two protocols, asynchronous apps, metadata, and where it may connect."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pytest
from tests.apps import ScriptedApp, ScriptedAppProcess

from tidemill.domain.mmif import Dialect, Media, inputs_of, source_document, texts
from tidemill.errors import AddressForbidden, AppRefused
from tidemill.executors.addresses import AddressPolicy, parse_url
from tidemill.executors.contract import AppCall, Done, Failed, Outcome, Submitted, Work
from tidemill.executors.exchange import Reply
from tidemill.executors.http import HttpExecutor, with_parameters
from tidemill.executors.http_status import poll_after, read_status
from tidemill.executors.registry import make_executors

SOURCE = source_document("tape-1", [Media("/data/tape-1.mp4")], Dialect.NEW)


@pytest.fixture
def app() -> Iterator[ScriptedApp]:
    with ScriptedApp() as scripted:
        yield scripted


def work(url: str, parameters: dict[str, Any] | None = None, protocol: str = "clams", **limits: Any) -> Work:
    call = AppCall("scripted", "http", url, protocol, **{"deadline": 20.0, **limits})
    return Work("42-1", "tape-1", call, parameters or {}, SOURCE)


async def submit(job: Work, executor: HttpExecutor | None = None) -> Outcome | Submitted:
    return await (executor or HttpExecutor()).submit(job, lambda _: None)


async def failed(job: Work, executor: HttpExecutor | None = None) -> Failed:
    outcome = await submit(job, executor)
    assert isinstance(outcome, Failed), outcome
    return outcome


async def test_a_clams_app_gets_the_mmif_as_body_and_its_parameters_as_query(app: ScriptedApp) -> None:
    app.script("ok:text=SLATE 12")
    parameters = {
        "labels": ["bars", "slate & tone"],
        "map": {"B": "bars", "S": "a:b"},
        "pretty": True,
        "ratio": 0.5,
        "unset": None,
    }
    outcome = await submit(work(f"{app.url}app?model=x", parameters))
    assert isinstance(outcome, Done)
    assert texts(outcome.document) == ["SLATE 12"]
    (call,) = app.calls
    assert call.body == SOURCE
    assert call.headers["content-type"] == "application/json"
    assert call.headers["accept-encoding"] == "identity"
    assert call.headers["idempotency-key"] == "42-1"
    assert call.query == [
        ("model", "x"),
        ("labels", "bars"),
        ("labels", "slate & tone"),
        ("map", "B:bars"),
        ("map", "S:a:b"),
        ("pretty", "true"),
        ("ratio", "0.5"),
    ]


def test_an_url_without_a_path_still_gets_its_query() -> None:
    assert with_parameters("http://a.example", {"x": [1, 2], "y": False}) == "http://a.example/?x=1&x=2&y=false"


async def test_a_json_app_takes_and_gives_any_object(app: ScriptedApp) -> None:
    app.script("json")
    outcome = await submit(work(app.url, protocol="json"))
    assert isinstance(outcome, Done)
    assert orjson.loads(outcome.document)["steps"] == ["scripted"]


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("html", "HTML page"),
        ("empty", "an empty body where a JSON object should be"),
        ("status:code=200,text=[1]", "something else ([1])"),
        ("status:code=422,text=no such field", "422"),
        ('status:code=400,text={"detail": "the pulse is missing"}', "the pulse is missing"),
    ],
)
async def test_a_json_app_that_answers_something_else_fails(app: ScriptedApp, behaviour: str, words: str) -> None:
    app.script(behaviour)
    assert words in (await failed(work(app.url, protocol="json"))).reason


@pytest.mark.parametrize("result", ["url", "inline", "body", "see_other"])
async def test_an_asynchronous_app_may_hand_its_result_over_in_four_ways(app: ScriptedApp, result: str) -> None:
    app.script(f"async:polls=4,percent=1,result={result}")
    executor, job = HttpExecutor(), work(app.url)
    answer = await submit(job, executor)
    assert isinstance(answer, Submitted)
    assert app.calls[0].headers["prefer"] == "respond-async"
    seen = []
    async with asyncio.timeout(60):
        while progress := await HttpExecutor().poll(job, answer.handle):  # another worker asks
            seen.append(progress)
    assert [progress.fraction for progress in seen] == [0.0, 0.25, 0.5, 0.75]
    assert seen[1].message == "25% of scripted"
    assert seen[1].poll_after == 0.05
    outcome = await executor.collect(job, answer.handle)
    assert isinstance(outcome, Done)
    assert texts(outcome.document) == ["seen by scripted"]


async def test_an_asynchronous_apps_failure_is_told_in_its_words(app: ScriptedApp) -> None:
    app.script("async:polls=0,fail=the tape is blank")
    executor, job = HttpExecutor(), work(app.url)
    answer = await submit(job, executor)
    assert isinstance(answer, Submitted)
    outcome = await executor.collect(job, answer.handle)
    assert isinstance(outcome, Failed)
    assert outcome.reason == "The app failed: the tape is blank"


@pytest.mark.parametrize(
    ("body", "state", "fraction"),
    [
        (b'{"state": "running", "progress": 0.5}', "running", 0.5),
        (b'{"status": "accepted", "progress": 0}', "running", 0.0),
        (b'{"status": "running", "progress": 40}', "running", 0.4),
        (b'{"state": "IN_PROGRESS", "percent": 1}', "running", 0.01),
        (b'{"state": "running", "progress": "73 %"}', "running", 0.73),
        (b'{"state": "running", "progress": 1e9}', "running", 1.0),
        (b'{"state": "running", "progress": true}', "running", None),
        (b'{"status": "successful"}', "done", None),
        (b'{"status": "dismissed"}', "failed", None),
        (b'{"metadata": {}}', "result", None),
    ],
)
def test_status_words_are_read_liberally(body: bytes, state: str, fraction: float | None) -> None:
    report = read_status(Reply(200, {}, body))
    assert (report.state, report.fraction) == (state, fraction)


def test_when_to_ask_again_stays_within_reason() -> None:
    waits = [poll_after(Reply(200, {"retry-after": text}, b"")) for text in ("7", "0", "86400", "nan", "soon", "")]
    assert waits == [7.0, 0.05, 60.0, 1.0, 1.0, 1.0]
    assert poll_after(Reply(200, {"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}, b"")) == 0.05


async def test_metadata_is_read_for_registration(app: ScriptedApp) -> None:
    metadata = await HttpExecutor().read_metadata(app.url)
    assert metadata["name"] == "scripted"
    assert [str(need) for need in inputs_of(metadata)] == ["VideoDocument"]
    assert "parameters" not in metadata


async def test_what_is_no_clams_app_is_refused_with_what_it_said(app: ScriptedApp) -> None:
    executor = HttpExecutor()
    with pytest.raises(AppRefused, match="404"):
        await executor.read_metadata(f"{app.url}status/9")
    with pytest.raises(AppRefused, match=r"no JSON with a name(.|\n)*calls"):
        await executor.read_metadata(f"{app.url}_calls")
    app.stop()
    with pytest.raises(AppRefused, match="refused"):
        await executor.read_metadata(app.url)


async def test_an_app_in_another_process_is_steered_and_restarted_on_its_port() -> None:
    with ScriptedAppProcess("ok:text=one") as process:
        port = process.port
        assert isinstance(await submit(work(process.url)), Done)
        await asyncio.to_thread(process.script, "error_view:message=now broken")
        assert "now broken" in (await failed(work(process.url))).reason
        assert process.calls == 2
        process.kill()
        process.start()
        assert process.port == port
        assert isinstance(await submit(work(process.url)), Done)


# ── where it may connect ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://127.0.0.1/", "http:// or https://"),
        ("file:///etc/passwd", "http:// or https://"),
        ("http://user:secret@127.0.0.1/", "password"),
        ("http://2130706433/", "usual form"),
        ("http://0x7f.0.0.1/", "usual form"),
        ("http://0177.0.0.1/", "usual form"),
        ("http://127.1/", "usual form"),
        ("http://127.0.0.1:0/", "port 0"),
        ("http://127.0.0.1:99999/", "not a URL"),
        ("http://[fe80::1%25eth0]/", "zone"),
        ("http://bücher.example/", "xn--"),
        ("http://a.example/\r\nX-Evil: 1", "control characters"),
        ("http://a.example\\@127.0.0.1/", "backslashes"),
        ("http:///path", "not a host name"),
    ],
)
def test_urls_that_no_app_needs_are_refused(url: str, words: str) -> None:
    with pytest.raises(AddressForbidden, match=words):
        parse_url(url)


@pytest.mark.parametrize(
    ("allowed", "address", "opens"),
    [
        (["127.0.0.0/8"], "127.0.0.1", True),
        (["127.0.0.0/8"], "10.0.0.1", False),
        (["127.0.0.0/8"], "::ffff:127.0.0.1", True),
        (["::1/128"], "::ffff:127.0.0.1", False),
        (["0.0.0.0/0", "::/0"], "8.8.8.8", True),
        (["0.0.0.0/0", "::/0"], "169.254.169.254", False),
        (["0.0.0.0/0", "::/0"], "::ffff:169.254.169.254", False),
        (["0.0.0.0/0", "::/0"], "64:ff9b::a9fe:a9fe", False),
        (["0.0.0.0/0", "::/0"], "2002:a9fe:a9fe::1", False),
        (["0.0.0.0/0", "::/0"], "fd00:ec2::254", False),
        (["0.0.0.0/0", "::/0"], "0.0.0.0", False),
        (["169.254.0.0/16"], "169.254.169.254", True),
        (["169.254.7.7"], "169.254.169.254", False),
        (["10.0.0.7:5000"], "10.0.0.7", True),
        (["10.0.0.7:5001"], "10.0.0.7", False),
        (["apps.example.org"], "10.0.0.7", True),
        (["*.example.org:5000"], "10.0.0.7", True),
        (["*.example.org:5001"], "10.0.0.7", False),
        (["*.other.org"], "10.0.0.7", False),
        (["apps.example.org"], "127.0.0.1", False),
        (["apps.example.org", "127.0.0.1"], "127.0.0.1", True),
        (["apps.example.org"], "169.254.169.254", False),
        ([], "127.0.0.1", False),
    ],
)
async def test_the_allowlist_judges_the_address_that_a_name_leads_to(
    allowed: list[str], address: str, opens: bool
) -> None:
    async def resolver(host: str, port: int) -> Sequence[str]:
        return [address]

    policy = AddressPolicy(allowed, resolver)
    if opens:
        await policy.check("http://apps.example.org:5000/")
    else:
        with pytest.raises(AddressForbidden, match=r"apps\.example\.org"):
            await policy.check("http://apps.example.org:5000/")


async def test_one_forbidden_address_among_several_refuses_the_name() -> None:
    async def resolver(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1", "10.0.0.1"]

    with pytest.raises(AddressForbidden):
        await AddressPolicy(resolver=resolver).check("http://mixed.example/")


@pytest.mark.parametrize("entry", ["http://a.example", "10.0.0.0/99", "user@host", "a b", "", "1.2.3", "host:port"])
def test_an_entry_that_says_nothing_is_refused_with_examples(entry: str) -> None:
    with pytest.raises(AddressForbidden, match=r"10\.20\.0\.0/16"):
        AddressPolicy([entry])


async def test_a_name_that_changes_its_address_after_the_check_leads_nowhere(app: ScriptedApp) -> None:
    """DNS rebinding: allowed when it is registered, inside when it is called."""
    answers = iter([["203.0.113.9"], ["127.0.0.1"]])
    asked = []

    async def resolver(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return next(answers)

    executor = HttpExecutor(AddressPolicy(["203.0.113.0/24"], resolver))
    url = f"http://rebinds.example:{app.port}/"
    await executor.policy.check(url)
    outcome = await failed(work(url), executor)
    assert "does not allow" in outcome.reason
    assert not outcome.retry
    assert asked == ["rebinds.example", "rebinds.example"]
    assert app.requests == []


async def test_the_connection_goes_to_the_address_that_was_checked_under_the_name_that_was_asked(
    app: ScriptedApp,
) -> None:
    """A second look-up would lead elsewhere; there is none for one connection."""
    answers = iter([["127.0.0.1"]])

    async def resolver(host: str, port: int) -> Sequence[str]:
        return next(answers)

    executor = HttpExecutor(AddressPolicy(["127.0.0.1"], resolver))
    assert isinstance(await submit(work(f"http://app.example:{app.port}/"), executor), Done)
    assert app.calls[0].headers["host"] == f"app.example:{app.port}"


async def test_the_next_address_is_tried_where_the_first_does_not_answer(app: ScriptedApp) -> None:
    async def resolver(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.2", "127.0.0.1"]

    executor = HttpExecutor(AddressPolicy(resolver=resolver))
    assert isinstance(await submit(work(f"http://two.example:{app.port}/"), executor), Done)


async def test_a_forbidden_app_is_refused_when_it_is_registered_and_when_it_is_called(app: ScriptedApp) -> None:
    executor = make_executors(allowed_addresses=["10.0.0.0/8"])["http"]
    assert isinstance(executor, HttpExecutor)
    with pytest.raises(AddressForbidden, match=r"Allowed are: 10\.0\.0\.0/8"):
        await executor.read_metadata(app.url)
    outcome = await failed(work(app.url), executor)
    assert "127.0.0.1" in outcome.reason
    assert app.requests == []


async def test_a_status_url_elsewhere_is_followed_only_to_a_host_that_the_site_names(app: ScriptedApp) -> None:
    with ScriptedApp() as other:
        other.script("async:polls=0")
        app.script(f"async:status_on={other.url.rstrip('/')}")
        await submit(work(other.url))
        await submit(work(other.url))
        assert "another host" in (await failed(work(app.url))).reason
        executor = HttpExecutor(AddressPolicy(["127.0.0.0/8", f"127.0.0.1:{other.port}"]))
        job = work(app.url)
        answer = await submit(job, executor)
        assert isinstance(answer, Submitted)
        assert isinstance(await executor.collect(job, answer.handle), Done)
