"""Tidemill: collections of files through chains of processing, driven by the record of each item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tidemill.sdk.outcomes import Bad, Retry, Skip
    from tidemill.sdk.step import step

__version__ = "0.1.0"

__all__ = ["Bad", "Retry", "Skip", "__version__", "step"]

_HOMES = {"step": "step", "Retry": "outcomes", "Skip": "outcomes", "Bad": "outcomes"}
"""Where the names are that people import from here; loaded when they are asked for."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.sdk.{_HOMES[name]}"), name)
