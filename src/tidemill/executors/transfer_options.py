"""What a site says of a transfer: its two ends, which files, and what they are called at the other end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.errors import InvalidInput
from tidemill.executors.places.opening import url_fault
from tidemill.executors.templates import placeholders

COPY, REMOVE = "copy", "remove"
FILE_NAMES = ("item", "name", "stem", "key")
"""Placeholders of `key`; beside them the record: `{metadata.run}`."""
CHECKSUMS = {"md5": 32, "sha256": 64}
"""Checksums that a record may have, with their length in hexadecimal digits."""

Fault = tuple[tuple[str | int, ...], str]
"""Where in the app's table, and what is wrong there."""


@dataclass(frozen=True, slots=True)
class TransferOptions:
    """As it stands in `app.options`, where what is not said is left out. `source` and `target` are URLs."""

    source: str = ""
    """Only files that lie here; empty: wherever they lie."""
    target: str = ""
    key: str = "{key}"
    """What a file is called at the target."""
    files: tuple[str, ...] = ()
    """Patterns; none: all of the item's own files."""
    mode: str = COPY
    overwrite: bool = False
    md5: str = ""
    """Where in the record the file's MD5 is: `metadata.md5sum`; `sha256` likewise."""
    sha256: str = ""
    endpoint: str = ""
    region: str = ""
    allow_http: bool = False
    key_file: str = ""
    known_hosts: str = ""
    host_key: str = ""

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> TransferOptions:
        """From `app.options`. Raises InvalidInput where they hold what is none of these."""
        given: dict[str, Any] = {key: value for key, value in options.items() if key not in ("from", "to", "files")}
        try:
            return cls(
                source=options.get("from", ""), target=options.get("to", ""), files=tuple(options.get("files", ())),
                **given,
            )  # fmt: skip
        except TypeError as error:
            raise InvalidInput(f"The transfer's options make no sense: {error}.") from None

    def ends(self) -> dict[str, Any]:
        """What places want to know, as `Places.open` takes it."""
        names = ("endpoint", "region", "allow_http", "key_file", "known_hosts", "host_key")
        return {name: getattr(self, name) for name in names}

    def reach(self) -> dict[str, Any]:
        """What later steps must know to read what lies at the target; nothing where its URL is enough."""
        return {name: value for name, value in self.ends().items() if value}


def transfer_faults(options: Mapping[str, Any]) -> Iterator[Fault]:
    """What is wrong with a transfer whatever the item."""
    said = TransferOptions.of(options)
    if said.mode not in (COPY, REMOVE):
        yield ("mode",), _mode_fault(said.mode)
    elif said.mode == COPY and not said.target:
        yield ("to",), 'lacks to; for example to = "/data/sps" or to = "sftp://user@host/data".'
    elif said.mode == REMOVE and not said.source:
        yield (
            ("from",),
            'lacks from: originals are removed only from the place that is named; for example from = "daq".',
        )
    for key, url in (("from", said.source), ("to", said.target)):
        if url and (fault := url_fault(url)):
            yield (key,), fault
    try:
        unknown = [one for one in placeholders(said.key) if one.name not in FILE_NAMES and not _of_record(one.name)]
    except InvalidInput as error:
        yield ("key",), error.message
    else:
        for one in unknown:
            names = ", ".join(f"{{{name}}}" for name in FILE_NAMES)
            yield ("key",), f"key has {one}, which nothing fills; there are: {names}, {{metadata.…}}."
    for name in CHECKSUMS:
        where = getattr(said, name)
        if where and not _of_record(where):
            yield (
                (name,),
                f'{name} is {where!r}, but must say where in the record it is; for example "metadata.{name}".',
            )


def _of_record(name: str) -> bool:
    return name.startswith("metadata.")


def _mode_fault(mode: str) -> str:
    if mode == "move":
        return (
            'mode "move" is two steps: one with mode = "copy", and a later one with mode = "remove", which deletes the '
            "originals once their copies are on record and verified again."
        )
    return f'mode is {mode!r}, but must be "copy" or "remove".'


def transfer_metadata(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What there is to say of a transfer, as apps say it of themselves: other ends are a new version."""
    return {"name": name, "transfer": dict(options), "parameters": []}
