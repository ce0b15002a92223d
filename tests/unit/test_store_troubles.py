"""What object stores say when something is wrong, in words, and whether trying again can help."""

from __future__ import annotations

import pytest

from tidemill.errors import StorageError, StorageRefused
from tidemill.storage.troubles import trouble

METADATA = (
    "Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token in 3.1s, after 5 retries, "
    "max_retries: 5, retry_timeout: 180s - HTTP error: error sending request"
)


@pytest.mark.parametrize(
    ("said", "words", "kind"),
    [
        ("Unable to locate credentials", "there are no credentials for it", StorageRefused),
        (METADATA, "there are no credentials for it", StorageError),  # its machine may get them in a moment
        ("error: <Error><Code>NoSuchBucket</Code></Error>", "there is no such bucket", StorageRefused),
        ("error: <Error><Code>AccessDenied</Code></Error>", "the service refuses us (AccessDenied)", StorageRefused),
        ("error: <Error><Code>SlowDown</Code></Error>", "the service answers SlowDown", StorageError),
        ("HTTP error: error sending request", "the service does not answer", StorageError),
    ],
)
def test_only_what_somebody_must_mend_is_refused_for_good(said: str, words: str, kind: type) -> None:
    told = trouble("s3://b/made", "written", Exception(said))
    assert told.message == f"s3://b/made cannot be written: {words}."
    assert type(told) is kind


def test_a_folders_trouble_is_told_without_its_number() -> None:
    told = trouble("file:///data", "looked at", PermissionError(13, "Permission denied", "/data/x"))
    assert told.message == "file:///data cannot be looked at: permission denied."
