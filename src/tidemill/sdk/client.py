"""A site from a program, over HTTP: `from tidemill import Client`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any
from urllib.parse import quote

from tidemill.sdk.changes import Changes
from tidemill.sdk.connection import Connection

Row = dict[str, Any]
AT_ONCE = 5000


class Client:
    """A site: `Client("https://mill.example.org", token)`, where the token is the site's key or one that was given out.

    `verify`: as httpx has it, for a site with a certificate of its own. Every call raises SiteUnavailable where the
    site cannot be reached or cannot answer now, and AccessRefused where it does not let this token do that.
    """

    def __init__(self, url: str, token: str, *, verify: Any = True) -> None:
        self._connection = Connection(url, token, verify=verify)
        self.items = Items(self._connection)
        self.runs = Runs(self._connection)

    def changes(
        self,
        cursor: str | None = None,
        *,
        since: str = "0",
        kind: str | Sequence[str] = (),
        run: int | None = None,
        item: str | Sequence[str] = (),
        project: str | Sequence[str] = (),
        status: str | Sequence[str] = (),
        last_step: str | Sequence[str] = (),
        fields: Mapping[str, Any] | None = None,
        include_docs: bool = False,
    ) -> Changes:
        """The changes of the site, for ever: those that are there, then each as it comes.

        With a `cursor` it begins where that cursor stands, and the site keeps how far the loop has come. Without one,
        or where the cursor is new, it begins at `since`: a position, `"0"` (the beginning) or `"now"`. The filters are
        those of the feed; `fields={"detector": "a"}` are metadata.
        """
        params = _filters(kind, run, item, project, status, last_step, fields)
        if include_docs:
            params.append(("include_docs", "true"))
        return Changes(self._connection, params, cursor=cursor, since=since)

    def page(
        self,
        *,
        since: str | None = None,
        cursor: str | None = None,
        limit: int = 1000,
        kind: str | Sequence[str] = (),
        run: int | None = None,
        item: str | Sequence[str] = (),
        project: str | Sequence[str] = (),
        status: str | Sequence[str] = (),
        last_step: str | Sequence[str] = (),
        fields: Mapping[str, Any] | None = None,
        include_docs: bool = False,
    ) -> Row:
        """One page of the feed, from `since` or where the cursor stands.

        `results`, `last_seq` (where the next page begins) and `pending`: 0 means that this is the end. A page with
        filters may be short, or empty, before the end.
        """
        params = [("limit", str(limit)), *_filters(kind, run, item, project, status, last_step, fields)]
        params += [(name, value) for name, value in (("since", since), ("cursor", cursor)) if value is not None]
        if include_docs:
            params.append(("include_docs", "true"))
        found: Row = self._connection.call("GET", "/changes", params=params)
        return found

    def acknowledge(self, cursor: str, seq: str, *, rewind: bool = False) -> Row:
        """Say that everything up to `seq` has been dealt with: `name`, `seq` (where it stands now), `moved`."""
        body = {"seq": seq, "rewind": rewind}
        found: Row = self._connection.call("PUT", f"/cursors/{quote(cursor, safe='')}", body=body)
        return found

    def snapshot(
        self,
        *,
        item: str | Sequence[str] = (),
        project: str | Sequence[str] = (),
        status: str | Sequence[str] = (),
        last_step: str | Sequence[str] = (),
        fields: Mapping[str, Any] | None = None,
        include_docs: bool = False,
    ) -> Row:
        """All records that match, at one moment: `{"seq", "items": […]}`; `changes(since=seq)` goes on from there."""
        params = _filters((), None, item, project, status, last_step, fields)
        if include_docs:
            params.append(("include_docs", "true"))
        found: Row = self._connection.call("GET", "/changes/snapshot", params=params, wait=600)
        return found

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Items:
    """The records of a site: `client.items`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, rows: Iterable[Mapping[str, Any]]) -> list[Row]:
        """Create or edit many: each row is answered for itself, in order, and one that is refused spoils no other.

        A row: `name`, and where it likes `status`, `reason`, `metadata` (merged key by key), `projects`, `revision` and
        `expect`. An answer: `name`, `outcome` (`created`, `changed`, `unchanged`), `revision`; `error` where refused.
        """
        answers: list[Row] = []
        given = iter(rows)
        while chunk := [dict(row) for row in islice(given, AT_ONCE)]:
            answers += self._connection.call("POST", "/items", body=chunk)["items"]
        return answers

    def patch(self, name: str, **edit: Any) -> Row:
        """Edit one: `status`, `reason`, `metadata`, `projects`; `revision` and `expect` say what it must be now.

        Raises NotFound, InvalidInput, and Stale (with the `record` as it is) if somebody was quicker.
        """
        answer: Row = self._connection.call("PATCH", _item(name), body=edit)
        return answer

    def get(self, name: str) -> Row:
        """All that is known of it: `item` (the record), `files`, `tasks`, `process`, `attempts`. Raises NotFound."""
        found: Row = self._connection.call("GET", _item(name))
        return found

    def search(self, search: str = "", *, limit: int = 50, offset: int = 0) -> list[Row]:
        """Items whose name contains these letters, in order, each with where its newest task stands."""
        params = [("search", search), ("limit", str(limit)), ("offset", str(offset))]
        found: list[Row] = self._connection.call("GET", "/items", params=params)["items"]
        return found


class Runs:
    """The runs of a site: `client.runs`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def start(self, batch: str, pipeline: str, **options: Any) -> Row:
        """Start a batch through a pipeline; `priority`, `reuse`, `only_not_done`, `paused`. The run's overview.

        Raises NotFound, InvalidInput, Conflict.
        """
        run: Row = self._connection.call("POST", "/runs", body={"batch": batch, "pipeline": pipeline, **options})
        return run

    def get(self, run: int) -> Row:
        """How it stands: `state`, `totals`, `steps`, … Raises NotFound."""
        found: Row = self._connection.call("GET", f"/runs/{run}")
        return found

    def wait(self, run: int, timeout: float | None = None) -> Row:
        """How it stands when it is over. Raises NotFound, TimeoutError after so many seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            # The position first: a run that ends after the look at it is in the feed from there.
            seq = self._connection.call("GET", "/changes", params=[("since", "now"), ("limit", "1")])["last_seq"]
            found = self.get(run)
            if found["state"] != "active":
                return found
            left = 30.0 if until is None else min(30.0, until - time.monotonic())
            if left <= 0:
                raise TimeoutError(f"Run {run} is still active.")
            ended = [("since", seq), ("run", str(run)), ("kind", "run"), ("feed", "longpoll")]
            self._connection.call("GET", "/changes", params=[*ended, ("timeout", str(int(1000 * left)))])


def _item(name: str) -> str:
    return f"/items/{quote(name, safe='')}"


def _filters(
    kind: str | Sequence[str],
    run: int | None,
    item: str | Sequence[str],
    project: str | Sequence[str],
    status: str | Sequence[str],
    last_step: str | Sequence[str],
    fields: Mapping[str, Any] | None,
) -> list[tuple[str, str]]:
    """The filters of the feed as parameters of an address."""
    listed = {"kind": kind, "item": item, "project": project, "status": status, "last_step": last_step}
    params = [
        (name, value) for name, given in listed.items() for value in ([given] if isinstance(given, str) else given)
    ]
    if run is not None:
        params.append(("run", str(run)))
    return [*params, *((f"field.{name}", _text(value)) for name, value in (fields or {}).items())]


def _text(value: Any) -> str:
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else str(value)
