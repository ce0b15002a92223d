"""From the benchmarks' figures to one table: what was measured, what it should be, whether it is."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from workload import percentile, spread

BEGIN, END = "<!-- the last table: begin -->", "<!-- the last table: end -->"
Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """One measure. `value` is held against `target`, at least or at most; without a target it only informs."""

    name: str
    unit: str
    value: float
    least: float | None = None
    most: float | None = None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool | None:
        if self.at_least is not None:
            return self.value >= self.at_least
        return None if self.at_most is None else self.value <= self.at_most

    @property
    def target(self) -> str:
        if self.at_least is not None:
            return f"≥ {self.at_least:,g}"
        return "" if self.at_most is None else f"≤ {self.at_most:,g}"

    def cells(self) -> list[str]:
        verdict = {True: "✓ met", False: "✗ missed", None: ""}[self.met]
        figures = [_figure(self.least), _figure(self.value), _figure(self.most)]
        return [self.name, self.unit, self.target, *figures, verdict]


def lines(found: Mapping[str, Figures]) -> Iterator[Line]:
    """The table's lines from the figures of each measure, by its name."""
    for key in ("engine", "engine of 2"):
        if key in found:
            yield from _engine(found[key])
    if "peers" in found:
        yield from _peers(found["peers"], found.get("engine"))
    if "latency" in found:
        yield from _latency(found["latency"])
    if "start" in found:
        yield from _start(found["start"])
    if "pages" in found:
        yield from _pages(found["pages"])
    if "sync" in found:
        yield from _sync(found["sync"])
    if "packages" in found:
        yield from _packages(found["packages"])
    if "portal" in found:
        yield from _portal(found["portal"])
    if "arrival" in found:
        yield from _arrival(found["arrival"])
    if "scale" in found:
        yield from _scale(found["scale"])
    if "feed" in found:
        yield from _feed(found["feed"])


def _engine(found: Figures) -> Iterator[Line]:
    workers = found["workers"]
    who = "one worker" if workers == 1 else f"{workers} workers"
    yield _spread(f"Tidemill, {who}", "steps/s", found["steps_per_second"], at_least=3000 if workers == 1 else None)
    yield _spread(f"yardstick, same information, {who}", "steps/s", found["yardstick_steps_per_second"])
    yield _spread(f"yardstick, bare, {who}", "steps/s", found["bare_yardstick_steps_per_second"])
    yield Line(f"Tidemill to the yardstick, {who}", "ratio", found["ratio"])


def _peers(found: Figures, engine: Figures | None) -> Iterator[Line]:
    for peer in found["peers"]:
        yield Line(f"{peer['library']} {peer['version']}, one worker", "steps/s", peer["steps_per_second"])
        if engine is not None:
            ratio = engine["steps_per_second"]["median"] / peer["steps_per_second"]
            yield Line(f"Tidemill to {peer['library']}", "ratio", round(ratio, 1))


def _latency(found: Figures) -> Iterator[Line]:
    waits, idle = found["milliseconds"], found["idle"]
    yield Line("start of a run to its first step", "ms", waits["median"], waits["min"], waits["max"], at_most=10)
    yield Line("the same, 95th percentile", "ms", waits["p95"], at_most=50)
    if idle["worker_percent"] is not None:
        yield Line("idle worker", "% of a core", idle["worker_percent"], at_most=1)
    if idle["backends_percent"] is not None:
        yield Line("idle worker's backends in PostgreSQL", "% of a core", idle["backends_percent"])


def _start(found: Figures) -> Iterator[Line]:
    large, small = found["large"], found["small"]
    yield _spread(f"starting a run of {large['items']:,} items", "s", large["start_seconds"], at_most=10)
    yield Line(f"a worker's peak memory, {large['items']:,} items", "MB", large["worker_peak_mb"], at_most=200)
    yield Line(f"a worker's peak memory, {small['items']:,} items", "MB", small["worker_peak_mb"], at_most=200)
    yield Line(f"the whole run of {large['items']:,} items", "steps/s", large["steps_per_second"])
    yield Line("its last fifth to its first, in pace", "ratio", large["last_fifth_to_first"])


