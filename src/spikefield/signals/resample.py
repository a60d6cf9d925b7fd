"""Put the samples onto the bin grid by the measured clock: the mean over each bin, or the value at its centre.

Sample i stands for the time from start + i / rate to the next sample, so a bin's mean gives a sample on an edge to both
bins in proportion, and bins drift against no clock. A bin of which less than half was measured is NaN.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from spikefield.errors import InputError
from spikefield.signals.stages import Rows, Stage, State, runs
from spikefield.signals.steps import Clock, FittedStep, Signal, StepConfig, Training

Method = Literal["mean", "center"]
METHODS = ("mean", "center")

_POINTS = 6
_EDGE = 1e-6
_LEAST_MEASURED = 0.5 - 1e-6
_MEAN_ROWS = 64


@dataclass(frozen=True)
class BinsConfig(StepConfig):
    """How samples become bins.

    Attributes:
        method: mean of the samples in the bin (uses nothing after the bin's end), or center, the value at the bin's
            centre, interpolated from the six samples around it (up to five samples after the centre).
    """

    step: ClassVar[str] = "bins"
    place: ClassVar[str] = "bins"
    method: Method = "mean"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"`method` must be one of {', '.join(METHODS)}, got {self.method!r}. Choose one of them.")

    def fit(self, signal: Signal, training: Training) -> FittedStep:
        """Choose by the rates: pass once-a-bin samples on, interpolate slower ones linearly."""
        clock = training.clock
        if clock.on_grid:
            return BinStep(method="as_is")
        if signal.rate_hz < clock.bin_rate_hz:
            return BinStep(method="linear")
        return BinStep(method=self.method)


@dataclass(frozen=True)
class BinStep(FittedStep):
    """Resampling by one of four methods: mean, center, linear, as_is."""

    kind = "bins"
    method: str

    def output(self, signal: Signal) -> Signal:
        """Return the signal on the grid; its rate is set by the chain's clock."""
        return replace(signal, on_bins=True)

    def stage(self, signal: Signal, clock: Clock) -> Stage:
        """Return the running form."""
        n_columns = len(signal.columns)
        if self.method == "as_is":
            return _AsIs(signal, clock, n_columns)
        if self.method == "mean":
            return _Mean(signal, clock, n_columns)
        return _Center(signal, clock, n_columns, points=2 if self.method == "linear" else _POINTS)

    def describe(self) -> str:
        """Name the method."""
        return {
            "as_is": "one sample a bin already: passed on as it is",
            "linear": "slower than the bins: interpolated linearly at bin centres (looks one sample ahead)",
            "mean": "mean over each bin",
            "center": "value at each bin's centre, from six samples",
        }[self.method]

    def response(self, frequencies_hz: np.ndarray, signal: Signal, clock: Clock) -> np.ndarray:
        """Return the gain (frequency,) of the mean and its delay of half a sample."""
        if self.method != "mean":
            return np.ones(len(frequencies_hz), complex)
        width_s, period_s = clock.bin_width_ms / 1000, 1 / signal.rate_hz
        over_bin, over_sample = np.sinc(frequencies_hz * width_s), np.sinc(frequencies_hz * period_s)
        whole = abs(width_s / period_s - round(width_s / period_s)) < _EDGE
        gain = over_bin / over_sample if whole else over_bin * over_sample
        return gain * np.exp(-1j * np.pi * frequencies_hz * period_s)

    def reach_s(self, signal: Signal) -> float:
        """Return how far the interpolation looks; the mean stays in its bin."""
        return {"center": _POINTS - 1, "linear": 1}.get(self.method, 0) / signal.rate_hz


class _Mean(Stage):
    """Sums the open bin; a bin leaves as soon as its last sample has come."""

    def __init__(self, signal: Signal, clock: Clock, n_columns: int) -> None:
        super().__init__(n_columns)
        width_s = clock.bin_width_ms / 1000
        self._offset_bins = (clock.start_s - clock.grid_start_s) / width_s
        self._sample_bins = 1 / (signal.rate_hz * width_s)
        self._n_samples = 0
        self._open_bin = math.floor(self._offset_bins + _EDGE)
        self._sum = np.zeros(n_columns)
        self._weight = 0.0

    def push(self, rows: Rows) -> Rows:
        if 0 < len(rows) <= _MEAN_ROWS and self._n_samples:
            return self._push(rows)
        before = 0 if self._n_samples or not len(rows) else max(self._open_bin, 0)
        pieces = [self._push(rows[i : i + _MEAN_ROWS]) for i in range(0, len(rows), _MEAN_ROWS)]
        return np.concatenate([np.full((before, self.n_columns), np.nan), *pieces])

    def flush(self) -> Rows:
        last = _means(self._sum[None], np.array([self._weight]))
        return last[:0] if self._weight == 0 or self._open_bin < 0 else last

    def state(self) -> State:
        return {
            "n_samples": np.array(self._n_samples),
            "open_bin": np.array(self._open_bin),
            "sum": self._sum.copy(),
            "weight": np.array(self._weight),
        }

    def restore(self, state: State) -> None:
        self._n_samples, self._open_bin = int(state["n_samples"]), int(state["open_bin"])
        self._sum, self._weight = state["sum"].copy(), float(state["weight"])

    def _push(self, rows: Rows) -> Rows:
        starts = self._offset_bins + np.arange(self._n_samples, self._n_samples + len(rows) + 1) * self._sample_bins
        closed = math.floor(starts[-1] + _EDGE)
        bins = np.arange(self._open_bin, closed + 1)[:, None]
        overlap = np.maximum(np.minimum(starts[1:], bins + 1) - np.maximum(starts[:-1], bins), 0)
        missing = np.isnan(rows[:, 0])
        if missing.any():
            overlap[:, missing] = 0
            rows = np.where(missing[:, None], 0, rows)
        sums, weights = overlap @ rows, overlap.sum(axis=1)
        sums[0] += self._sum
        weights[0] += self._weight
        ready = slice(max(-self._open_bin, 0), len(sums) - 1)
        self._n_samples += len(rows)
        self._sum, self._weight, self._open_bin = sums[-1], float(weights[-1]), closed
        return _means(sums[ready], weights[ready])


def _means(sums: Rows, weights: np.ndarray) -> Rows:
    if not len(sums):
        return sums
    measured = weights >= _LEAST_MEASURED
    return sums / np.where(measured, weights, np.nan)[:, None]


class _Center(Stage):
    """Lagrange interpolation at bin centres from the samples of one unbroken run."""

    def __init__(self, signal: Signal, clock: Clock, n_columns: int, *, points: int) -> None:
        super().__init__(n_columns)
        width_s = clock.bin_width_ms / 1000
        self._first_center = (clock.grid_start_s + width_s / 2 - clock.start_s) * signal.rate_hz
        self._samples_a_bin = width_s * signal.rate_hz
        self._points = points
        self._kept = np.empty((0, n_columns))
        self._n_dropped = 0
        self._next_bin = 0

    def push(self, rows: Rows) -> Rows:
        return self._take(rows, ahead=self._points - 1)

    def flush(self) -> Rows:
        return self._take(self._kept[:0], ahead=0)

    def state(self) -> State:
        return {
            "kept": self._kept.copy(),
            "n_dropped": np.array(self._n_dropped),
            "next_bin": np.array(self._next_bin),
        }

    def restore(self, state: State) -> None:
        self._kept = state["kept"].copy()
        self._n_dropped, self._next_bin = int(state["n_dropped"]), int(state["next_bin"])

    def _take(self, rows: Rows, *, ahead: int) -> Rows:
        rows = np.concatenate([self._kept, rows])
        newest = self._n_dropped + len(rows) - 1
        end_bin = int(np.floor((newest - ahead + 1 - _EDGE - self._first_center) / self._samples_a_bin)) + 1
        centers = self._first_center + np.arange(self._next_bin, max(end_bin, self._next_bin)) * self._samples_a_bin
        result = self._interpolate(rows, centers - self._n_dropped)
        self._next_bin += len(centers)
        keep_from = np.floor(self._first_center + self._next_bin * self._samples_a_bin) - self._points
        drop = int(np.clip(keep_from - self._n_dropped, 0, len(rows)))
        self._kept, self._n_dropped = rows[drop:].copy(), self._n_dropped + drop
        return result

    def _interpolate(self, rows: Rows, centers: np.ndarray) -> Rows:
        result = np.full((len(centers), rows.shape[1]), np.nan)
        for run, is_gap in runs(rows):
            if is_gap or run.stop - run.start < self._points:
                continue
            here = np.flatnonzero((centers >= run.start - _EDGE) & (centers <= run.stop - 1 + _EDGE))
            left = np.floor(centers[here] + _EDGE).astype(int) - (self._points // 2 - 1)
            left = np.clip(left, run.start, run.stop - self._points)
            weights = _lagrange_weights(centers[here] - left, self._points)
            for k in range(self._points):
                part = weights[:, k, None] * rows[left + k]
                result[here] = part if k == 0 else result[here] + part
        return result


def _lagrange_weights(place: np.ndarray, points: int) -> np.ndarray:
    """Return the weight of samples 0 … points - 1 in the polynomial through them, at each place."""
    weights = np.ones((len(place), points))
    for k in range(points):
        for other in range(points):
            if other != k:
                weights[:, k] *= (place - other) / (k - other)
    return weights


class _AsIs(Stage):
    """Sample i is bin i + offset."""

    def __init__(self, signal: Signal, clock: Clock, n_columns: int) -> None:
        super().__init__(n_columns)
        offset = (clock.start_s - clock.grid_start_s) * 1000 / clock.bin_width_ms
        self._next_bin = int(np.floor(offset + _EDGE))

    def push(self, rows: Rows) -> Rows:
        if not len(rows):
            return rows
        if self._next_bin > 0:
            rows = np.concatenate([np.full((self._next_bin, self.n_columns), np.nan), rows])
            self._next_bin = 0
        skip = min(-self._next_bin, len(rows))
        self._next_bin += skip
        return rows[skip:]

    def state(self) -> State:
        return {"next_bin": np.array(self._next_bin)}

    def restore(self, state: State) -> None:
        self._next_bin = int(state["next_bin"])
