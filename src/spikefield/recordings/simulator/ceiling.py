"""What a linear decoder gets, from the true state (the best attainable) or from anything else on a time grid."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from spikefield.recordings.simulator.corpus import SimulatedSession

_PENALTIES = 10.0 ** np.arange(-7, 3)
_TRAIN_SHARE = 0.7
_STATE_LAG_S = 0.2


class Stretch(NamedTuple):
    """A run of time: what is decoded from (time, feature), and what is decoded (time, dim)."""

    features: Float[np.ndarray, "time feature"]
    target: Float[np.ndarray, "time dim"]


def ceiling_r2(session: SimulatedSession) -> float:
    """Return the R² of hand velocity attainable from the true state, mean over vx and vy.

    Ridge on the state at ±0.2 s, fitted on the first 70 % of the session and scored on the last 30 % after a gap.
    Spikes and field are noisy views of this state (the field of its slow part), so that no linear decoder of either
    with this reach in time can be expected above it; one that also knows the grammar of reaches could be.
    """
    step = 2
    series = Stretch(block_mean(session.state, step), block_mean(session.arrays["behavior"], step))
    lag = round(_STATE_LAG_S * session.arrays["behavior_rate_hz"] / step)
    return lagged_ridge_r2(*split(series, gap=2 * lag), lag_bins=lag)


def split(series: Stretch, *, gap: int) -> tuple[list[Stretch], Stretch]:
    """Return the first 70 % and, `gap` bins later, the rest."""
    border = round(_TRAIN_SHARE * len(series.target))
    train = Stretch(series.features[:border], series.target[:border])
    return [train], Stretch(series.features[border + gap :], series.target[border + gap :])


def block_mean(series: Float[np.ndarray, "time dim"], step: int) -> Float[np.ndarray, "bin dim"]:
    """Average blocks of `step` samples of (time, dim); an incomplete last block is left out."""
    bins = len(series) // step
    return series[: bins * step].reshape(bins, step, -1).mean(axis=1, dtype=np.float64)


def lagged_ridge_r2(train: Sequence[Stretch], test: Stretch, *, lag_bins: int) -> float:
    """Fit ridge on features at -lag..+lag bins and return R² on `test`, mean over target dims.

    The penalty is chosen on the last fifth of each training stretch; then that fifth is fitted too.
    """
    return float(np.mean(r2_by_dim(fit_lagged_ridge(train, lag_bins=lag_bins), test, lag_bins=lag_bins)))


class LinearMap(NamedTuple):
    """A fitted linear decoder (input, dim) of lagged features."""

    weights: Float[np.ndarray, "input dim"]
    intercept: Float[np.ndarray, " dim"]


def fit_lagged_ridge(train: Sequence[Stretch], *, lag_bins: int) -> LinearMap:
    """Fit ridge on lagged features, penalty chosen inside the training time."""
    early, late = [], []
    for stretch in train:
        border = round(0.8 * len(stretch.target))
        early.append(Stretch(stretch.features[:border], stretch.target[:border]))
        late.append(Stretch(stretch.features[border:], stretch.target[border:]))
    moments = _total([_moments(stretch, lag_bins) for stretch in early])
    fits = _solve(moments, _PENALTIES)
    errors = np.sum([_squared_errors(fits, stretch, lag_bins) for stretch in late], axis=(0, 2))
    best = _PENALTIES[[int(np.argmin(errors))]]
    return _solve(_total([moments, *(_moments(stretch, lag_bins) for stretch in late)]), best)[0]


def r2_by_dim(fit: LinearMap, test: Stretch, *, lag_bins: int) -> Float[np.ndarray, " dim"]:
    """Return R² of each target dim, (dim,)."""
    target = _lagged(test, lag_bins).target
    return 1 - _squared_errors([fit], test, lag_bins)[0] / np.sum((target - target.mean(axis=0)) ** 2, axis=0)


def _squared_errors(fits: Sequence[LinearMap], stretch: Stretch, lag_bins: int) -> Float[np.ndarray, "fit dim"]:
    inputs, target = _lagged(stretch, lag_bins)
    return np.array([np.sum((target - inputs @ fit.weights - fit.intercept) ** 2, axis=0) for fit in fits])


class _Moments(NamedTuple):
    count: float
    input_sum: np.ndarray
    target_sum: np.ndarray
    input_input: np.ndarray
    input_target: np.ndarray


def _lagged(stretch: Stretch, lag_bins: int) -> Stretch:
    reach = 2 * lag_bins + 1
    windows = np.lib.stride_tricks.sliding_window_view(stretch.features, reach, axis=0)
    inputs = windows.reshape(len(windows), -1)
    return Stretch(inputs, stretch.target[lag_bins : lag_bins + len(inputs)])


def _moments(stretch: Stretch, lag_bins: int) -> _Moments:
    x, y = _lagged(stretch, lag_bins)
    return _Moments(len(x), x.sum(axis=0), y.sum(axis=0), x.T @ x, x.T @ y)


def _total(parts: Sequence[_Moments]) -> _Moments:
    return _Moments(*(sum(column) for column in zip(*parts, strict=True)))  # type: ignore[arg-type]


def _solve(moments: _Moments, penalties: Float[np.ndarray, " penalty"]) -> list[LinearMap]:
    """Solve ridge on standardised inputs for each penalty, a share of the number of samples."""
    mean_x, mean_y = moments.input_sum / moments.count, moments.target_sum / moments.count
    covariance = moments.input_input / moments.count - np.outer(mean_x, mean_x)
    scale = np.sqrt(np.maximum(np.diag(covariance), 1e-12))
    values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
    projected = vectors.T @ ((moments.input_target / moments.count - np.outer(mean_x, mean_y)) / scale[:, None])
    fits = []
    for penalty in penalties:
        weights = vectors @ (projected / (np.maximum(values, 0) + penalty)[:, None]) / scale[:, None]
        fits.append(LinearMap(weights, mean_y - mean_x @ weights))
    return fits
