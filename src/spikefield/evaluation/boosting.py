"""Gradient-boosted trees on lagged channels: the non-linear decoder that needs no network.

Trees split one feature at a time, so they alone lose to a line wherever behaviour is spread thinly over many channels.
Here they add what the line leaves over: ridge first, then trees for its residual, on the few directions of the lagged
channels that go with behaviour (partial least squares; principal components of a field potential mostly do not).
"""

import numpy as np
from jaxtyping import Float, Num
from sklearn.cross_decomposition import PLSRegression
from sklearn.ensemble import HistGradientBoostingRegressor

from spikefield.evaluation.lags import Stretches, bins_of, lagged
from spikefield.evaluation.ridge import fit_readout
from spikefield.evaluation.tuning import Predict

_LEAVES = 10


def fit_boosted(
    channels: Num[np.ndarray, "bin channel"],
    behavior: Float[np.ndarray, "bin dim"],
    stretches: Stretches,
    *,
    lags: tuple[int, ...],
    guard_bins: int,
    n_components: int,
    n_trees: int,
) -> Predict:
    """Fit ridge on channels (bin, channel), then directions and trees for each dim of behaviour, where measured."""
    features, true = lagged(channels, stretches, lags), behavior[bins_of(stretches)]
    stretch = np.repeat(np.arange(len(stretches)), [end - start for start, end in stretches])
    line = fit_readout(features, true, stretch=stretch, guard_bins=guard_bins)
    residual = true - line.predict(features)
    known = np.isfinite(true).T
    boosters = [
        _fit_trees(features[k], target[k], column[k], n_components, n_trees)
        for k, target, column in zip(known, true.T, residual.T, strict=True)
    ]

    def predict(stretches: Stretches) -> Float[np.ndarray, "bin dim"]:
        features = lagged(channels, stretches, lags)
        added = [trees.predict(reduce.transform(features)) for reduce, trees in boosters]
        return line.predict(features) + np.stack(added, axis=1)

    return predict


def _fit_trees(
    features: np.ndarray, true: np.ndarray, residual: np.ndarray, n_components: int, n_trees: int
) -> tuple[PLSRegression, HistGradientBoostingRegressor]:
    reduce = PLSRegression(min(n_components, *features.shape)).fit(features, true)
    trees = HistGradientBoostingRegressor(
        max_iter=n_trees,
        max_leaf_nodes=_LEAVES,
        early_stopping=False,  # pyright: ignore[reportArgumentType]
        random_state=0,
    )
    return reduce, trees.fit(reduce.transform(features), residual)
