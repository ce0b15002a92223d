"""Run this app on the command line: `python cli.py [--parameter value …] -- in.mmif out.mmif`."""

import runpy
from pathlib import Path

import clams

TEMPLATES = Path(clams.__file__).parent / "develop" / "templates" / "app"

if __name__ == "__main__":
    runpy.run_path(str(TEMPLATES / "cli.py.template"), run_name="__main__")
