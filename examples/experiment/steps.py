"""What a physicist writes: the steps of the chain behind the transfer. `tidemill worker --steps steps.py`

`signal_processing` finds the amplitude of the pulse in every trace of a data file, with an optimal filter: the traces
are weighted, frequency by frequency, with the known shape of a pulse over the noise, which is measured in that file.
`report` fits the line of germanium at 10.37 keV in what was found, and writes a page of text.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import uproot
from numpy.typing import NDArray
from scipy.optimize import curve_fit
from scipy.signal import find_peaks, welch

from tidemill import Bad, Skip, step
from tidemill.sdk.item import Item
from tidemill.sdk.task import Task

Array = NDArray[np.float64]

QUIET = 200
"""Samples at the beginning of a trace before any pulse: there the noise is measured."""

NEAR = 50
"""Samples to either side of the trigger within which a pulse is looked for."""

SIGNIFICANT = 5.0
"""How many times the resolution a pulse must be."""

ENOUGH = 10
"""Traces without a pulse that it takes to know the resolution from them."""

LINE_KEV = 10.37


def template_of(item: Item) -> Path:
    """The pulses' shapes lie at the computing centre, beside the data: a file for each detector."""
    folder = item.file(f"{item.name}.root").path().parent
    return folder / "templates" / f"{item.metadata['detector']}.npz"


def read(item: Item) -> dict[str, Array]:
    """The traces of a data file by channel, in ADU. Raises Bad if the file is not whole."""
    try:
        with uproot.open(item.file(f"{item.name}.root").path()) as root:
            names = str(root["channels"]).split()
            raw = root["raw"].arrays(["channel", "trace"], library="np")
    except (OSError, ValueError, KeyError, zlib.error, uproot.DeserializationError) as error:
        raise Bad(f"the data file is damaged, or was not written to its end ({type(error).__name__})") from error
    return {name: raw["trace"][raw["channel"] == number].astype(float) for number, name in enumerate(names)}


class OptimalFilter:
    """Finds a pulse of known shape in noise of known spectrum. `resolution` (ADU): of one amplitude, by theory."""

    def __init__(self, shape: Array, quiet: Array) -> None:
        samples = len(shape)
        frequencies, density = welch(quiet, nperseg=quiet.shape[-1], axis=-1)
        noise = np.interp(np.fft.fftfreq(samples).__abs__(), frequencies, density.mean(axis=0)) * samples / 2
        noise[0] = np.inf  # the baseline says nothing
        spectrum = np.fft.fft(shape)
        information = np.sum(np.abs(spectrum) ** 2 / noise)
        self._weights = np.conj(spectrum) / noise / information * samples
        self.resolution = float(1 / np.sqrt(information))

    def __call__(self, traces: Array) -> Array:
        """For each trace the amplitude of a pulse that is late by 0, 1, 2 … samples, or early, from the end."""
        return np.real(np.fft.ifft(np.fft.fft(traces, axis=-1) * self._weights, axis=-1))


def find_pulses(traces: Array, shape: Array) -> tuple[list[dict[str, float]], float]:
    """The pulse of each trace that has one (`event, amplitude, shift`), and the resolution of an amplitude (ADU)."""
    traces = traces - traces[:, :QUIET].mean(axis=1, keepdims=True)
    optimal = OptimalFilter(shape, traces[:, :QUIET])
    near = np.roll(optimal(traces), NEAR, axis=-1)[:, : 2 * NEAR + 1]
    found = [_highest(event, amplitudes, SIGNIFICANT * optimal.resolution) for event, amplitudes in enumerate(near)]
    empty = [event for event, pulse in enumerate(found) if pulse is None]
    # What the filter makes of traces without a pulse tells the resolution better than the spectrum of so short a piece.
    resolution = float(near[empty, NEAR].std()) if len(empty) >= ENOUGH else optimal.resolution
    return [pulse for pulse in found if pulse and pulse["amplitude"] > SIGNIFICANT * resolution], resolution


