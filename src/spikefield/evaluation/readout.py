"""Fit a readout on a session's training time and score it on its test time: the same effort for every model.

Per-bin features (channels of a recording, or a network's representation) come in on the session's grid; what they say
about behaviour goes out. Validation time is used by neither step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int, Num

from spikefield.errors import InputError
from spikefield.evaluation import metrics
from spikefield.evaluation.lags import bins_of, lagged
from spikefield.evaluation.ridge import Readout, fit_readout
from spikefield.windows.binned import BinnedSession


@dataclass(frozen=True, eq=False)
class Decoded:
    """Decoded behaviour of a session's test bins (test_bin, dim), in its own unit, and its score.

    `readout` is None for decoders of another form; `lags` and `width_bins` say which bins, averaged over how many, it
    reads.
    """

    names: tuple[str, ...]
    r2: Float[np.ndarray, "dim"]
    predicted: Float[np.ndarray, "test_bin dim"]
    test_bins: Int[np.ndarray, "test_bin"]
    readout: Readout | None = None
    lags: tuple[int, ...] = (0,)
    width_bins: int = 1

    @property
    def n_test(self) -> int:
        """Number of test bins with some behaviour measured."""
        return len(self.test_bins)

    @property
    def mean_r2(self) -> float:
        """Mean R² over the behaviour dimensions for which it is defined; NaN if none."""
        defined = self.r2[np.isfinite(self.r2)]
        return float(defined.mean()) if len(defined) else float("nan")


def decode(session: BinnedSession, features: Num[np.ndarray, "bin feature"], *, lags: Sequence[int] = (0,)) -> Decoded:
    """Fit the readout on the session's training stretches and score it on its test stretches.

    Args:
        session: gives behaviour, split and stretches.
        features: (bin, feature), one row for each bin of the session's grid; rows outside the stretches are not read.
        lags: bins of the past (negative) and future that each prediction sees, inside its stretch.

    Raises:
        InputError: no behaviour, features of another length or not finite, or too few measured training bins.
    """
    return score(session, features, fit(session, features, lags=lags), lags=lags)


def fit(session: BinnedSession, features: Num[np.ndarray, "bin feature"], *, lags: Sequence[int] = (0,)) -> Readout:
    """Fit the readout on the training stretches of features (bin, feature); nothing else of the session is read."""
    behavior = session.require("behavior")
    _check_length(session, features)
    stretches = session.stretches("train")
    bins = bins_of(stretches)
    measured = np.isfinite(behavior[bins]).any(axis=1)
    stretch = np.repeat(np.arange(len(stretches)), [end - start for start, end in stretches])
    return fit_readout(
        lagged(features, stretches, lags)[measured],
        behavior[bins][measured],
        stretch=stretch[measured],
        guard_bins=session.split.guard_bins,
    )


def score(
    session: BinnedSession,
    features: Num[np.ndarray, "bin feature"],
    readout: Readout,
    *,
    lags: Sequence[int] = (0,),
) -> Decoded:
    """Predict the test stretches from features (bin, feature) with a fitted readout and score them."""
    _check_length(session, features)
    predicted = readout.predict(lagged(features, session.stretches("test"), lags))
    return replace(scored(session, predicted), readout=readout, lags=tuple(lags))


def scored(session: BinnedSession, predicted: Float[np.ndarray, "test_bin dim"]) -> Decoded:
    """Score a prediction (test_bin, dim) of all bins of the session's test stretches, in order, by whatever decoder.

    Raises:
        InputError: no behaviour in test time, or a bin without a finite prediction.
    """
    behavior = session.require("behavior")
    bins = bins_of(session.stretches("test"))
    measured = np.isfinite(behavior[bins]).any(axis=1)
    if not measured.any():
        raise InputError(
            f"session {session.session_id!r} has no behaviour in its test time. Choose other test blocks for it."
        )
    bins, predicted = bins[measured], predicted[measured]
    return Decoded(session.behavior_names, metrics.r2(behavior[bins], predicted), predicted, bins)


def _check_length(session: BinnedSession, features: np.ndarray) -> None:
    if len(features) != session.n_bins:
        raise InputError(
            f"`features` must have one row for each of the {session.n_bins} bins of session {session.session_id!r}, "
            f"got {len(features)}. Put them on the session's grid, NaN where there are none."
        )
