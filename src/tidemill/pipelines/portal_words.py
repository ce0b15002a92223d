"""Whether the site's words and fields leave room for what the portal's API has itself."""

from __future__ import annotations

from collections.abc import Iterator

from tidemill.domain.vocabulary import FIXED, as_key, in_address
from tidemill.pipelines.site_entries import SiteContent

Faults = Iterator[tuple[tuple[str | int, ...], str]]


def word_faults(content: SiteContent) -> Faults:
    """Words that stand for something else in the API's addresses, and fields that no filter could name."""
    words = content.vocabulary
    for key in ("items", "projects"):
        word = getattr(words, key)
        if in_address(word) in FIXED:
            yield (
                ("vocabulary", key),
                f"vocabulary calls {key} {word!r}, which is an address of the API already (/v1/{in_address(word)}); "
                "choose another word.",
            )
    if in_address(words.items) == in_address(words.projects) or as_key(words.item) == as_key(words.project):
        yield (
            ("vocabulary",),
            "vocabulary has words that are the same in addresses; blanks and case do not count there.",
        )
    for table in ("fields", "project_fields"):
        for name in getattr(content, table):
            if "__" in name:
                yield (table, name), f"field {name!r} has two underscores in it, which filters have a meaning for."
    if "__" in content.portal.id or not content.portal.id.isidentifier():
        yield ("portal", "id"), f"portal has id = {content.portal.id!r}; write a word such as id or sample_id."