def _highest(event: int, amplitudes: Array, least: float) -> dict[str, float] | None:
    peaks, properties = find_peaks(amplitudes, height=least)
    if not len(peaks):
        return None
    best = int(np.argmax(properties["peak_heights"]))
    return {"event": event, "amplitude": float(properties["peak_heights"][best]), "shift": int(peaks[best]) - NEAR}


@step(inputs={"template": template_of}, deadline=600)
def signal_processing(item: Item, task: Task) -> dict[str, Any]:
    """Find the pulses of a data file and write their amplitudes into a new one."""
    data = read(item)
    channels: dict[str, Any] = {}
    columns: dict[str, list[Any]] = {"event": [], "channel": [], "amplitude": [], "shift": [], "resolution": []}
    with np.load(task.input("template")) as shapes:
        for number, (name, traces) in enumerate(data.items()):
            task.progress(number / len(data))
            found, resolution = find_pulses(traces, shapes[name].astype(float))
            task.log(f"{name}: {len(found)} pulses in {len(traces)} traces, resolution {resolution:.2f} ADU")
            amplitudes = [pulse["amplitude"] for pulse in found]
            channels[name] = {
                "traces": len(traces),
                "pulses": len(found),
                "mean_amplitude": float(np.mean(amplitudes)) if found else None,
                "resolution": resolution,
            }
            for pulse in found:
                row = {**pulse, "channel": number, "resolution": resolution}
                for column, values in columns.items():
                    values.append(row[column])
    types = {"event": "int32", "channel": "uint8", "amplitude": "float32", "shift": "int16", "resolution": "float32"}
    with uproot.recreate(task.output(f"{item.name}.amp.root")) as root:
        root["channels"] = " ".join(data)
        branches = {column: np.array(values, dtype=types[column]) for column, values in columns.items()}
        root.mktree("amplitudes", types).extend(branches)
    everything = columns["amplitude"]
    return {
        "pulses": len(everything),
        "mean_amplitude": float(np.mean(everything)) if everything else None,
        "channels": channels,
    }


def fit_line(amplitudes: Array, resolution: float) -> tuple[float, float, float]:
    """Where the strongest line is, its width (ADU) and how many pulses are in it."""
    counts, edges = np.histogram(amplitudes, bins=np.arange(0, amplitudes.max() + resolution, resolution))
    centres = (edges[1:] + edges[:-1]) / 2
    top = int(np.argmax(counts))
    part = slice(max(0, top - 6), top + 7)

    def line(x: Array, height: float, place: float, width: float, ground: float) -> Array:
        return height * np.exp(-0.5 * ((x - place) / width) ** 2) + ground

    begin = [counts[top], centres[top], resolution, 1]
    bounds = ([0, centres[part][0], resolution / 3, 0], [np.inf, centres[part][-1], 5 * resolution, np.inf])
    (height, place, width, _), _ = curve_fit(line, centres[part], counts[part], p0=begin, bounds=bounds)
    return float(place), float(width), float(height * width * np.sqrt(2 * np.pi) / resolution)


@step
def report(item: Item, task: Task) -> dict[str, Any]:
    """Fit the line at 10.37 keV in each channel, and write a page about this file."""
    with uproot.open(item.file(f"{item.name}.amp.root").path()) as root:
        names = str(root["channels"]).split()
        found = root["amplitudes"].arrays(library="np")
    if len(found["amplitude"]) < 100:
        raise Skip(f"only {len(found['amplitude'])} pulses: too few to fit a line")
    lines, fitted = [f"{item.name}, {item.metadata['datecreated']}", ""], {}
    for number, name in enumerate(names):
        here = found["channel"] == number
        place, width, pulses = fit_line(found["amplitude"][here].astype(float), float(found["resolution"][here][0]))
        fitted[name] = {"line": place, "width": width, "adu_per_kev": place / LINE_KEV}
        gain = f"{place / LINE_KEV:.2f} ADU/keV"
        lines.append(f"{name}: line at {place:.1f} ADU ({gain}), width {width:.1f} ADU, about {pulses:.0f} pulses")
    task.output(f"{item.name}.report.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    task.set(adu_per_kev={name: round(one["adu_per_kev"], 2) for name, one in fitted.items()})
    return fitted
