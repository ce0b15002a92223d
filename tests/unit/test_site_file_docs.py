"""The reference page of the site file names every key that there is."""

from __future__ import annotations

import re
from pathlib import Path

from tidemill.pipelines import site_entries
from tidemill.pipelines.site_file import parse_site_file

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "site-file.md"


def test_every_key_is_described() -> None:
    page = PAGE.read_text(encoding="utf-8")
    described = set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| ([^|]*) \|", page, re.MULTILINE))))
    keys = {
        info.alias or key
        for model in vars(site_entries).values()
        if isinstance(model, type) and issubclass(model, site_entries.Entry)
        for key, info in model.model_fields.items()
    }
    assert keys - described == set()


def test_the_example_on_the_page_is_right() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert parse_site_file(example, PAGE).content.pipelines[0].steps[0].tries == 2
