"""Reports as pages of HTML that need nothing else: a table of figures, and a curve drawn from the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem}}
td{{padding:.1rem 1rem .1rem 0}}svg{{border:1px solid #bbb;width:100%}}</style>
<h1>{title}</h1>
{body}
</html>
"""


def report(title: str, figures: Mapping[str, object], counts: np.ndarray | None = None) -> bytes:
    """A page with `figures`, and the curve of `counts` (one number for each droplet) by rank."""
    rows = "\n".join(f"<tr><td>{name}</td><td>{_said(value)}</td></tr>" for name, value in figures.items())
    body = f"<table>\n{rows}\n</table>"
    if counts is not None:
        body += f"\n<h2>Counts of each barcode, the highest first</h2>\n{_curve(counts)}"
    return PAGE.format(title=title, body=body).encode()


def celltypes(library: str, kinds: Sequence[str]) -> bytes:
    """How many cells of each kind there are."""
    return report(f"Cell types of {library}", dict(Counter(kinds).most_common()) | {"all cells": len(kinds)})


def _said(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _curve(counts: np.ndarray) -> str:
    """Rank against counts, both as logarithms, in a box of 400 × 240."""
    falling = np.sort(counts)[::-1]
    falling = falling[falling > 0]
    x = 400 * np.log(np.arange(1, len(falling) + 1)) / np.log(len(falling) + 1)
    y = 240 - 240 * np.log(falling) / np.log(falling[0] + 1)
    points = " ".join(f"{left:.1f},{top:.1f}" for left, top in zip(x, y, strict=True))
    return f'<svg viewBox="0 0 400 240"><polyline fill="none" stroke="#36c" stroke-width="2" points="{points}"/></svg>'