def _pages(found: Figures) -> Iterator[Line]:
    items, watchers, busy = found["items"], found["watchers"], found["busy_change_ms"]
    for key, name in (("grid_ms", "grid"), ("page_ms", "page")):
        yield _spread(f"a run's {name}, {items:,} items", "ms", found[key], at_most=300)
        yield Line("the same, 95th percentile", "ms", found[key]["p95"])
    single = found["single_change_ms"]
    yield _spread(f"one change to {watchers} pages", "ms", single | {"min": None})
    yield Line("the same, 95th percentile", "ms", single["p95"], at_most=1000)
    yield _spread(f"{busy['changes_per_second']:,} changes/s to {watchers} pages", "ms", busy | {"min": None})
    yield Line("the same, 95th percentile", "ms", busy["p95"], at_most=1000)
    yield Line("changes that some page never heard of", "", busy["missed"] + single["missed"], at_most=0)
    if "web_cpu_percent" in busy:
        yield Line("the web process meanwhile", "% of a core", busy["web_cpu_percent"])


def _sync(found: Figures) -> Iterator[Line]:
    keys = found["keys"]
    merged = round(found["merged_per_s_empty"])
    yield Line(f"{keys:,} keys merged into an empty catalogue", "keys/s", merged, at_least=50_000)
    yield Line("the same with layout rules and copying", "keys/s", round(found["keys_per_s_empty"]))
    yield Line(f"a sync of {keys:,} keys, none changed", "s", found["unchanged_s"], at_most=20)
    yield Line("the same, a thousandth changed", "s", found["changed_s"])
    yield Line("a syncing process's peak memory", "MB", found["memory_mb"], at_most=300)
    if "listed_per_s" in found:
        yield Line(f"listing {found['listed']:,} keys of a real S3 service", "keys/s", round(found["listed_per_s"]))


def _packages(found: Figures) -> Iterator[Line]:
    for key, way in (("folders", "folder to folder"), ("s3", "S3 to S3")):
        if key in found:
            size = found[key].get("megabytes", found["megabytes"])
            yield _spread(f"a package of {size:,} MB to a plain copy, {way}", "%", found[key]["percent"], at_least=70)
            per_gb = found[key]["package_cpu_s"]["median"] / (size * 2**20 / 1e9)
            yield Line("the packing process meanwhile", "s of a core per GB", per_gb)
    if "peak_mb" in found:
        large, small = found["peak_mb"], found["peak_mb_small"]
        yield Line(f"peak memory while {found['sparse']:g} GB are packed", "MB", large)
        yield Line("the same, to that of a hundredth of it", "×", large / small, at_most=1.1)


def _portal(found: Figures) -> Iterator[Line]:
    """By any one field: the names of those measures are `field__lookup`, those of others have a colon."""
    fields: dict[str, list[float]] = {}
    for name, took in found["requests"].items():
        fields.setdefault("" if ":" in name else name.partition("__")[0], []).extend(took)
    others, single = fields.pop("", []), [one for took in fields.values() for one in took]
    worst = max(fields, key=lambda name: percentile(fields[name], 0.95))
    among = f"{found['items']:,} items"
    yield _spread(f"a page of {among} and their count, by any one field", "ms", spread(single, 1))
    yield Line("the same, 95th percentile", "ms", percentile(single, 0.95), at_most=100)
    yield Line(f"the worst field, 95th percentile: {worst}", "ms", percentile(fields[worst], 0.95), at_most=100)
    if others:
        yield _spread("by two fields, deep pages, orders", "ms", spread(others, 1))
        yield Line("the same, 95th percentile", "ms", percentile(others, 0.95))


