"""How well behaviour was decoded: scores of predicted against true values, one per behaviour dimension.

The last step of every decoder here: test bins come in, one number a dimension goes out. A bin counts for a dimension
only where its true value was measured (is not NaN).
"""

import numpy as np
from jaxtyping import Float, Int

from spikefield.errors import InputError


def r2(true: Float[np.ndarray, "bin dim"], predicted: Float[np.ndarray, "bin dim"]) -> Float[np.ndarray, "dim"]:
    """Return the coefficient of determination (dim,) of every dimension over its scored bins.

        R² = 1 - Σ (true - predicted)² / Σ (true - mean(true))²

    The mean is that of the scored bins. NaN where fewer than two bins are scored or the true value never changes.

    Raises:
        InputError: shapes differ, or a scored bin has no finite prediction.
    """
    measured = _measured(true, predicted)
    residual = np.where(measured, true - predicted, 0.0)
    deviation = np.where(measured, true - _mean(true, measured), 0.0)
    return _ratio(np.square(deviation).sum(0) - np.square(residual).sum(0), np.square(deviation).sum(0))


def correlation(
    true: Float[np.ndarray, "bin dim"], predicted: Float[np.ndarray, "bin dim"]
) -> Float[np.ndarray, "dim"]:
    """Return Pearson's correlation (dim,) of every dimension over its scored bins; NaN where either never changes.

    Raises:
        InputError: shapes differ, or a scored bin has no finite prediction.
    """
    measured = _measured(true, predicted)
    true_deviation = np.where(measured, true - _mean(true, measured), 0.0)
    predicted_deviation = np.where(measured, predicted - _mean(predicted, measured), 0.0)
    spread = np.sqrt(np.square(true_deviation).sum(0) * np.square(predicted_deviation).sum(0))
    return _ratio((true_deviation * predicted_deviation).sum(0), spread)


def n_scored(true: Float[np.ndarray, "bin dim"]) -> Int[np.ndarray, "dim"]:
    """Return (dim,), how many bins of every dimension were measured and therefore count."""
    return np.isfinite(true).sum(0)


def _measured(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    if true.shape != predicted.shape:
        raise InputError(
            f"`predicted` must have the shape of `true`, {true.shape}, got {predicted.shape}. Predict the same bins."
        )
    measured = np.isfinite(true)
    missing = measured & ~np.isfinite(predicted)
    if missing.any():
        bin_, dim = np.argwhere(missing)[0]
        raise InputError(
            f"`predicted` must be finite wherever `true` is, got {int(missing.sum())} NaN or infinite, the first "
            f"at bin {bin_}, dim {dim}. Predict every test bin."
        )
    return measured


def _mean(values: np.ndarray, measured: np.ndarray) -> np.ndarray:
    return np.where(measured, values, 0.0).sum(0) / np.maximum(measured.sum(0), 1)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    defined = denominator > 0
    return np.where(defined, numerator / np.where(defined, denominator, 1.0), np.nan)
