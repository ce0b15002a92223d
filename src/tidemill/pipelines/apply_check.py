"""What is wrong with a site file's pipelines, once it is known what the apps say of themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tidemill.pipelines.check import chain_faults
from tidemill.pipelines.nearest import nearest
from tidemill.pipelines.parameters import read_parameters
from tidemill.pipelines.pipelines import step_names, without_nulls
from tidemill.pipelines.site_entries import PipelineEntry
from tidemill.pipelines.site_file import SiteFile

Metadata = Mapping[str, Mapping[str, Any]]
"""What is known of each app, of the file and of the site, by name; empty where it says nothing."""


def wanted_steps(entry: PipelineEntry, metadata: Metadata) -> list[dict[str, Any]]:
    """A pipeline's steps as the database would hold them."""
    names = step_names([step.wish() for step in entry.steps])
    return [
        {
            "name": name,
            "app": step.app,
            "parameters": read_parameters(metadata[step.app], without_nulls(step.parameters))[0],
            "tries": step.tries,
            "backoff": step.backoff,
        }
        for step, name in zip(entry.steps, names, strict=True)
    ]


def pipeline_faults(site_file: SiteFile, metadata: Metadata) -> list[str]:
    """Every fault with file and line: apps that do not exist, parameters, chains that do not fit; in order of lines."""
    faults: list[tuple[int, str]] = []
    for n, entry in enumerate(site_file.content.pipelines):
        found = list(_unknown_apps(n, entry, metadata)) or [
            *_parameter_faults(n, entry, metadata),
            *_chain_faults(n, entry, metadata),
        ]
        faults += [
            (site_file.lines.line(place), site_file.at(place, f"pipeline {entry.name!r}: {message}"))
            for place, message in found
        ]
    return [message for _, message in sorted(faults)]


Fault = tuple[tuple[str | int, ...], str]


def _unknown_apps(n: int, entry: PipelineEntry, metadata: Metadata) -> Iterator[Fault]:
    for position, step in enumerate(entry.steps):
        if step.app not in metadata:
            close = nearest(step.app, metadata)
            right = f"did you mean {close!r}?" if close else f"there are: {', '.join(sorted(metadata)) or 'none yet'}."
            yield ("pipelines", n, "steps", position, "app"), f"there is no app named {step.app!r}; {right}"


def _parameter_faults(n: int, entry: PipelineEntry, metadata: Metadata) -> Iterator[Fault]:
    names = step_names([step.wish() for step in entry.steps])
    for position, step in enumerate(entry.steps):
        _, faults = read_parameters(metadata[step.app], without_nulls(step.parameters))
        for fault in faults:
            place = ("pipelines", n, "steps", position, "parameters")
            where = place if fault.missing else (*place, fault.name)
            yield where, f"step {names[position]!r}: {fault.message}"


def _chain_faults(n: int, entry: PipelineEntry, metadata: Metadata) -> Iterator[Fault]:
    names = step_names([step.wish() for step in entry.steps])
    chain = [(name, step.app, metadata[step.app]) for step, name in zip(entry.steps, names, strict=True)]
    for fault in chain_faults(chain, known=metadata):
        yield ("pipelines", n, "steps", fault.position, "app"), f"{fault.message} {fault.hint}".rstrip()
