"""Pieces of a sampled signal on one regular grid: each where its clock puts it, NaN between, nothing stretched."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A regular signal (samples, channels) from `start_s`, intervals where it was measured, samples bridged in them."""

    signal: Float32[np.ndarray, "samples channels"]
    start_s: float
    intervals_s: list[tuple[float, float]]
    bridged: int


def lay(starts_s: Sequence[float], pieces: Sequence[np.ndarray], runs_on: Sequence[bool], rate_hz: float) -> Grid:
    """Lay pieces (samples, channels) on one grid, each at the sample nearest to its start.

    Args:
        starts_s: time of each piece's first sample, in order.
        pieces: the pieces; what reaches into the next one is cut.
        runs_on: whether the clock runs on from a piece to the next: samples that lack between them are then
            bridged by a straight line and counted. Elsewhere the gap stays.
        rate_hz: samples a second, of the pieces and the grid.
    """
    firsts = [round((start - starts_s[0]) * rate_hz) for start in starts_s]
    limits = [*firsts[1:], firsts[-1] + len(pieces[-1])]
    signal = np.full((limits[-1], pieces[0].shape[1]), np.nan, np.float32)
    spans: list[tuple[int, int]] = []
    bridged = 0
    for piece, first, limit, joined in zip(pieces, firsts, limits, [False, *runs_on[:-1]], strict=True):
        stop = min(first + len(piece), limit)
        signal[first:stop] = piece[: stop - first]
        if joined:
            bridged += _bridge(signal, spans[-1][1], first)
            spans[-1] = (spans[-1][0], stop)
        else:
            spans.append((first, stop))
    intervals = [(starts_s[0] + first / rate_hz, starts_s[0] + stop / rate_hz) for first, stop in spans]
    return Grid(signal=signal, start_s=starts_s[0], intervals_s=intervals, bridged=bridged)


def _bridge(signal: np.ndarray, stop: int, first: int) -> int:
    """Fill samples `stop` to `first` with a straight line between their neighbours and return how many they are."""
    lacking = first - stop
    weights = (np.arange(1, lacking + 1) / (lacking + 1))[:, None]
    signal[stop:first] = (1 - weights) * signal[stop - 1] + weights * signal[first]
    return lacking
