"""Bring the columns of a binned series to zero mean and unit spread; the statistics come from training bins only.

z = (x - center) / scale, with the mean and standard deviation, or with the median and 1.4826 times the median absolute
deviation where `robust` (equal to the standard deviation for a normal distribution, and unmoved by artefacts).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from spikefield.errors import InputError

_MAD_TO_STANDARD_DEVIATION = 1.4826


@dataclass(frozen=True, eq=False)
class Standardizer:
    """Center and scale of each column (columns,), in the column's units, float64."""

    center: Float[np.ndarray, " columns"]
    scale: Float[np.ndarray, " columns"]

    @classmethod
    def fit(
        cls,
        values: Float[np.ndarray, "*bins columns"],
        *,
        within: Bool[np.ndarray, "*bins"],
        robust: bool = False,
        names: Sequence[str] | None = None,
    ) -> "Standardizer":
        """Fit on the bins of (bins, columns) that `within` (bins,) marks, in float64; NaN does not count.

        Raises:
            InputError: no training bin, or a column that is constant or all NaN in them, with its name.
        """
        center, scale = (_median_and_mad if robust else _mean_and_deviation)(_training(values, within))
        _check_spread(center, scale, names)
        return cls(center=center, scale=scale)

    def apply(self, values: Float[np.ndarray, "*bins columns"]) -> Float[np.ndarray, "*bins columns"]:
        """Return (values - center) / scale (bins, columns) in the dtype of `values`."""
        self._check_columns(values)
        return ((values - self.center) / self.scale).astype(np.result_type(values, np.float32), copy=False)

    def invert(self, values: Float[np.ndarray, "*bins columns"]) -> Float[np.ndarray, "*bins columns"]:
        """Return values * scale + center (bins, columns) in the dtype of `values`."""
        self._check_columns(values)
        return (values * self.scale + self.center).astype(np.result_type(values, np.float32), copy=False)

    def to_dict(self) -> dict[str, list[float]]:
        """Return plain lists, for JSON."""
        return {"center": self.center.tolist(), "scale": self.scale.tolist()}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Standardizer":
        """Rebuild from `to_dict`.

        Raises:
            InputError: `center` or `scale` is missing.
        """
        if set(content) != {"center", "scale"}:
            raise InputError(f"a standardizer must hold `center` and `scale`, got {sorted(content)}. Fit it again.")
        return cls(np.asarray(content["center"], np.float64), np.asarray(content["scale"], np.float64))

    def _check_columns(self, values: np.ndarray) -> None:
        if values.shape[-1] != len(self.center):
            raise InputError(
                f"`values` must have the {len(self.center)} columns that the statistics were fitted on, "
                f"got {values.shape[-1]}. Fit again, or give the columns of the fit."
            )


def _training(values: np.ndarray, within: np.ndarray) -> np.ndarray:
    """Return the training rows, (rows, columns) float64."""
    if values.shape[:-1] != within.shape:
        raise InputError(
            f"`within` must mark each bin of `values`, got {within.shape} for {values.shape}. "
            "Give one row of the mask a bin."
        )
    if not within.any():
        raise InputError("`within` marks no training bin. Give the training mask of the split.")
    return values[within].astype(np.float64)


def _mean_and_deviation(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    valid = np.isfinite(rows)
    count = np.maximum(valid.sum(axis=0), 1)
    center = np.where(valid, rows, 0.0).sum(axis=0) / count
    deviation = np.where(valid, rows - center, 0.0)
    scale = np.sqrt(np.square(deviation).sum(axis=0) / count)
    return _nan_if_empty(center, valid), _nan_if_empty(scale, valid)


def _median_and_mad(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    valid = np.isfinite(rows)
    rows = np.where(valid, rows, np.nan)
    rows[:, ~valid.any(axis=0)] = 0.0
    center = np.nanmedian(rows, axis=0)
    scale = _MAD_TO_STANDARD_DEVIATION * np.nanmedian(np.abs(rows - center), axis=0)
    return _nan_if_empty(center, valid), _nan_if_empty(scale, valid)


def _nan_if_empty(statistic: np.ndarray, valid: np.ndarray) -> np.ndarray:
    return np.where(valid.any(axis=0), statistic, np.nan)


def _check_spread(center: np.ndarray, scale: np.ndarray, names: Sequence[str] | None) -> None:
    smallest = np.maximum(np.abs(center) * 1e-12, np.finfo(np.float64).tiny)
    flat = ~(scale > smallest)
    if not flat.any():
        return
    which = [str(names[i]) if names is not None else f"column {i}" for i in np.flatnonzero(flat).tolist()]
    kind = "constant" if np.isfinite(scale[flat]).all() else "constant or all NaN"
    raise InputError(
        f"{len(which)} of {len(flat)} columns are {kind} in training time: {', '.join(which[:10])}"
        f"{', …' if len(which) > 10 else ''}. Leave them out (for channels: list them as bad)."
    )
