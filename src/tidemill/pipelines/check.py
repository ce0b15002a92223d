"""Whether a chain of apps fits together, and whether a step's parameters are the app's: before anything starts.

What an app reads and writes is taken from its metadata (clams-python 1.8.0, `input`, `output`). An app that says
neither (plain JSON, a Python function) is not checked, and what it puts out is not known: so what comes after it is
believed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tidemill.domain.mmif_types import (
    DOCUMENT_NAMES,
    Dialect,
    MmifType,
    Need,
    document_type,
    inputs_of,
    outputs_of,
    parse_type,
    reads_only_old,
)
from tidemill.errors import PipelineMismatch
from tidemill.pipelines.parameters import check_parameters

__all__ = ["Link", "chain_faults", "check_chain", "check_parameters"]

Link = tuple[str, str, Mapping[str, Any] | None]
"""A step of a chain: its name, its app's name, and what the app says of itself (None: nothing is known)."""


def check_chain(
    steps: Sequence[Link], first: Sequence[str] | None = None, known: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """Raise PipelineMismatch where a step's app requires what neither the source document nor an earlier step gives.

    `first`: the document types that the source offers (`VideoDocument`, …); None: not known, so any is assumed.
    `known`: metadata of the site's apps by name, so that the message can say which of them would supply it.
    """
    faults = chain_faults(steps, first, known)
    if faults:
        hints = [fault.hint for fault in faults if fault.hint]
        raise PipelineMismatch(" ".join(f.message for f in faults), hint=" ".join(dict.fromkeys(hints)) or None)


@dataclass(frozen=True, slots=True)
class ChainFault:
    """What one step of a chain lacks. `position` counts from 0."""

    position: int
    message: str
    hint: str


@dataclass(slots=True)
class _Chain:
    steps: Sequence[Link]
    first: list[MmifType]
    known: Mapping[str, Mapping[str, Any]]
    offered: list[tuple[str, MmifType]] = field(default_factory=list)
    """What earlier steps put out, with the step's name."""
    unknown: bool = False
    """Whether an earlier step's output is not known."""


def chain_faults(
    steps: Sequence[Link], first: Sequence[str] | None = None, known: Mapping[str, Mapping[str, Any]] | None = None
) -> list[ChainFault]:
    """Everything that `check_chain` would raise for, in order of the steps."""
    chain = _Chain(steps, _source_types(steps, first), known or {})
    faults = []
    for position, (step, _, metadata) in enumerate(steps):
        if not _declares(metadata):
            chain.unknown = True
            continue
        assert metadata is not None
        for need in inputs_of(metadata):
            if need.required and not _met(chain, need):
                faults.append(ChainFault(position, _lack(chain, position, need), _supply(chain, position, need)))
        chain.offered += [(step, type_) for type_ in outputs_of(metadata)]
    return faults


def _declares(metadata: Mapping[str, Any] | None) -> bool:
    return metadata is not None and bool(metadata.get("input") or metadata.get("output"))


def _source_types(steps: Sequence[Link], first: Sequence[str] | None) -> list[MmifType]:
    """The source's documents in the dialect that it is written in for this chain."""
    old = any(reads_only_old(metadata) for _, _, metadata in steps if metadata)
    names = sorted(DOCUMENT_NAMES) if first is None else first
    return [parse_type(document_type(name, Dialect.OLD if old else Dialect.NEW)) for name in names]


def _met(chain: _Chain, need: Need) -> bool:
    return chain.unknown or need.met_by(chain.first) or need.met_by(type_ for _, type_ in chain.offered)


def _lack(chain: _Chain, position: int, need: Need) -> str:
    step, app, _ = chain.steps[position]
    who = f"Step {position + 1}, {step!r}" + (f" (app {app})" if app != step else "")
    unreadable = _unreadable(chain, need)
    if unreadable:
        writer, type_ = unreadable
        return (
            f"{who} reads {need}, but step {writer!r} writes {type_.name} in the new dialect of MMIF types, "
            "which this app cannot see."
        )
    where = "the source document has none" if _wants_document(need) else "no earlier step writes it"
    return f"{who} needs {need}, but {where}."


def _unreadable(chain: _Chain, need: Need) -> tuple[str, MmifType] | None:
    hidden = (found for found in chain.offered if any(map(found[1].hidden_from, need.alternatives)))
    return next(hidden, None)


def _wants_document(need: Need) -> bool:
    return all(want.is_document for want in need.alternatives)


def _supply(chain: _Chain, position: int, need: Need) -> str:
    """Who would supply it: a later step of the chain first, then other apps of the site."""
    if _unreadable(chain, need):
        return "Use a newer version of the later app, or an older one of the earlier app."
    step, itself, _ = chain.steps[position]
    after = chain.steps[position + 1 :]
    later = [name for name, app, metadata in after if app != itself and _writes(metadata, need)]
    if later:
        return f"Move {' or '.join(map(repr, dict.fromkeys(later)))} before {step!r}."
    apps = [name for name, metadata in chain.known.items() if name != itself and _writes(metadata, need)]
    if apps:
        return f"Put an app that writes it before {step!r}: {', '.join(sorted(apps))}."
    return ""


def _writes(metadata: Mapping[str, Any] | None, need: Need) -> bool:
    return metadata is not None and need.met_by(outputs_of(metadata))
