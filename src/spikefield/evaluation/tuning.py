"""Tune any decoder on training time with the same effort: the readout's own folds, a short list of candidates.

A decoder is a function that fits on stretches of bins and returns a function that predicts stretches of bins.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from spikefield.evaluation.lags import Stretches, bins_of
from spikefield.evaluation.readout import Decoded, scored
from spikefield.evaluation.ridge import inner_folds
from spikefield.windows.binned import BinnedSession
from spikefield.windows.splits import runs

Predict = Callable[[Stretches], Float[np.ndarray, "bin dim"]]
Fit = Callable[[Stretches], Predict]


def tuned(session: BinnedSession, candidates: Sequence[Fit]) -> Decoded:
    """Cross-validate every candidate inside training time, fit the best on all of it and score it on test time."""
    folds = inner_stretches(session)
    scores = [_inner_r2(session, fit, folds) for fit in candidates] if len(candidates) > 1 else [0.0]
    predict = candidates[int(np.argmax(scores))](session.stretches("train"))
    return scored(session, predict(session.stretches("test")))


def inner_stretches(session: BinnedSession) -> list[tuple[list[tuple[int, int]], list[tuple[int, int]]]]:
    """Return the (fit, score) stretches of the readout's inner folds."""
    stretches = session.stretches("train")
    bins = bins_of(stretches)
    stretch = np.repeat(np.arange(len(stretches)), [end - start for start, end in stretches])
    folds = []
    for masks in inner_folds(stretch, guard_bins=session.split.guard_bins):
        on_grid = [np.zeros(session.n_bins, bool) for _ in masks]
        for grid, mask in zip(on_grid, masks, strict=True):
            grid[bins[mask]] = True
        folds.append((runs(on_grid[0], session.segment), runs(on_grid[1], session.segment)))
    return folds


def _inner_r2(
    session: BinnedSession, fit: Fit, folds: list[tuple[list[tuple[int, int]], list[tuple[int, int]]]]
) -> float:
    """Return the cross-validated R², mean over behaviour dimensions."""
    behavior = session.require("behavior")
    mean = np.nanmean(behavior[bins_of(session.stretches("train"))], axis=0)
    error, spread = np.zeros(behavior.shape[1]), np.zeros(behavior.shape[1])
    for fit_stretches, score_stretches in folds:
        true = behavior[bins_of(score_stretches)]
        error += np.nansum(np.square(true - fit(fit_stretches)(score_stretches)), axis=0)
        spread += np.nansum(np.square(true - mean), axis=0)
    return float(np.mean(1 - error / np.where(spread > 0, spread, 1.0)))
