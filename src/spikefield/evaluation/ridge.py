"""The one linear readout that every model is judged by: ridge from the features of a bin to its behaviour.

Features of the training bins come in (lagged channels, or the representation of a network) and a `Readout` goes out.
Standardisation, weights and penalty are fitted on training time alone; the penalty is chosen by cross-validation over
contiguous blocks inside the training bins, so no model gets a better deal than another.
"""

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Int, Num
from scipy import linalg

from spikefield.errors import InputError

PENALTIES = np.logspace(-4, 4, 17)  # times the mean sum of squares of the standardised features, their number of bins
_N_FOLDS = 3
_BLOCKS_PER_FOLD = 3
_FEWEST_BINS = 20
_FLOAT64_WORK = 1e10  # multiplications of one Gram matrix above which the search runs in float32


@dataclass(frozen=True, eq=False)
class Readout:
    """A fitted linear map (feature, dim) from features to behaviour.

    `penalty` is in multiples of the number of training bins, on standardised features; `inner_r2` is the R² that
    cross-validation inside training time gave at that penalty. Both hold one number for each behaviour dimension.
    """

    weights: Float[np.ndarray, "feature dim"]
    intercept: Float[np.ndarray, "dim"]
    penalty: Float[np.ndarray, "dim"]
    inner_r2: Float[np.ndarray, "dim"]

    def predict(self, features: Num[np.ndarray, "bin feature"]) -> Float[np.ndarray, "bin dim"]:
        """Return the decoded behaviour (bin, dim) of every row of `features`, in its own unit.

        Raises:
            InputError: another number of features than the readout was fitted on.
        """
        if features.shape[1] != len(self.weights):
            raise InputError(
                f"`features` must have the {len(self.weights)} columns that the readout was fitted on, "
                f"got {features.shape[1]}. Fit a readout on these features."
            )
        return features @ self.weights + self.intercept

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays by name, ready for safetensors."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "Readout":
        """Rebuild from `to_arrays`.

        Raises:
            InputError: an array is missing or unknown.
        """
        names = {f.name for f in fields(cls)}
        if set(arrays) != names:
            raise InputError(
                f"a readout must hold the arrays {sorted(names)}, got {sorted(arrays)}. Fit the readout again."
            )
        return cls(**{name: np.asarray(array, np.float64) for name, array in arrays.items()})


def fit_readout(
    features: Num[np.ndarray, "bin feature"],
    behavior: Float[np.ndarray, "bin dim"],
    *,
    stretch: Int[np.ndarray, "bin"],
    guard_bins: int,
) -> Readout:
    """Fit the readout on training bins.

    Args:
        features: (bin, feature), one row for each training bin.
        behavior: (bin, dim), the same bins; NaN where a dimension was not measured, which leaves that bin out for it.
        stretch: which unbroken stretch each bin lies in.
        guard_bins: bins left out on both sides of an inner border that cuts a stretch.

    Raises:
        InputError: rows differ, features are not finite, or too few measured bins.
    """
    _check(features, behavior)
    n_dims = behavior.shape[1]
    readout = Readout(np.zeros((features.shape[1], n_dims)), np.zeros(n_dims), np.zeros(n_dims), np.zeros(n_dims))
    measured = np.isfinite(behavior)
    patterns, pattern_of_dim = np.unique(measured.T, axis=0, return_inverse=True)
    for i, rows in enumerate(patterns):
        dims = np.flatnonzero(pattern_of_dim.ravel() == i)
        part = _fit_measured(features[rows], behavior[rows][:, dims], stretch[rows], guard_bins)
        for name, array in part.to_arrays().items():
            getattr(readout, name)[..., dims] = array
    return readout


def _check(features: np.ndarray, behavior: np.ndarray) -> None:
    if len(features) != len(behavior):
        raise InputError(
            f"`features` and `behavior` must be the same bins, got {len(features)} and {len(behavior)}. "
            "Give one row of each a bin."
        )
    if not np.isfinite(features).all():
        bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
        raise InputError(
            f"`features` must be finite in training time, got NaN or infinity in {len(bad)} bins, the first in row "
            f"{bad[0]}. Leave those bins out of the stretches."
        )
    fewest = int(np.isfinite(behavior).sum(0).min())
    if fewest < _FEWEST_BINS:
        raise InputError(
            f"`behavior` must be measured in at least {_FEWEST_BINS} training bins for a readout, got {fewest}. "
            "Bring a longer recording, or leave that behaviour out."
        )


def _fit_measured(features: np.ndarray, behavior: np.ndarray, stretch: np.ndarray, guard_bins: int) -> Readout:
    """Fit on bins in which every dimension was measured."""
    n_bins, n_features = features.shape
    center, scale = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
    scale[scale <= 1e-9 * np.maximum(np.abs(center), 1e-9)] = np.inf  # a feature that never changes says nothing
    dtype = np.float64 if n_bins * n_features**2 < _FLOAT64_WORK else np.float32
    x = ((features - center.astype(dtype)) / scale.astype(dtype)).astype(dtype, copy=False)
    mean = behavior.mean(0)
    y = (behavior - mean).astype(dtype)
    total = _Moments.of(x, y)
    penalty, inner_r2 = _choose_penalty(x, y, total, inner_folds(stretch, guard_bins=guard_bins))
    weights = total.solve(penalty * n_bins) / scale[:, None]
    return Readout(weights, mean - center @ weights, np.full(len(mean), penalty), inner_r2)


