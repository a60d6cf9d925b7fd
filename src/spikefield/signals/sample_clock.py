"""When each sample was taken, from all timestamps of a recording: one measured rate, and the gaps, to a sample.

Time of regular index i is start + i / rate. A file may leave samples out; its unbroken runs then lie at the regular
index that their own timestamps give, so no run is stretched and nothing after a gap shifts.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from spikefield.errors import InputError

_GAP_PERIODS = 1.5
_MOST_RUNS = 10_000


class Run(NamedTuple):
    """An unbroken stretch: where it starts in the file, how long it is, and its regular index."""

    first_sample: int
    n_samples: int
    first_index: int


@dataclass(frozen=True)
class SampleClock:
    """The regular index of a recording's samples and its tie to seconds."""

    rate_hz: float
    start_s: float
    runs: tuple[Run, ...]

    @classmethod
    def regular(cls, *, rate_hz: float, start_s: float, n_samples: int) -> "SampleClock":
        """Return the clock of a recording without gaps whose rate is known."""
        return cls(rate_hz=rate_hz, start_s=start_s, runs=(Run(0, n_samples, 0),))

    @property
    def n_samples(self) -> int:
        """Samples in the file."""
        return sum(run.n_samples for run in self.runs)

    @property
    def n_indices(self) -> int:
        """Regular samples from the first to the last, gaps included."""
        return self.runs[-1].first_index + self.runs[-1].n_samples

    def times_s(self, samples: Integer[np.ndarray, " events"]) -> Float[np.ndarray, " events"]:
        """Return the time of samples of the file."""
        first = np.array([run.first_sample for run in self.runs])
        shift = np.array([run.first_index - run.first_sample for run in self.runs])
        return self.start_s + (samples + shift[np.searchsorted(first, samples, side="right") - 1]) / self.rate_hz


def estimate_clock(timestamps_s: Iterable[Float[np.ndarray, " samples"]]) -> SampleClock:
    """Fit one rate to all timestamps, given in pieces, by least squares within unbroken runs.

    A step of more than 1.5 sample periods is a gap.

    Raises:
        InputError: timestamps that do not increase or are not finite, fewer than two, or gaps everywhere.
    """
    fits = _fit_runs(timestamps_s)
    if not fits or sum(fit.n for fit in fits) < 2 or not any(fit.s_ii for fit in fits):
        raise InputError("`timestamps_s` must hold at least two samples in a row. Check the file's clock.")
    rate_hz = sum(fit.s_ii for fit in fits) / sum(fit.s_it for fit in fits)
    start_s = fits[0].mean_t - fits[0].mean_i / rate_hz
    runs, first_sample = [], 0
    for fit in fits:
        first_index = round((fit.mean_t - start_s) * rate_hz - fit.mean_i)
        runs.append(Run(first_sample, fit.n, first_index))
        first_sample += fit.n
    return SampleClock(rate_hz=float(rate_hz), start_s=float(start_s), runs=tuple(runs))


@dataclass(frozen=True)
class _Fit:
    """Sums for a straight line through one run: index within the run against time."""

    n: int
    mean_i: float
    mean_t: float
    s_ii: float
    s_it: float

    def with_piece(self, times_s: np.ndarray) -> "_Fit":
        """Return the sums of this run continued by a piece."""
        n, index = len(times_s), np.arange(self.n, self.n + len(times_s))
        mean_i, mean_t = float(index.mean()), float(times_s.mean())
        s_ii = float(np.square(index - mean_i).sum())
        s_it = float(((index - mean_i) * (times_s - mean_t)).sum())
        share = n / (self.n + n)
        apart_i, apart_t = mean_i - self.mean_i, mean_t - self.mean_t
        return replace(
            self,
            n=self.n + n,
            mean_i=self.mean_i + apart_i * share,
            mean_t=self.mean_t + apart_t * share,
            s_ii=self.s_ii + s_ii + apart_i * apart_i * self.n * share,
            s_it=self.s_it + s_it + apart_i * apart_t * self.n * share,
        )


def _fit_runs(timestamps_s: Iterable[np.ndarray]) -> list[_Fit]:
    fits: list[_Fit] = []
    for piece, starts_run in _unbroken(timestamps_s):
        if starts_run:
            fits.append(_Fit(0, 0.0, 0.0, 0.0, 0.0))
        fits[-1] = fits[-1].with_piece(piece)
        if len(fits) > _MOST_RUNS:
            raise InputError(
                f"`timestamps_s` have more than {_MOST_RUNS} gaps: they jitter by more than half a sample. "
                "Give the rate and the start instead."
            )
    return fits


def _unbroken(timestamps_s: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, bool]]:
    """Yield pieces without gaps, and whether each starts a new run."""
    period_s, last_s, n_seen = None, None, 0
    for piece in timestamps_s:
        if not len(piece):
            continue
        piece = np.asarray(piece, np.float64)
        steps_s = np.diff(piece, prepend=piece[0] if last_s is None else last_s)
        _check_increasing(steps_s[1:] if last_s is None else steps_s, n_seen + (last_s is None))
        if period_s is None and len(piece) > 1:
            period_s = float(np.median(steps_s[1:]))
        breaks = np.flatnonzero(steps_s > _GAP_PERIODS * (period_s or np.inf)).tolist()
        for first, end in itertools.pairwise(sorted({0, *breaks, len(piece)})):
            yield piece[first:end], last_s is None or first in breaks
        last_s, n_seen = float(piece[-1]), n_seen + len(piece)


def _check_increasing(steps_s: np.ndarray, first_sample: int) -> None:
    if len(wrong := np.flatnonzero(~(steps_s > 0) | ~np.isfinite(steps_s))):
        raise InputError(
            f"`timestamps_s` must increase, but sample {first_sample + int(wrong[0])} comes {steps_s[wrong[0]]:.6f} s "
            "after the one before. Mend the clock, or give the rate and the start instead."
        )
