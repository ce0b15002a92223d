"""Which engines a worker has, by the `kind` of an app."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from tidemill.executors.addresses import DEFAULT_ALLOWED
from tidemill.executors.contract import Executor

if TYPE_CHECKING:
    from tidemill.executors.package import Builder
    from tidemill.executors.python import Step, StepFunction
    from tidemill.executors.workbench import Workbench
    from tidemill.sdk.step import DeclaredStep


def make_executors(
    *,
    allowed_addresses: Iterable[str] = DEFAULT_ALLOWED,
    functions: Mapping[str, StepFunction | Step | DeclaredStep] | None = None,
    bench: Workbench | None = None,
    builder: Builder | None = None,
) -> dict[str, Executor]:
    """The engines by kind. `python` is there only in a worker that brings functions; those that handle files,
    where there is a `bench` for them; packages, where there is a `builder`.

    Raises AddressForbidden for an entry of `allowed_addresses` that says nothing (see `addresses`). An engine's
    library is imported here and not before.
    """
    from tidemill.executors.addresses import AddressPolicy
    from tidemill.executors.http import HttpExecutor

    executors: dict[str, Executor] = {"http": HttpExecutor(AddressPolicy(allowed_addresses))}
    if functions:
        from tidemill.executors.python import PythonExecutor

        executors["python"] = PythonExecutor(functions, bench)
    if bench is not None:
        from tidemill.executors.command import CommandExecutor

        executors["command"] = CommandExecutor(bench)
    from tidemill.executors.transfer import TransferExecutor

    executors["transfer"] = TransferExecutor()
    if builder is not None:
        from tidemill.executors.package import PackageExecutor

        executors["package"] = PackageExecutor(builder)
    return executors