def inner_folds(
    stretch: Int[np.ndarray, "bin"], *, guard_bins: int
) -> list[tuple[Bool[np.ndarray, "bin"], Bool[np.ndarray, "bin"]]]:
    """Return (fit, score) masks (bin,) of three folds, each of three contiguous blocks spread over the training bins.

    A stretch shorter than a block (a trial) is never cut. Where a border cuts a stretch, `guard_bins` bins before and
    after it, at most a quarter of a block, are left out of the fit.
    """
    n_blocks = _N_FOLDS * _BLOCKS_PER_FOLD
    block_bins = max(1, len(stretch) // n_blocks)
    block = np.arange(len(stretch)) * n_blocks // len(stretch)
    edges = np.flatnonzero(np.diff(stretch)) + 1
    for piece in np.split(np.arange(len(stretch)), edges):
        if len(piece) < block_bins:
            block[piece] = block[piece[len(piece) // 2]]
    guard = min(guard_bins, block_bins // 4)
    near = np.zeros(len(stretch), bool)
    for border in np.setdiff1d(np.flatnonzero(np.diff(block)) + 1, edges):
        near[max(0, border - guard) : border + guard] = True
    folds = [block % _N_FOLDS == fold for fold in range(_N_FOLDS)]
    return [(~(score | (near & _within(score, guard))), score) for score in folds]


def _within(mask: np.ndarray, reach: int) -> np.ndarray:
    """Mark the bins within `reach` bins of a marked one."""
    padded = np.concatenate([[0], np.cumsum(mask)])
    index = np.arange(len(mask))
    return padded[np.minimum(index + reach + 1, len(mask))] > padded[np.maximum(index - reach, 0)]


def _choose_penalty(
    x: np.ndarray, y: np.ndarray, total: "_Moments", folds: list[tuple[np.ndarray, np.ndarray]]
) -> tuple[float, np.ndarray]:
    """Return the penalty with the best cross-validated R², mean over dimensions, and that R² of each dimension.

    One penalty for all: on real recordings a choice of their own for each dimension scored lower on test time.
    """
    errors, spread = np.zeros((len(PENALTIES), y.shape[1])), np.zeros(y.shape[1])
    for fit, score in folds:
        if not fit.any() or not score.any():
            continue
        moments = total.without(_Moments.of(x[~fit], y[~fit]))
        mean_x, mean_y = moments.sum_x / moments.n, moments.sum_y / moments.n
        path = moments.solve_all(PENALTIES * moments.n)
        predicted = (x[score] - mean_x) @ path.reshape(len(mean_x), -1)
        residual = (y[score] - mean_y)[:, None] - predicted.reshape(-1, *errors.shape)
        errors += np.square(residual).sum(0, dtype=np.float64)
        spread += np.square(y[score]).sum(0, dtype=np.float64)
    r2 = 1 - errors / np.where(spread > 0, spread, 1.0)
    best = int(np.argmax(r2.mean(1)))
    return float(PENALTIES[best]), np.where(spread > 0, r2[best], np.nan)


@dataclass(frozen=True, eq=False)
class _Moments:
    """What ridge needs of a set of bins: their number, sums and products. Those of disjoint sets add up."""

    n: int
    sum_x: Float[np.ndarray, "feature"]
    sum_y: Float[np.ndarray, "dim"]
    xx: Float[np.ndarray, "feature feature"]
    xy: Float[np.ndarray, "feature dim"]

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray) -> "_Moments":
        return cls(len(x), x.sum(0), y.sum(0), x.T @ x, x.T @ y)

    def without(self, other: "_Moments") -> "_Moments":
        return _Moments(
            self.n - other.n,
            self.sum_x - other.sum_x,
            self.sum_y - other.sum_y,
            self.xx - other.xx,
            self.xy - other.xy,
        )

    def centred(self) -> tuple[np.ndarray, np.ndarray]:
        mean_x = self.sum_x / self.n
        return self.xx - np.outer(self.sum_x, mean_x), self.xy - np.outer(mean_x, self.sum_y)

    def solve(self, penalty: float) -> np.ndarray:
        """Return the ridge weights of one penalty, in float64."""
        gram, cross = (product.astype(np.float64) for product in self.centred())
        gram.flat[:: len(gram) + 1] += penalty
        return linalg.solve(gram, cross, assume_a="pos", overwrite_a=True)

    def solve_all(self, penalties: np.ndarray) -> np.ndarray:
        """Return the ridge weights of every penalty, (feature, penalty, dim), from one tridiagonal form.

        With G = Q T Qᵀ the weights are (G + p I)⁻¹ c = Q (T + p I)⁻¹ Qᵀ c, and T + p I is solved in a few steps a row:
        a third of the work of an eigendecomposition, which would serve as well.
        """
        gram, cross = self.centred()
        if len(gram) == 1:
            return cross[:, None] / (gram + penalties.astype(gram.dtype))[..., None]
        reduce, rotate = linalg.get_lapack_funcs(("sytrd", "ormqr"), (gram,))
        reflectors, diagonal, beside, tau, _ = reduce(gram, lower=1, lwork=64 * len(gram))
        lower = np.asfortranarray(reflectors[1:, :-1])

        def turned(columns: np.ndarray, way: str) -> np.ndarray:
            rest, _, _ = rotate("L", way, lower, tau, columns[1:], lwork=64 * max(columns.shape))
            return np.concatenate([columns[:1], rest])

        banded = np.zeros((3, len(gram)), gram.dtype)
        banded[0, 1:], banded[2, :-1] = beside, beside
        start = turned(cross, "T")
        path = []
        for penalty in penalties.astype(gram.dtype):
            banded[1] = diagonal + penalty
            path.append(linalg.solve_banded((1, 1), banded, start))
        solved = turned(np.concatenate(path, axis=1), "N")
        return solved.reshape(len(gram), len(penalties), -1)
