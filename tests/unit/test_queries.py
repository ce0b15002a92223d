"""SQL in files: every name has a statement; a comment of two lines that looks like a name would leave one empty."""

from __future__ import annotations

import re
from pathlib import Path

import tidemill.db.queries
from tidemill.db.queries import load


def test_no_statement_is_empty() -> None:
    folder = Path(tidemill.db.queries.__file__).parent
    for file in sorted(folder.glob("*.sql")):
        for name, text in load(file.stem).items():
            said = re.sub(r"/\*.*?\*/|--.*", "", text).strip()
            assert said, f"{file.stem}.{name}"
