"""Gradient-boosted trees on lagged channels: the non-linear decoder that needs no network."""

import numpy as np
from jaxtyping import Float, Num
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from spikefield.evaluation.lags import Stretches, bins_of, lagged
from spikefield.evaluation.tuning import Predict

_MOST_COMPONENTS = 40


def fit_boosted(
    channels: Num[np.ndarray, "bin channel"],
    behavior: Float[np.ndarray, "bin dim"],
    stretches: Stretches,
    *,
    lags: tuple[int, ...],
    n_trees: int,
    n_leaves: int,
) -> Predict:
    """Fit one booster for each behaviour dimension on the principal components of the lagged channels."""
    features, true = lagged(channels, stretches, lags), behavior[bins_of(stretches)]
    n_components = min(_MOST_COMPONENTS, *features.shape)
    reduce = make_pipeline(StandardScaler(), PCA(n_components, svd_solver="covariance_eigh"))
    components = reduce.fit_transform(features)
    boosters = [
        HistGradientBoostingRegressor(
            max_iter=n_trees,
            max_leaf_nodes=n_leaves,
            early_stopping=False,  # pyright: ignore[reportArgumentType]
            random_state=0,
        ).fit(components[np.isfinite(column)], column[np.isfinite(column)])
        for column in true.T
    ]

    def predict(stretches: Stretches) -> Float[np.ndarray, "bin dim"]:
        components = reduce.transform(lagged(channels, stretches, lags))
        return np.stack([booster.predict(components) for booster in boosters], axis=1)

    return predict