def _feed(found: Figures) -> Iterator[Line]:
    followers, asked = found["followers"], found["asked_per_second"]
    for mode, figures in found["modes"].items():
        ours = mode.startswith("shared")
        how = mode.replace("shared", "one reader")
        least = asked * 10 // 11 if ours else None
        yield _spread(f"the feed to {followers} followers, {how}", "changes/s", figures["per_second"], at_least=least)
        yield _spread("the same, 95th percentile of a change's way", "ms", figures["p95_ms"])
        yield Line("changes that some follower had not", "", figures["missed"], at_most=0 if ours else None)
        if "web_percent" in figures:
            yield _spread("the web process meanwhile", "% of a core", figures["web_percent"])


def _arrival(found: Figures) -> Iterator[Line]:
    for where, waits in found["milliseconds"].items():
        yield _spread(f"insert of a record to its first step, {where} database", "ms", waits)
        yield Line("the same, 95th percentile", "ms", waits["p95"], at_most=50)


def _scale(found: Figures) -> Iterator[Line]:
    """How many times as much each thing costs among so many as in an empty database."""
    (full,) = [here for name, here in found["contents"].items() if not name.endswith("empty")]
    among = f"{full['item']:,} items, {full['attempt']:,} attempts"
    worst = max((row for row in found["rows"] if "ratio" in row), key=lambda row: row["ratio"])
    for row in found["rows"]:
        if "ratio" in row:
            name = f"{row['name']}: {row['empty']['median']:,.4g} → {row['full']['median']:,.4g} {row['unit']}"
            yield Line(name, "×", row["ratio"], at_most=1.5)
    yield Line(f"the costliest, among {among}", "×", worst["ratio"], at_most=1.5)


def _spread(name: str, unit: str, found: Figures, **target: Any) -> Line:
    return Line(name, unit, found["median"], found["min"], found["max"], **target)


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:,.3g}"


HEAD = ["measure", "unit", "target", "min", "median", "max", ""]


def markdown(rows: list[Line], about: Figures) -> str:
    """The table with the machine under it."""
    table = [HEAD, ["---", "---", "---:", "---:", "---:", "---:", "---"], *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in table) + "\n\n" + sentence(about) + "\n"


def plain(rows: list[Line], about: Figures) -> str:
    """The same for a terminal."""
    table = [HEAD, *(row.cells() for row in rows)]
    widths = [max(len(cells[n]) for cells in table) for n in range(len(HEAD))]
    aligned = [
        "  ".join(
            cell.rjust(w) if 2 <= n <= 5 else cell.ljust(w)
            for n, (cell, w) in enumerate(zip(cells, widths, strict=True))
        )
        for cells in table
    ]
    return "\n".join([*aligned, "", sentence(about)])


def machine(settings: Figures) -> dict[str, Any]:
    """What the figures were made on and with."""
    return {
        "cpu": _field(Path("/proc/cpuinfo"), "model name") or platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(int((_field(Path("/proc/meminfo"), "MemTotal") or "0 kB").split()[0]) * 1024 / 1e9),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "postgresql": settings["server_version"].split()[0],
        "fsync": settings["fsync"],
        "synchronous_commit": settings["synchronous_commit"],
        "tidemill": version("tidemill"),
    }


def sentence(about: Figures) -> str:
    return (
        f"{about['date']}: {about['cpu']}, {about['cores']} cores, {about['memory_gb']} GB, load before "
        f"{about['load_before']}; Python {about['python']}, PostgreSQL {about['postgresql']} (fsync {about['fsync']}, "
        f"synchronous_commit {about['synchronous_commit']}), Tidemill {about['tidemill']}; {about['seconds']} s in all."
    )


def _field(path: Path, name: str) -> str | None:
    try:
        found = (line.partition(":")[2].strip() for line in path.read_text().splitlines() if line.startswith(name))
        return next(found, None)
    except OSError:
        return None


def rewrite(readme: Path, table: str) -> None:
    """Put the table between the markers."""
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n{table}{END}{after}", encoding="utf-8")
