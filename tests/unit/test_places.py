"""What visitors are not told: where a site's folders and stores are."""

from __future__ import annotations

import pytest

from tidemill.domain.places import without_places


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("The folder /srv/lab/bucket of the source lab is not there.", "The folder … of the source lab is not there."),
        ("s3://out/a.zip: refused by http://10.0.0.7:9000/a.", "…: refused by …."),
        ("There is no '/srv/my data/x'.", "There is no …."),
        ("P1/S1/a.rds changed while it was packed.", "P1/S1/a.rds changed while it was packed."),
        ("Only 3 / 4 GB were free.", "Only 3 / 4 GB were free."),
    ],
)
def test_where_things_lie_is_no_visitors_business(said: str, told: str) -> None:
    assert without_places(said) == told
