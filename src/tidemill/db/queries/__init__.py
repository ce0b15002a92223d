"""SQL in files: one file per noun, each statement with a name and one sentence.

A statement begins with a line `-- name: what it does`. `load("tasks")["claim"]` is its text, with psycopg's
`%(name)s` parameters.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_HEAD = re.compile(r"^-- (\w+): (.+)$", re.MULTILINE)


@cache
def load(noun: str) -> dict[str, str]:
    """The statements of `queries/<noun>.sql` by name."""
    text = files(__package__).joinpath(f"{noun}.sql").read_text(encoding="utf-8")
    heads = list(_HEAD.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    return {
        head[1]: f"/* {noun}.{head[1]} */\n" + text[head.end() : end].strip().rstrip(";")
        for head, end in zip(heads, ends, strict=True)
    }


def sql(name: str) -> str:
    """One statement by its full name, `noun.statement`."""
    noun, _, statement = name.partition(".")
    return load(noun)[statement]
