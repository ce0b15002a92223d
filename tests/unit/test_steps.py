"""`@step`, what a step is given, and what becomes of what it returns: without a site."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tidemill import Bad, Retry, Skip, step
from tidemill.errors import InvalidInput
from tidemill.executors.python_inputs import InputMissing, filled, located
from tidemill.sdk.calling import call
from tidemill.sdk.item import Item
from tidemill.sdk.loading import load_steps
from tidemill.sdk.plain import NotPlain, plain
from tidemill.sdk.step import DeclaredStep
from tidemill.sdk.task import Task

DOCUMENT: dict[str, Any] = {
    "item": "ma22a000_000",
    "revision": 4,
    "status": "good",
    "metadata": {"detector": "ge3", "run": {"number": 7}},
    "files": [
        {"url": "s3://lab/a/x.dat", "key": "a/x.dat", "size": 3, "attributes": {"kind": "dat"}},
        {"url": "s3://lab/b/x.dat", "key": "b/x.dat", "size": 3, "attributes": {}},
        {"url": "s3://lab/b/one.dat", "key": "b/one.dat", "size": 3, "attributes": {}},
    ],
    "process": [
        {"name": "old", "hostname": "ccage", "file": "/sps/x"},
        {"name": "move_to_sps", "output": {"n": 1}, "files": []},
        {"name": "move_to_sps_v2", "output": {"n": 2}, "files": [{"name": "x.root", "sha256": "0", "url": "u"}]},
        {"name": "move_to_sps", "output": {"n": 3}, "files": [{"name": "one.dat", "sha256": "1", "url": "v"}]},
    ],
}  # fmt: skip


class Nobody:
    """Neither fetches nor listens."""

    def __init__(self) -> None:
        self.said = ""
        self.fractions: list[float] = []

    def fetch(self, url: str) -> Path:
        raise OSError(url)

    async def fetching(self, url: str) -> Path:
        raise OSError(url)

    def progress(self, fraction: float) -> None:
        self.fractions.append(fraction)

    def write(self, text: str) -> None:
        self.said += text


@pytest.fixture
def item() -> Item:
    return Item("ma22a000_000", DOCUMENT, Nobody())


def task(folder: Path, listener: Nobody | None = None) -> Task:
    return Task("7-1", {"threshold": 0.5}, folder, {}, listener or Nobody())


def load(folder: Path, text: str, name: str = "mysteps.py") -> dict[str, DeclaredStep]:
    path = folder / name
    path.write_text("from tidemill import step, Retry, Skip, Bad\n" + text)
    return load_steps([path])


def test_a_step_of_a_similar_name_is_another_step(item: Item) -> None:
    assert item.output("move_to_sps") == {"n": 3}
    assert item.output("move_to_sps_v2") == {"n": 2}
    with pytest.raises(LookupError, match="move_to_sps_v2"):
        item.output("move_to")


def test_what_another_system_did_is_there_as_it_was_recorded(item: Item) -> None:
    assert item.output("old")["file"] == "/sps/x"


def test_files_are_found_by_exact_name_the_newest_first(item: Item) -> None:
    assert item.file("one.dat").url == "v"
    assert item.file("b/one.dat").url == "s3://lab/b/one.dat"
    assert item.file("x.root").sha256 == "0"
    with pytest.raises(LookupError, match="several files"):
        item.file("x.dat")
    with pytest.raises(LookupError, match=r"no file 'oot'"):
        item.file("oot")


def test_nothing_of_the_item_can_be_changed_by_accident(item: Item) -> None:
    with pytest.raises(TypeError):
        item.metadata["detector"] = "ge4"  # type: ignore[index]
    with pytest.raises(ValueError, match="only read"):
        item.files[0].open("wb")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\nb", "x" * 201, "attempt.log", "\x00"])
def test_a_file_is_kept_under_a_file_name_only(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be kept"):
        task(tmp_path).output(name)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    one = task(tmp_path)
    one.output("x.root")
    with pytest.raises(ValueError, match="two files named"):
        one.keep(tmp_path / "x.root")


def test_progress_is_a_fraction(tmp_path: Path) -> None:
    listener = Nobody()
    one = task(tmp_path, listener)
    for said in (0, 0.5, 1.0000001, 40, math.nan):
        one.progress(said)
    assert listener.fractions == [0, 0.5, 1]
    assert listener.said.count("not shown") == 2


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ({"a": [1, (2.5, None)], "b": {"c": True}}, {"a": [1, [2.5, None]], "b": {"c": True}}),
        (Path("/sps/x"), "/sps/x"),
        (math.nan, None),
        ([1.0, math.inf], [1.0, None]),
    ],
)
def test_results_become_plain_json(value: Any, wanted: Any) -> None:
    assert plain(value, "result", []) == wanted


def test_what_json_cannot_hold_is_said_with_its_place() -> None:
    notes: list[str] = []
    plain({"fit": [{"chi2": math.nan}]}, "result", notes)
    assert notes == ["result['fit'][0]['chi2'] is nan, which JSON cannot hold: it was kept as null."]
    for value in ({1: 2}, {"a": {1, 2}}, {"a": object()}, {"a": 2**70}, {"a": "\x00"}, {"a": "\ud800"}, {"a": 1j}):
        with pytest.raises(NotPlain, match="result"):
            plain(value, "result", [])


def test_numpy_values_are_taken() -> None:
    np = pytest.importorskip("numpy")
    values = {"a": np.float32(1.5), "n": np.int64(7), "ok": np.bool_(True), "xs": np.array([[1.0, np.nan]])}
    assert plain(values, "result", []) == {"a": 1.5, "n": 7, "ok": True, "xs": [[1.0, None]]}
    for value in (np.zeros(200_000), np.array([1j]), np.complex128(1j)):
        with pytest.raises(NotPlain):
            plain(value, "result", [])


def test_a_function_of_its_own_kind_is_refused_when_it_is_declared() -> None:
    for function in (lambda: None, lambda a, b, c: None, lambda *, item: None):
        with pytest.raises(InvalidInput, match=r"\(item\) or \(item, task\)"):
            step(name="x")(function)
    for options in ({"run_in": "cloud"}, {"name": "a b"}, {"tries": 0}, {"deadline": -1}, {"inputs": {"t": 3}}):
        with pytest.raises(InvalidInput):
            step(**{"name": "x", **options})(lambda item: None)  # type: ignore[call-overload]


def test_a_task_that_tests_may_leave_out_is_given_all_the_same(tmp_path: Path, item: Item) -> None:
    def with_default(item: Item, task: Task | None = None) -> dict[str, Any]:
        return {"key": task and task.key}

    assert call(DeclaredStep(with_default), item, task(tmp_path)).output == {"key": "7-1"}


def test_a_declared_step_can_still_be_called(item: Item) -> None:
    @step
    def name_of(item: Any) -> dict[str, str]:
        return {"name": item.name}

    assert name_of(item) == {"name": "ma22a000_000"}


def test_the_version_is_that_of_the_source(tmp_path: Path) -> None:
    one = load(tmp_path, "@step\ndef x(item): ...\n@step(version='1.2')\ndef y(item): ...\n")
    two = load(tmp_path, "@step\ndef x(item): ...  # changed\n")
    assert one["x"].version.startswith("sha256:")
    assert one["x"].version != two["x"].version
    assert one["y"].version == "1.2"


def test_a_step_can_be_imported_from_a_library_and_has_its_version(tmp_path: Path) -> None:
    (tmp_path / "lib_of_steps.py").write_text("from tidemill import step\n@step\ndef far(item): ...\n")
    found = load(tmp_path, "from lib_of_steps import far\n@step\ndef near(item): ...\n")
    assert set(found) == {"far", "near"}
    assert found["far"].version != found["near"].version
    assert found["far"].file == tmp_path / "lib_of_steps.py"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("import nonsense_that_is_not_there\n", "No module named"),
        ("def f():\n    return 1 / 0\nf()\n", "line 4, in <module>"),
        ("def x(\n", "SyntaxError"),
        ("raise SystemExit(3)\n", "SystemExit: 3"),
        ("x = 1\n", "has no step"),
        ("@step\ndef x(a, b, c): ...\n", "a step takes (item) or (item, task)"),
        ("@step\ndef x(item): ...\n@step(name='x')\ndef y(item): ...\n", "two steps named x"),
    ],
)
def test_a_file_that_cannot_be_loaded_says_where_and_why(tmp_path: Path, text: str, wanted: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load(tmp_path, text, "broken.py")
    assert wanted in str(caught.value)
    assert "sdk/" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"nowhere\.py cannot be read"):
        load_steps([tmp_path / "nowhere.py"])


@pytest.mark.parametrize(
    ("raised", "kind", "reason"),
    [
        (Skip("no pulses"), "skip", "no pulses"),
        (Bad("no conditions"), "bad", "no conditions"),
        (Retry("the robot is busy", after=60), "retry", "the robot is busy"),
        (ValueError("first\nsecond"), "raised", "ValueError: first"),
        (SystemExit(3), "raised", "SystemExit: 3"),
    ],
)
def test_what_a_step_raises_says_how_it_ended(
    tmp_path: Path, item: Item, raised: BaseException, kind: str, reason: str
) -> None:
    def raises(item: Item) -> None:
        raise raised

    ending = call(DeclaredStep(raises), item, task(tmp_path))
    assert (ending.kind, ending.reason) == (kind, reason)
    assert ending.after == (60 if kind == "retry" else None)
    assert ("in raises" in ending.log) is (kind == "raised")
    assert "calling.py" not in ending.log


def test_a_result_that_is_no_dict_is_not_tried_again(tmp_path: Path, item: Item) -> None:
    for result in ([1], "done", 3):
        assert call(DeclaredStep(lambda item, r=result: r, name="x"), item, task(tmp_path)).kind == "refused"


def test_a_file_that_was_not_written_is_no_success(tmp_path: Path, item: Item) -> None:
    def forgets(item: Item, task: Task) -> None:
        task.output("x.root")

    ending = call(DeclaredStep(forgets), item, task(tmp_path))
    assert ending.kind == "refused"
    assert "'x.root'" in ending.reason
    assert "not written" in ending.reason


def test_where_a_side_input_lies_may_depend_on_the_item(item: Item) -> None:
    assert filled("templates/{metadata.detector}-{metadata.run.number}.npy", item, "t") == "templates/ge3-7.npy"
    assert filled("{name}.json", item, "t") == "ma22a000_000.json"
    with pytest.raises(InputMissing, match=r"needs metadata\.date"):
        filled("{metadata.date}.npy", item, "t")
    outside = Item("x", DOCUMENT | {"metadata": {"detector": "../../etc"}}, Nobody())
    with pytest.raises(InputMissing, match="cannot be found"):
        filled("{metadata.detector}/passwd", outside, "t")


def test_a_path_is_taken_from_the_folder_of_the_steps_file(tmp_path: Path) -> None:
    assert located("templates/a b.npy", tmp_path) == (tmp_path / "templates/a b.npy").as_uri()
    assert located("s3://lab/a.npy", tmp_path) == "s3://lab/a.npy"
