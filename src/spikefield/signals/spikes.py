"""Spikes for a teacher: which units fire enough to learn from, and threshold crossings where nobody sorted.

A crossing is the first sample beyond `threshold` times the noise, `sigma = median(|x|) / 0.6745` of the band-passed
channel, which spikes hardly move. Crossings within the refractory time of the channel's last one do not count.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt16

from spikefield.errors import InputError
from spikefield.signals.filters import band_pass_sos
from spikefield.signals.sample_clock import Run, SampleClock
from spikefield.signals.stages import CausalFilter

SIGNS = ("negative", "positive", "both")

_MEDIAN_OF_NORMAL = 0.6745
_NOISE_SAMPLES = 20_000
_HIGHEST_SHARE_OF_RATE = 0.45


def select_units(
    counts: UInt16[np.ndarray, "bins units"],
    *,
    within: Bool[np.ndarray, " bins"],
    bin_width_ms: float,
    min_rate_hz: float = 1.0,
) -> Bool[np.ndarray, " units"]:
    """Mark the units (units,) that fire at least `min_rate_hz` in training time.

    Raises:
        InputError: `within` marks no bin, or is of another length.
    """
    if within.shape != counts.shape[:1] or not within.any():
        raise InputError(
            f"`within` must mark some of the {len(counts)} bins, got {within.shape}, {within.sum()} marked. "
            "Give the training mask of the split."
        )
    rate_hz = counts[within].sum(axis=0, dtype=np.int64) / (within.sum() * bin_width_ms / 1000)
    return rate_hz >= min_rate_hz


@dataclass(frozen=True)
class ThresholdConfig:
    """How to find spikes in broadband.

    Attributes:
        low_hz, high_hz: the spikes' band; the upper edge gives way to what the rate can hold.
        order: order of each edge.
        threshold: multiple of the noise.
        refractory_ms: least time between two spikes of a channel.
        sign: which way spikes point.
    """

    low_hz: float = 300.0
    high_hz: float = 5000.0
    order: int = 2
    threshold: float = 4.5
    refractory_ms: float = 1.0
    sign: Literal["negative", "positive", "both"] = "negative"

    def __post_init__(self) -> None:
        if self.sign not in SIGNS:
            raise InputError(f"`sign` must be one of {', '.join(SIGNS)}, got {self.sign!r}. Choose one of them.")
        if not 0 < self.low_hz < self.high_hz:
            raise InputError(
                f"`low_hz` must be above 0 and below `high_hz`, got {self.low_hz} and {self.high_hz}. "
                "Leave both out for the default."
            )
        if not self.threshold > 0 or not self.refractory_ms >= 0:
            raise InputError(
                f"`threshold` must be above 0 and `refractory_ms` at least 0, got {self.threshold} and "
                f"{self.refractory_ms}. Choose the side by `sign`."
            )

    def sos(self, rate_hz: float) -> Float[np.ndarray, "sections 6"]:
        """Return the band-pass (sections, 6) for this rate.

        Raises:
            InputError: the rate is too low for spikes.
        """
        high_hz = min(self.high_hz, _HIGHEST_SHARE_OF_RATE * rate_hz)
        if self.low_hz >= high_hz:
            raise InputError(
                f"broadband at {rate_hz:g} Hz is too slow for spikes above {self.low_hz:g} Hz. "
                "Take sorted spikes, or lower `low_hz`."
            )
        return band_pass_sos(self.low_hz, high_hz, order=self.order, rate_hz=rate_hz)


class Crossings(NamedTuple):
    """Spikes (spikes,) in order of time; the unit of a spike is its channel."""

    times_s: Float[np.ndarray, " spikes"]
    unit_index: Integer[np.ndarray, " spikes"]


def estimate_noise(
    chunks: Iterable[np.ndarray],
    clock: SampleClock,
    *,
    config: ThresholdConfig,
    within_s: Float[np.ndarray, "intervals 2"] | None = None,
) -> Float[np.ndarray, " channels"]:
    """Return each channel's noise (channels,) from 20 000 samples (sample, channel) of the recording, or of `within_s`.

    Raises:
        InputError: no sample in `within_s`, or a channel without noise.
    """
    every = max(clock.n_samples // _NOISE_SAMPLES, 1)
    picked = []
    for first, rows in _band_passed(chunks, clock, config):
        samples = np.arange(-(-first // every) * every, first + len(rows), every)
        if within_s is not None:
            times_s = clock.times_s(samples)[:, None]
            samples = samples[((times_s >= within_s[:, 0]) & (times_s < within_s[:, 1])).any(axis=1)]
        picked.append(np.abs(rows[samples - first]))
    magnitudes = np.concatenate(picked) if picked else np.empty((0, 1))
    if not len(magnitudes):
        raise InputError("`within_s` holds no sample of the recording. Check the split and the clock.")
    noise = np.median(magnitudes, axis=0) / _MEDIAN_OF_NORMAL
    if not (noise > 0).all():
        raise InputError(f"channel {int(np.argmin(noise))} has no noise at all: it is dead. Leave it out.")
    return noise


def detect_spikes(
    chunks: Iterable[np.ndarray],
    clock: SampleClock,
    *,
    noise: Float[np.ndarray, " channels"],
    config: ThresholdConfig,
) -> Crossings:
    """Return the crossings of all channels, given their noise (channels,); pieces are (samples, channels)."""
    detector, samples, channels = _Detector(clock, noise, config), [np.empty(0, int)], [np.empty(0, int)]
    for first, rows in _band_passed(chunks, clock, config):
        found = detector.push(first, rows)
        samples.append(found[0])
        channels.append(found[1])
    return Crossings(clock.times_s(np.concatenate(samples)), np.concatenate(channels))


class _Detector:
    """Remembers, a channel, whether the last sample lay beyond threshold and when the last spike was."""

    def __init__(self, clock: SampleClock, noise: np.ndarray, config: ThresholdConfig) -> None:
        self._limit = config.threshold * noise
        self._sign = config.sign
        self._refractory = round(config.refractory_ms / 1000 * clock.rate_hz)
        self._was_beyond = np.zeros(len(noise), bool)
        self._last_spike = np.full(len(noise), -(1 << 60))

    def push(self, first: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        beyond = self._beyond(rows)
        crossed = beyond & ~np.concatenate([self._was_beyond[None], beyond[:-1]])
        self._was_beyond = beyond[-1]
        sample, channel = np.nonzero(crossed)
        kept = np.zeros(len(sample), bool)
        for i, (at, where) in enumerate(zip((sample + first).tolist(), channel.tolist(), strict=True)):
            if at - self._last_spike[where] >= self._refractory:
                kept[i], self._last_spike[where] = True, at
        return sample[kept] + first, channel[kept]

    def _beyond(self, rows: np.ndarray) -> np.ndarray:
        if self._sign == "both":
            return np.abs(rows) >= self._limit
        return rows <= -self._limit if self._sign == "negative" else rows >= self._limit


def _band_passed(
    chunks: Iterable[np.ndarray], clock: SampleClock, config: ThresholdConfig
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the file index of each piece's first sample, and the piece in the spikes' band; restarts after gaps."""
    sos, band, taken = config.sos(clock.rate_hz), None, 0
    starts = {run.first_sample for run in clock.runs}
    for chunk in chunks:
        band = band or CausalFilter(sos, chunk.shape[1])
        for first, end in _cuts(clock.runs, taken, taken + len(chunk)):
            if first in starts:
                band.restart()
            yield first, band.push(np.asarray(chunk[first - taken : end - taken], np.float64))
        taken += len(chunk)


def _cuts(runs: tuple[Run, ...], first: int, end: int) -> list[tuple[int, int]]:
    """Return [first, end) cut where runs start."""
    edges = [first, *(run.first_sample for run in runs if first < run.first_sample < end), end]
    return [(a, b) for a, b in itertools.pairwise(edges) if b > a]
