"""What a site file may not say of its packages: one clear line for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidemill.errors import SiteFileError
from tidemill.pipelines.site_file import parse_site_file

SITE = """
[[sources]]
name = "data"
url = "data"
layout = [{ pattern = "{project}/{item}/{library}_{stage}.rds", attributes = { modality = "SINGLE_CELL" } }]
[[tables]]
name = "libraries"
file = "{project}/{item}/{library}.json"
describes = "parts"
id = "library_id"
item = "sample_id"
into = "libraries"
[[packages]]
name = "cells"
per = "project"
file = "{project}.zip"
readme = "{{ project.name }}: {{ items | length }}"
files = [{ attributes = { modality = "SINGLE_CELL" }, into = "{items}/{stage}/{name}" }]
tables = [{ name = "cells.tsv", rows = "libraries" }]
attributes = { bulk = { has = { modality = "BULK" } }, pi = "{project.pi}" }
"""


def faults(text: str) -> str:
    with pytest.raises(SiteFileError) as refused:
        parse_site_file(text, Path("/sites/here/site.toml"))
    return refused.value.message


def test_what_is_right_is_taken() -> None:
    assert parse_site_file(SITE, Path("/sites/here/site.toml")).content.packages[0].per == "project"


@pytest.mark.parametrize(
    ("there", "instead", "told"),
    [
        ('"{project}.zip"', '"{item}.zip"', "the file name has {item}, which nothing fills; there are: {project}."),
        ('"{project}.zip"', '"all.zip"', "without {project} in the file name all projects' packages"),
        ('"{project}.zip"', '"{project}.tar"', "must end in .zip"),
        ('"{project}.zip"', '"a/{project}.zip"', "it cannot have a /"),
        ('"{project}.zip"', '"../{project}.zip"', "which leads out of the folder"),
        ('name = "cells"', 'name = "dataset"', "'dataset' is what packages are called that people put together"),
        ('{ modality = "SINGLE_CELL" }, into', '{ modalty = "x" }, into', "did you mean 'modality'?"),
        ("{items}/{stage}", "{items}/{stag}", "into has {stag}, which nothing fills; did you mean 'stage'?"),
        ("{items}/{stage}", "/{stage}", "which is an absolute path"),
        ("[{ attributes", '[{ of = "project", attributes', "files of the project belong to no item"),
        ('"cells.tsv"', '"README.md"', "a table is called 'README.md', as the readme is"),
        ('"cells.tsv"', '"manifest.sha256"', "a table is called 'manifest.sha256', as the manifest is"),
        (
            'rows = "libraries"',
            'rows = "library"',
            "no metadata file makes a list 'library'; did you mean 'libraries'?",
        ),
        ("{{ items | length }}", "{{ items | length", "the readme is no Jinja template: line 1"),
        ("{{ items | length }}", "{{ item.name }}", "the readme uses 'item', which it is not given; did you mean"),
        ("{ has = {", "{ have = {", "bulk is a table; there is only { has = { attribute = value } }"),
        ('{ has = { modality = "BULK" } }', '{ has = { mode = "BULK" } }', "no layout rule gives files the attribute"),
    ],
)
def test_mistakes_are_told_with_their_line(there: str, instead: str, told: str) -> None:
    assert there in SITE
    message = faults(SITE.replace(there, instead, 1))
    assert told in message
    assert "site.toml:" in message


def test_packages_of_items_and_their_names() -> None:
    of_items = SITE.replace('per = "project"', 'per = "item"')
    assert "without {item} in the file name" in faults(of_items)
    shared = of_items.replace('"{project}.zip"', '"{item}.zip"\nshared = "only"')
    assert "name them by {items}" in faults(shared)
    assert "neither files nor tables" in faults(SITE + '[[packages]]\nname = "none"\nper = "site"\nfile = "none.zip"\n')
    again = SITE[SITE.index("[[packages]]") :].replace('"cells"', '"again"', 1)
    assert "package 'cells' has the same file name" in faults(SITE + again)


def test_a_readme_file_is_checked_like_a_readme(tmp_path: Path) -> None:
    (tmp_path / "read.md").write_text("{% for file in files %}")
    text = SITE.replace('readme = "{{ project.name }}: {{ items | length }}"', 'readme_file = "read.md"')
    with pytest.raises(SiteFileError, match="the readme is no Jinja template: line 1"):
        parse_site_file(text, tmp_path / "site.toml")
