"""Reading site files: what they say, and one clear line for each mistake."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from tidemill.errors import SiteFileError
from tidemill.pipelines.portal_check import portal_values
from tidemill.pipelines.site_file import SiteFile, parse_site_file, read_site_file
from tidemill.pipelines.toml_lines import TomlLines


def read(text: str) -> SiteFile:
    return parse_site_file(dedent(text).lstrip("\n"), Path("/sites/here/site.toml"))


def test_an_empty_file_is_a_site_with_defaults() -> None:
    content = read("").content
    assert (content.title, content.vocabulary.items, content.apps) == ("", "items", [])


def test_quantities_and_folders_are_read_as_people_write_them() -> None:
    file = read(
        """
        [[apps]]
        name = "bars"
        url = "http://127.0.0.1:5000"
        deadline = "1h 30m"
        max_answer = "64 MiB"
        backoff = 0.5
        [[sources]]
        name = "a"
        url = "../my recordings"
        layout = [{ pattern = "{item}.mp4" }]
        [[sources]]
        name = "b"
        url = "file:///data/b%20c"
        layout = [{ pattern = "{item}.mp4" }]
        """
    )
    settings = file.content.apps[0].settings()
    assert (settings.deadline, settings.max_answer, settings.backoff) == (5400, 64 * 2**20, 0.5)
    urls = [file.source_url(source) for source in file.content.sources]
    assert urls == ["file:///sites/my%20recordings", "file:///data/b%20c"]


@pytest.mark.parametrize(
    ("store", "url"),
    [
        ("packages", "file:///sites/here/packages"),
        ("/data/packages/", "file:///data/packages"),
        ("file:///data/a%20b", "file:///data/a%20b"),
        ("s3://bucket/prefix/", "s3://bucket/prefix"),
    ],
)
def test_packages_go_to_a_bucket_or_to_a_folder_beside_the_site_file(store: str, url: str) -> None:
    file = read(f'[publishing]\nstore = "{store}"')
    assert portal_values(file.content, file.path.parent)["publishing"] == {"store": url}


APP = '[[apps]]\nname = "bars"\nurl = "http://127.0.0.1:5000"\n'
PIPELINE = '[[pipelines]]\nname = "p"\n[[pipelines.steps]]\napp = "bars"\n'
SOURCE = '[[sources]]\nname = "s"\nurl = "s"\n[[sources.layout]]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = 3", '1: the site file: title is 3, but must be text in quotes; for example title = "Riverside'),
        ("titel = 'x'", "1: the site file has 'titel', which is not a key here; did you mean 'title'?"),
        ("title = ", "1: this is not TOML: Invalid value."),
        ("a = 1\nb = [1,\n", "2: this is not TOML"),
        ("title = 'a'\ntitle = 'b'", "2: this is not TOML: Cannot overwrite a value."),
        ("[[packages]]\nname = 'x'\nfile = 'x.zip'", "1: package 'x' lacks per; write per = …."),
        ("[vocabulary]\n\nitem = 'item s!'", '3: vocabulary: item is "item s!", but must be a word'),
        ("[vocabulary]\nitem = 'items'", "1: vocabulary has one word for two things"),
        ("[fields.year]\ntype = 'int'", "2: fields, year: type is \"int\", but must be 'text', 'integer', "),
        (
            APP + "concurency = 3",
            "4: app 'bars' has 'concurency', which is not a key here; did you mean 'concurrency'?",
        ),
        (APP + "concurrency = 0", "4: app 'bars': concurrency is 0, but must be more than 0."),
        (APP + "concurrency = '3'", "4: app 'bars': concurrency is \"3\", but must be a whole number; for example"),
        (APP + "deadline = 'ten'", "4: app 'bars': deadline is \"ten\", but must be seconds, or a time such as"),
        (APP + "deadline = 0", "4: app 'bars': deadline is 0, but must be more than 0."),
        (APP + "max_answer = '5XB'", "4: app 'bars': max_answer is \"5XB\", but must be bytes, or a size such as"),
        (
            APP + "kind = 'htttp'",
            "4: app 'bars': kind is \"htttp\", but must be 'http', 'python', 'command', 'transfer' or 'package'; "
            "did you mean 'http'?",
        ),
        (APP + "version = '1'", "4: app 'bars': a CLAMS app says its version itself; leave version out."),
        (APP + "\n" + APP, "6: there is another app named 'bars', on line 1; each needs its own name."),
        ("[[apps]]\nname = 'x'\n", "1: app 'x' lacks url; for example url = "),
        ("[[apps]]\nurl = 'ftp://a'\nname = 'x'\n", "2: app 'x': 'ftp://a' is not an http:// or https:// URL."),
        ("[[apps]]\nname = 'a/b'\nurl = 'http://a'", "2: app 'a/b': name \"a/b\" has a slash"),
        ("[apps]\nname = 'x'", '1: the site file: apps is {"name":"x"}, but must be a list; write its tables as [[…]]'),
        (PIPELINE + "tries = 0", "5: pipeline 'p', step 1: tries is 0, but must be more than 0."),
        (PIPELINE + "parameters = 1", "5: pipeline 'p', step 1: parameters is 1, but must be a table"),
        (
            PIPELINE + "name = 'x'\n[[pipelines.steps]]\napp = 'b'\nname = 'x'",
            "8: pipeline 'p' has another step named 'x'",
        ),
        (
            "[[pipelines]]\nname = 'p'\nsteps = []",
            "3: pipeline 'p': steps is empty; write at least one [[…steps]] table.",
        ),
        (
            SOURCE + "pattern = '{itm}.mp4'",
            "5: Pattern '{itm}.mp4' does not say what a file belongs to. Put {item}",
        ),
        (SOURCE + "pattern = '{item'", "5: Pattern '{item' opens a { at character 1 and never closes it."),
        (SOURCE + "pattern = '{item:[}'", "5: Pattern '{item:[}' is not valid: "),
        (
            SOURCE.replace('url = "s"', 'url = "ftp://b"') + "pattern = '{item}'",
            "3: source 's' is at ftp://",
        ),
        (
            SOURCE.replace('url = "s"', 'url = "s3://"') + "pattern = '{item}'",
            "3: source 's' is at s3://, which names no",
        ),
        (
            SOURCE.replace('url = "s"', 'url = "gs://b"\nregion = "eu"') + "pattern = '{item}'",
            "4: source 's' has region, which says nothing of gs://…; there are: endpoint, anonymous.",
        ),
        (
            SOURCE.replace('url = "s"', 'url = "s"\nanonymous = true') + "pattern = '{item}'",
            "4: source 's' has anonymous, which says nothing of a folder; leave it out.",
        ),
        (
            "[publishing]\nstore = 'az://b'\nregion = 'eu'",
            "3: publishing has region, which says nothing of az://…; there are: endpoint, anonymous.",
        ),
        (
            "[publishing]\nstore = 'ftp://b'",
            "2: publishing: the store is at ftp://…, which cannot be read; ",
        ),
        (
            "[publishing]\nstore = 'gs:///'",
            "2: publishing: the store is at gs:///, which names no bucket; write",
        ),
        (
            "[publishing]\nstore = '~no-such-person/x'",
            "2: publishing: the store is at ~no-such-person/x, and there is no such person here; write store = ",
        ),
        (
            SOURCE.replace('url = "s"', 'url = "~no-such-person"') + "pattern = '{item}'",
            "3: source 's' is at ~no-such-person, and there is no such person here; write url = ",
        ),
        (
            "[[apps]]\nname = 'm'\nkind = 'transfer'\nfrom = '~no-such-person/x'\nto = '/y'",
            "4: app 'm': from is '~no-such-person/x', and there is no such person here.",
        ),
        ("[publishing]\nupload = true", "2: publishing is to upload, and says not where to; write store = "),
    ],
)
def test_a_mistake_is_one_line_with_file_and_line(text: str, message: str) -> None:
    with pytest.raises(SiteFileError) as refused:
        read(text)
    assert refused.value.message.startswith(f"/sites/here/site.toml:{message}")
    assert "\n" not in refused.value.message


def test_several_mistakes_are_all_listed_in_order_of_their_lines() -> None:
    with pytest.raises(SiteFileError) as refused:
        read("[[apps]]\nname = 'x'\ntries = 0\n[vocabulary]\nitm = 'a'\n")
    assert [line.split(":")[1] for line in refused.value.message.splitlines()] == ["1", "3", "5"]


def test_a_file_that_is_not_there_or_not_text_says_so(tmp_path: Path) -> None:
    with pytest.raises(SiteFileError, match="No such file"):
        read_site_file(tmp_path / "site.toml")
    (tmp_path / "site.toml").write_bytes(b'title = "\xe4"')
    with pytest.raises(SiteFileError, match="not UTF-8"):
        read_site_file(tmp_path / "site.toml")


def test_lines_are_found_in_every_way_that_toml_is_written() -> None:
    text = dedent(
        '''\
        # a comment with [brackets] = "and more"
        title = """a
        [not.a.table]
        b = 1"""
        "quoted.key" . inner = 1
        list = [ # comment
          1,
          { a = "}", b.c = [1,
            2] },
          ["x", "]"], # ]
        ]
        [table."a b"]
        x.y.z = 'it''s'
        literal = \'\'\'
        [[apps]]\'\'\'
        [[apps]]
        name = "one"
        [[apps]]
        name = "two"
        [apps.deep]
        k = 1979-05-27T07:32:00Z
        [[apps.steps]]
        [[apps.steps]]
        app = 1
        '''
    ).replace("'it''s'", "'its'")
    lines = TomlLines(text)
    expected = {
        ("title",): 2,
        ("quoted.key", "inner"): 5,
        ("list", 0): 7,
        ("list", 1, "b", "c", 1): 9,
        ("list", 2, 1): 10,
        ("table", "a b"): 12,
        ("table", "a b", "x", "y", "z"): 13,
        ("apps",): 16,
        ("apps", 0, "name"): 17,
        ("apps", 1): 18,
        ("apps", 1, "deep", "k"): 21,
        ("apps", 1, "steps", 0): 22,
        ("apps", 1, "steps", 1, "app"): 24,
        ("apps", 1, "steps", 1, "missing"): 23,
    }
    assert {path: lines.line(path) for path in expected} == expected
