"""A site's words and fields leave room for what the portal's API has itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.routing import Route

from tidemill.api.portal.app import PARTS
from tidemill.domain.vocabulary import FIXED
from tidemill.errors import SiteFileError
from tidemill.pipelines.site_file import parse_site_file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[vocabulary]\nitems = "tokens"',
            "vocabulary calls items 'tokens', which is an address of the API already",
        ),
        ('[vocabulary]\nitem = "Pro ject"\nitems = "x"\nproject = "pro-ject"', "the same in addresses"),
        ('[fields]\n"a__b" = {}', "field 'a__b' has two underscores"),
        ('[portal]\nid = "a b"', "write a word such as id"),
    ],
)
def test_what_would_stand_for_two_things(text: str, message: str) -> None:
    with pytest.raises(SiteFileError) as raised:
        parse_site_file(text, Path("/site.toml"))
    assert message in str(raised.value)


def test_other_words_are_free() -> None:
    parse_site_file(
        '[vocabulary]\nitem = "Data file"\nitems = "Data files"\n[portal]\nid = "file_id"', Path("/site.toml")
    )


def test_the_words_that_are_taken_are_those_of_the_api() -> None:
    paths = [route.path for part in PARTS for route in part.router.routes if isinstance(route, Route)]
    firsts = {path.split("/")[1] for path in paths}
    assert {first for first in firsts if first and "{" not in first} == set(FIXED)
