"""How alike two representations of the same bins are: teacher and student, after `embedding` and before the table.

Linear CKA compares the geometry of two spaces of any width; retrieval asks whether a bin's vector in one finds the same
bin in the other. All work on (bin, dim) arrays without NaN, in time linear in bins for CKA.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from spikefield.errors import InputError

_ROWS_AT_ONCE = 1024


def linear_cka(x: Float[np.ndarray, "bin dim_x"], y: Float[np.ndarray, "bin dim_y"]) -> float:
    """Return linear centred kernel alignment of x (bin, dim_x) and y (bin, dim_y), 0 to 1; NaN if either never changes.

        ‖Yᵀ X‖² / (‖Xᵀ X‖ ‖Yᵀ Y‖)   of centred X and Y (Frobenius norms)

    It is biased upwards where dims are many beside bins: `debiased_cka` is not.
    """
    x, y = (_checked(z) - z.mean(0, dtype=np.float64) for z in (x, y))
    return _cosine(np.square(y.T @ x).sum(), np.square(x.T @ x).sum(), np.square(y.T @ y).sum())


def debiased_cka(x: Float[np.ndarray, "bin dim_x"], y: Float[np.ndarray, "bin dim_y"]) -> float:
    """Return linear CKA from the unbiased HSIC estimator: about 0 for unrelated representations; at least 4 bins.

    With X (bin, dim_x) and Y (bin, dim_y) centred, K = X Xᵀ without its diagonal, and L alike of Y,

        HSIC = [tr(K L) + ΣK ΣL / ((n - 1)(n - 2)) - 2 / (n - 2) · Σ (K L)] / (n (n - 3))

    worked out in feature space, never forming K or L. NaN if either never changes.

    Raises:
        InputError: fewer than 4 bins.
    """
    x, y = (_checked(z) - z.mean(0, dtype=np.float64) for z in (x, y))
    if len(x) < 4:
        raise InputError(
            f"`x` and `y` must hold at least 4 bins for the unbiased estimator, got {len(x)}. Give more bins."
        )
    return _cosine(_hsic(x, y), _hsic(x, x), _hsic(y, y))


class Retrieval(NamedTuple):
    """Share of bins whose own partner is among the `top` most similar, and the share that chance alone finds."""

    accuracy: float
    chance: float


def retrieval(
    queries: Float[np.ndarray, "bin dim"], candidates: Float[np.ndarray, "bin own_dim"], *, top: int = 1
) -> Retrieval:
    """Look every query bin up among all candidate bins by cosine similarity; a tie counts as a draw of lots.

    Both are (bin, dim) and must live in one space (a student aligned to its teacher does). For others, map one onto
    the other first with a readout fitted on training time.

    Raises:
        InputError: the widths differ, `top` is not between 1 and the number of bins, or values are not finite.
    """
    if queries.shape != candidates.shape:
        raise InputError(
            f"`candidates` must have the shape of `queries`, {queries.shape}, got {candidates.shape}. "
            "Map one space onto the other first."
        )
    if not 1 <= top <= len(queries):
        raise InputError(
            f"`top` must be 1 to {len(queries)}, the number of bins, got {top}. Lower it, or give more bins."
        )
    queries, candidates = _unit(_checked(queries)), _unit(_checked(candidates))
    hits = 0.0
    for first in range(0, len(queries), _ROWS_AT_ONCE):
        similarity = queries[first : first + _ROWS_AT_ONCE] @ candidates.T
        own = similarity[np.arange(len(similarity)), first + np.arange(len(similarity))][:, None]
        closer, tied = (similarity > own).sum(1), (similarity == own).sum(1)
        hits += float(np.clip((top - closer) / tied, 0, 1).sum())
    return Retrieval(hits / len(queries), top / len(queries))


def frechet_shift(old: Float[np.ndarray, "bin dim"], new: Float[np.ndarray, "new_bin dim"]) -> float:
    """Return the Fréchet distance of two sets of vectors (bin, dim), taken as Gaussians, over the old one's variance.

        (|m₁ - m₂|² + tr(C₁ + C₂ - 2 (C₁ C₂)^½)) / tr(C₁)

    0 for the same distribution, 1 where the new vectors all lie at the old mean. NaN if the old one never changes.
    """
    means = [_checked(z).mean(0) for z in (old, new)]
    first, second = (np.cov(z, rowvar=False, bias=True).reshape(z.shape[1], -1) for z in (_checked(old), _checked(new)))
    shared = np.sqrt(np.clip(np.linalg.eigvals(first @ second).real, 0, None)).sum()
    spread = float(np.trace(first))
    distance = float(np.square(means[0] - means[1]).sum() + spread + np.trace(second) - 2 * shared)
    return max(distance, 0.0) / spread if spread > 0 else float("nan")


def _checked(z: np.ndarray) -> np.ndarray:
    if not np.isfinite(z).all():
        raise InputError("representations must be finite, got NaN or infinity. Give the bins of stretches only.")
    return z.astype(np.float64)


def _unit(z: np.ndarray) -> np.ndarray:
    return z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), np.finfo(np.float64).tiny)


def _cosine(cross: float, own_x: float, own_y: float) -> float:
    return float(cross / np.sqrt(own_x * own_y)) if own_x > 0 and own_y > 0 else float("nan")


def _hsic(x: np.ndarray, y: np.ndarray) -> float:
    n = len(x)
    diagonal_x, diagonal_y = np.square(x).sum(1), np.square(y).sum(1)
    rows_x, rows_y = x @ x.sum(0) - diagonal_x, y @ y.sum(0) - diagonal_y
    trace = np.square(y.T @ x).sum() - diagonal_x @ diagonal_y
    total = rows_x.sum() * rows_y.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (rows_x @ rows_y)
    return float((trace + total) / (n * (n - 3)))
