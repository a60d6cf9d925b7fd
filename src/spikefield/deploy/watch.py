"""What an experimenter watches while a model decodes: latency, signal quality, drift, decoded against true.

Everything here has a fixed size, however long the stream runs, and nothing here touches what is decoded.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from spikefield.deploy.sources import Truth

_FINEST_MS, _COARSEST_MS, _STEPS_A_DECADE = 1e-3, 1e6, 200
_MEMORY_S = 30.0
_FLAT, _NOISY = 0.1, 5.0
_DRIFTED_MEAN, _DRIFTED_SPREAD = 1.0, 2.0
_ALARM_SHARE = 0.1
_RECENT_BINS = 3000


class Latency:
    """Percentiles of any number of latencies, from a histogram whose steps are 1.2 % wide."""

    def __init__(self) -> None:
        n_steps = round(_STEPS_A_DECADE * np.log10(_COARSEST_MS / _FINEST_MS)) + 1
        self._counts = np.zeros(n_steps, np.int64)
        self.max_ms = 0.0

    def add(self, latency_ms: float, *, n_bins: int) -> None:
        """Count the latency of some bins."""
        place = _STEPS_A_DECADE * np.log10(max(latency_ms, _FINEST_MS) / _FINEST_MS)
        self._counts[min(int(place), len(self._counts) - 1)] += n_bins
        self.max_ms = max(self.max_ms, latency_ms)

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile, 0 before the first bin."""
        total = int(self._counts.sum())
        if not total:
            return 0.0
        place = int(np.searchsorted(np.cumsum(self._counts), percent / 100 * total))
        return min(_FINEST_MS * 10 ** ((place + 0.5) / _STEPS_A_DECADE), self.max_ms)


@dataclass(frozen=True)
class SignalQuality:
    """Features that are absent, flat, noisy or drifted against training, and whether so many drifted that it matters.

    Drifted: over half a minute the mean is more than a training spread away, or the spread less than half or more than
    double of it.
    """

    n_features: int
    absent: int
    flat: int
    noisy: int
    drifted: int
    alarm: bool


class SignalWatch:
    """Running mean and spread of the chain's standardised features, which were 0 and 1 in training time."""

    def __init__(self, *, n_features: int, bin_width_ms: float) -> None:
        self._share = bin_width_ms / 1000 / _MEMORY_S
        self._mean, self._square, self._lost = np.zeros(n_features), np.ones(n_features), np.zeros(n_features)

    def push(self, features: Float[np.ndarray, "chain_bin feature"]) -> None:
        """Take the features (chain_bin, feature) of a `Decoded`, standardised by training time."""
        for row in features:
            known = np.isfinite(row)
            self._lost += self._share * (~known - self._lost)
            self._mean[known] += self._share * (row - self._mean)[known]
            self._square[known] += self._share * (row * row - self._square)[known]

    def quality(self) -> SignalQuality:
        """Return the state of the last half minute."""
        spread = np.sqrt(np.maximum(self._square - self._mean**2, 0.0))
        absent = self._lost > 0.5
        far = np.abs(self._mean) > _DRIFTED_MEAN
        other = (spread < 1 / _DRIFTED_SPREAD) | (spread > _DRIFTED_SPREAD)
        drifted = int(((far | other) & ~absent).sum())
        return SignalQuality(
            n_features=len(spread),
            absent=int(absent.sum()),
            flat=int(((spread < _FLAT) & ~absent).sum()),
            noisy=int(((spread > _NOISY) & ~absent).sum()),
            drifted=drifted,
            alarm=drifted > _ALARM_SHARE * max(int((~absent).sum()), 1),
        )


class Score:
    """Decoded against true, over all that was replayed of the test time and over the last bins."""

    def __init__(
        self, truth: Truth, names: tuple[str, ...], *, within_s: Sequence[Sequence[float]] | None = None
    ) -> None:
        self._truth = truth
        self.names = tuple(name for name in names if name in truth.names)
        self._columns = [truth.names.index(name) for name in self.names]
        self._decoded_columns = [names.index(name) for name in self.names]
        self._within_s = within_s
        self._sums = np.zeros((4, len(self.names)))
        self._recent: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=_RECENT_BINS)
        self.last_true = np.full(len(self.names), np.nan)

    def add(self, bin_time_s: Float[np.ndarray, " bin"], values: Float[np.ndarray, "bin dim"]) -> None:
        """Compare what was decoded (bin, dim) at some times with what was measured."""
        true, decoded = self._truth.at(bin_time_s)[:, self._columns], values[:, self._decoded_columns]
        known = np.isfinite(true).all(axis=1) & np.isfinite(decoded).all(axis=1)
        if len(true):
            self.last_true = true[-1]
        self._recent.extend(zip(true[known], decoded[known], strict=True))
        if self._within_s is not None:
            known &= np.logical_or.reduce([(bin_time_s >= s) & (bin_time_s < e) for s, e in self._within_s])
        true, decoded = true[known], decoded[known]
        error = np.square(true - decoded).sum(axis=0)
        self._sums += [np.full(len(self.names), len(true)), true.sum(axis=0), np.square(true).sum(axis=0), error]

    def r2(self) -> dict[str, float]:
        """Return R² of each dim over all bins compared, those of the test time where a split is known."""
        n, total, square, error = self._sums
        return _r2(self.names, error, square - total**2 / np.maximum(n, 1))

    def recent_r2(self) -> dict[str, float]:
        """Return R² of each dim over the last bins, training time included."""
        if not self._recent:
            return {}
        true, decoded = (np.stack(rows) for rows in zip(*self._recent, strict=True))
        return _r2(self.names, np.square(true - decoded).sum(axis=0), np.square(true - true.mean(axis=0)).sum(axis=0))


def _r2(names: Sequence[str], error: np.ndarray, spread: np.ndarray) -> dict[str, float]:
    return {name: float(1 - e / s) for name, e, s in zip(names, error, spread, strict=True) if s > 0}
