"""Run this app on the command line: `python cli.py [--parameter value …] -- in.mmif out.mmif`.

The program is clams-python's own, which it keeps as a template for each app to copy.
"""

from pathlib import Path

import clams

TEMPLATE = Path(clams.__file__).parent / "develop" / "templates" / "app" / "cli.py.template"

# Not runpy: the template leaves its output file open, and only what stands in __main__ is flushed at the end.
exec(compile(TEMPLATE.read_text(), str(TEMPLATE), "exec"))
