"""Chains and parameters, checked before anything starts."""

from __future__ import annotations

from typing import Any

import pytest

from tidemill.errors import InvalidInput, PipelineMismatch
from tidemill.pipelines.check import chain_faults, check_chain, check_parameters

NEW = "http://clams.ai/vocabulary/type/{}/v2"
OLD = "http://mmif.clams.ai/vocabulary/{}/v1"


def app(inputs: list[Any], outputs: list[str], types: str = NEW) -> dict[str, Any]:
    """Metadata of an app; a nested list means one of it, a trailing `?` that it is optional."""

    def entry(name: Any) -> Any:
        if isinstance(name, list):
            return [entry(one) for one in name]
        written = {"@type": types.format(name.rstrip("?"))}
        return written | ({"required": False} if name.endswith("?") else {})

    return {"input": [entry(one) for one in inputs], "output": [entry(one) for one in outputs]}


BARS = app(["VideoDocument"], ["TimeFrame"])
SLATE = app(["VideoDocument", "TimeFrame"], ["TextDocument", "Alignment"])
NAMES = app(["TextDocument"], ["NamedEntity"])
EITHER = app([["VideoDocument", "AudioDocument"], "TimeFrame?"], ["TimeFrame"])
OLD_BARS = app(["VideoDocument"], ["TimeFrame"], OLD)
OLD_SLATE = app(["VideoDocument", "TimeFrame"], ["TextDocument"], OLD)


@pytest.mark.parametrize(
    ("chain", "first"),
    [
        ([BARS, SLATE, NAMES], None),
        ([BARS, SLATE, BARS], ["VideoDocument"]),
        ([EITHER], ["AudioDocument"]),
        ([EITHER, SLATE], ["VideoDocument"]),
        ([BARS, SLATE, NAMES], ["VideoDocument"]),
        ([OLD_BARS, SLATE], ["VideoDocument"]),
        ([OLD_BARS, OLD_SLATE], None),
        ([BARS, OLD_BARS], None),
        ([None, SLATE], ["VideoDocument"]),
        ([{}, NAMES], ["VideoDocument"]),
        ([], None),
    ],
)
def test_a_chain_that_fits(chain: list[dict[str, Any] | None], first: list[str] | None) -> None:
    check_chain([(f"step{n}", f"app{n}", one) for n, one in enumerate(chain)], first)


def test_a_step_without_its_input_is_named_with_what_would_supply_it() -> None:
    with pytest.raises(
        PipelineMismatch, match=r"Step 1, 'slate' \(app slate-reader\) needs TimeFrame, but no earlier"
    ) as no:
        check_chain([("slate", "slate-reader", SLATE)], known={"bars-detector": BARS, "names": NAMES})
    assert no.value.hint == "Put an app that writes it before 'slate': bars-detector."


def test_a_supplier_that_comes_too_late_is_to_be_moved() -> None:
    with pytest.raises(PipelineMismatch, match="needs TimeFrame") as no:
        check_chain([("slate", "slate", SLATE), ("bars", "bars", BARS)])
    assert no.value.hint == "Move 'bars' before 'slate'."


def test_what_the_source_does_not_hold_is_said() -> None:
    with pytest.raises(PipelineMismatch, match="'bars' needs VideoDocument, but the source document has none"):
        check_chain([("bars", "bars", BARS)], ["AudioDocument"])


def test_an_old_app_cannot_read_what_a_new_one_writes() -> None:
    with pytest.raises(PipelineMismatch, match="'bars' writes TimeFrame in the new dialect") as no:
        check_chain([("bars", "bars", BARS), ("slate", "slate", OLD_SLATE)])
    assert no.value.hint == "Use a newer version of the later app, or an older one of the earlier app."


def test_every_fault_of_a_chain_is_found() -> None:
    faults = chain_faults([("a", "a", SLATE), ("b", "b", app(["BoundingBox"], []))])
    assert [fault.position for fault in faults] == [0, 1]


