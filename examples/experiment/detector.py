"""The detector: what a pulse looks like, what noise there is, which amplitudes occur. No step knows this file.

Times in ms, amplitudes in ADU (steps of the digitiser).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SAMPLES, TRIGGER = 512, 256
"""Samples of a trace, a millisecond each, and the one at which a pulse begins that comes in time."""

DETECTOR = "ma22"
TRACES = 200
"""Traces of each channel in a data file."""

EMPTY = 0.12
"""The share of traces that were taken at random, without a pulse."""

JITTER = 20


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel of the detector: the pulse's rise and decay times, ADU per keV, and noise (ADU, root mean square)."""

    name: str
    rise: float
    decay: float
    gain: float
    noise: float


CHANNELS = (Channel("chalA", 8, 60, 22.0, 9.0), Channel("chalB", 5, 45, 17.5, 7.0))


def pulse(channel: Channel, begins: float = TRIGGER) -> Array:
    """A pulse of amplitude 1 that begins at this time."""
    since = np.clip(np.arange(SAMPLES) - begins, 0, None)
    shape = (1 - np.exp(-since / channel.rise)) * np.exp(-since / channel.decay)
    peak = channel.rise * np.log1p(channel.decay / channel.rise)
    return shape / ((1 - np.exp(-peak / channel.rise)) * np.exp(-peak / channel.decay))


def noise(channel: Channel, traces: int, chance: np.random.Generator) -> Array:
    """Coloured noise as such a detector has it: white, more of it at low frequencies, and the hum of the mains."""
    times = 4  # longer than a trace, so that its ends do not meet
    frequencies = np.fft.rfftfreq(times * SAMPLES)
    shape = np.sqrt(1 + 0.02 / np.maximum(frequencies, 1 / (times * SAMPLES)))
    white = chance.standard_normal((traces, times * SAMPLES))
    coloured = np.fft.irfft(np.fft.rfft(white) * shape)[:, :SAMPLES]
    hum = np.sin(2 * np.pi * (0.05 * np.arange(SAMPLES) + chance.random((traces, 1))))
    return channel.noise * (coloured / coloured.std() + 0.3 * hum)


def energies(traces: int, chance: np.random.Generator) -> Array:
    """Energies in keV: the lines of germanium at 10.37 and 8.98 keV over a continuum; 0 where there is nothing."""
    kind = chance.random(traces)
    found = 3 + chance.exponential(12, traces)
    found[kind < 0.5] = 10.37
    found[(kind >= 0.5) & (kind < 0.65)] = 8.98
    found[chance.random(traces) < EMPTY] = 0
    return found
