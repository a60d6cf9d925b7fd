"""Give a linear decoder a view of the past and future: lagged copies of binned channels, inside stretches only.

A stretch is an unbroken run of bins of one kind (training, validation or test) in one segment. No lag or average
crosses its border: beyond an edge the nearest bin of the same stretch is repeated, so that every model is scored on the
same bins and none sees across a split.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num

Stretches = Sequence[tuple[int, int]]

_MOST_LAGS_PER_SIDE = 5


class Reach(NamedTuple):
    """Lags in bins that cover a span of time, and the number of bins that each lag averages over."""

    lags: tuple[int, ...]
    width_bins: int


def reach_of(reach_s: float, *, bin_width_ms: float) -> Reach:
    """Return lags that cover ±`reach_s`, at most five a side; each averages the bins up to the next."""
    reach_bins = max(1, round(reach_s * 1000 / bin_width_ms))
    step = -(-reach_bins // _MOST_LAGS_PER_SIDE)
    per_side = -(-reach_bins // step)
    return Reach(tuple(step * i for i in range(-per_side, per_side + 1)), step)


def bins_of(stretches: Stretches) -> Int[np.ndarray, "bin"]:
    """Return the numbers of the bins of stretches, in order, (bin,)."""
    return np.concatenate([np.arange(0), *(np.arange(start, end) for start, end in stretches)])


def lagged(
    values: Num[np.ndarray, "bin channel"], stretches: Stretches, lags: Sequence[int]
) -> Num[np.ndarray, "stretch_bin feature"]:
    """Return the design matrix (stretch_bin, feature): bins of the stretches in order; all channels, lag by lag.

    Row t holds values[t + lag] for every lag: a negative lag looks back.
    """
    rows = [np.clip(np.arange(start, end)[:, None] + np.asarray(lags), start, end - 1) for start, end in stretches]
    index = np.concatenate([np.zeros((0, len(lags)), int), *rows])
    return values[index].reshape(len(index), len(lags) * values.shape[1])


def averaged(
    values: Num[np.ndarray, "bin channel"], stretches: Stretches, *, width_bins: int
) -> Float[np.ndarray, "bin channel"]:
    """Return the moving average (bin, channel) over `width_bins` bins inside each stretch; bins outside are NaN.

    An even width reaches one bin further back than forward.
    """
    result = np.full(values.shape, np.nan, np.float32)
    offsets = np.arange(width_bins) - width_bins // 2
    for start, end in stretches:
        piece = np.asarray(values[start:end], np.float64)
        padded = piece[np.clip(np.arange(offsets[0], len(piece) + offsets[-1]), 0, len(piece) - 1)]
        total = np.concatenate([np.zeros((1, piece.shape[1])), np.cumsum(padded, axis=0)])
        result[start:end] = (total[width_bins:] - total[:-width_bins]) / width_bins
    return result
