"""The options that the commands which make packages have in common, said once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, Any, get_type_hints

import typer

from tidemill.cli.load_metadata import CleanUpInput, Projects

MaxWorkers = Annotated[int, typer.Option(min=1, help="Packages that this process makes at once.")]
CleanUpOutput = Annotated[
    bool, typer.Option("--clean-up-output-data", help="Remove packages from the site's folder that were uploaded.")
]
UpdateS3 = Annotated[bool, typer.Option("--update-s3", help="Upload, whatever publishing.upload says.")]
RegenerateAll = Annotated[bool, typer.Option("--regenerate-all", help="Also packages that are there and unchanged.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be made and why; do nothing.")]


@dataclass(frozen=True, slots=True)
class Which:
    """Which packages are wanted, and where."""

    project_id: Projects = None
    update_s3: UpdateS3 = False
    regenerate_all: RegenerateAll = False

    def wish(self) -> dict[str, Any]:
        """As `package_runs.Wish` has it."""
        return {"projects": self.project_id or None, "upload": self.update_s3, "regenerate": self.regenerate_all}


@dataclass(frozen=True, slots=True)
class Making(Which):
    """How they are made by this process."""

    max_workers: MaxWorkers = 10
    clean_up_input_data: CleanUpInput = False
    clean_up_output_data: CleanUpOutput = False


def having(options: type[Which]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command these options, too; it gets their values as one, its first argument."""

    def given(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(options, include_extras=True)
        added = [
            inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=hints[one.name])
            for one in fields(options)
        ]
        own = get_type_hints(command, include_extras=True)
        rest = [
            one.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=own[one.name])
            for one in list(inspect.signature(command).parameters.values())[1:]
        ]

        @functools.wraps(command)
        def called(**values: Any) -> None:
            command(options(**{one.name: values.pop(one.name) for one in added}), **values)

        called.__signature__ = inspect.Signature([*added, *rest])  # type: ignore[attr-defined]
        called.__annotations__ = {one.name: one.annotation for one in (*added, *rest)}
        return called

    return given