METADATA = {
    "parameters": [
        {"name": "minLines", "type": "integer", "default": 3, "multivalued": False},
        {"name": "threshold", "type": "number", "default": 0.5, "multivalued": False},
        {"name": "labels", "type": "string", "default": ["bars"], "choices": ["bars", "slate"], "multivalued": True},
        {"name": "method", "type": "string", "default": "content", "choices": ["content", "adaptive"]},
        {"name": "fast", "type": "boolean", "default": False},
        {"name": "names", "type": "map", "default": ["a:b"], "multivalued": True},
    ]
}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, {}),
        ({"minLines": 4, "threshold": 1, "fast": True}, {"minLines": 4, "threshold": 1, "fast": True}),
        ({"minLines": "4", "threshold": "0.25", "fast": "no"}, {"minLines": 4, "threshold": 0.25, "fast": False}),
        ({"minLines": 4.0}, {"minLines": 4}),
        ({"labels": "slate"}, {"labels": ["slate"]}),
        ({"labels": ["slate", "bars"]}, {"labels": ["slate", "bars"]}),
        ({"names": {"B": "bars", "n": 1}}, {"names": {"B": "bars", "n": "1"}}),
        ({"names": ["B:bars", "S:a:b"]}, {"names": {"B": "bars", "S": "a:b"}}),
        ({"pretty": True, "tfSamplingMode": "all"}, {"pretty": True, "tfSamplingMode": "all"}),
    ],
)
def test_parameters_are_read_as_the_app_types_them(given: dict[str, Any], sent: dict[str, Any]) -> None:
    assert check_parameters("slate", METADATA, given) == sent


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"minlines": 1}, "Step 'slate': there is no parameter 'minlines'; did you mean 'minLines'?"),
        ({"zzz": 1}, "there is no parameter 'zzz'; it has fast, labels, method, minLines, names, threshold."),
        ({"minLines": "four"}, "parameter 'minLines' is \"four\", but must be a whole number."),
        ({"minLines": 4.5}, "parameter 'minLines' is 4.5, but must be a whole number."),
        ({"minLines": True}, "parameter 'minLines' is true, but must be a whole number."),
        ({"minLines": [1, 2]}, "parameter 'minLines' is [1,2], but must be a whole number, one and not a list."),
        ({"threshold": "nan"}, "parameter 'threshold' is \"nan\", but must be a number."),
        ({"fast": 1}, "parameter 'fast' is 1, but must be true or false."),
        ({"method": 3}, 'parameter \'method\' is 3, but must be one of "content", "adaptive".'),
        ({"method": "adaptiv"}, '"content", "adaptive" (did you mean "adaptive"?).'),
        ({"labels": ["bars", "tone"]}, 'but must be one of "bars", "slate".'),
        ({"names": {"a:b": "c"}}, "but must be a table of texts, without colons in its keys."),
        ({"names": "plain"}, "but must be a table of texts."),
        ({"tfSamplingMode": "some"}, 'must be one of "representatives", "single", "all".'),
    ],
)
def test_a_wrong_parameter_is_refused_with_what_would_be_right(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_parameters("slate", METADATA, given)
    assert message in refused.value.message


def test_a_parameter_without_a_default_must_be_given() -> None:
    needy = {"parameters": [{"name": "lang", "type": "string", "multivalued": False}]}
    with pytest.raises(InvalidInput, match="'lang' has no default, so it must be given: text"):
        check_parameters("ocr", needy, {})
    assert check_parameters("ocr", needy, {"lang": "en"}) == {"lang": "en"}


def test_an_app_that_says_nothing_takes_anything() -> None:
    assert check_parameters("plain", {}, {"any": [1, {"b": 2}]}) == {"any": [1, {"b": 2}]}


def test_a_frame_of_another_label_does_not_meet_the_need() -> None:
    video = {"@type": "http://clams.ai/vocabulary/type/VideoDocument/v2", "required": True}

    def frames(label: str) -> dict[str, object]:
        return {"@type": "http://clams.ai/vocabulary/type/TimeFrame/v6", "properties": {"label": label}}

    tone = {"name": "tone", "input": [video], "output": [frames("tone")]}
    bars = {"name": "bars", "input": [video], "output": [frames("bars")]}
    slate = {
        "name": "slate",
        "input": [video, frames("bars")],
        "output": ["http://clams.ai/vocabulary/type/TextDocument/v2"],
    }
    anything = {"name": "any", "input": [video, frames("*")], "output": []}
    check_chain([("b", "bars", bars), ("s", "slate", slate)])
    check_chain([("t", "tone", tone), ("a", "any", anything)])
    with pytest.raises(PipelineMismatch, match="needs TimeFrame bars, but no earlier step writes it"):
        check_chain([("t", "tone", tone), ("s", "slate", slate)])
