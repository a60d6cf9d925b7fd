"""From scores of models over sessions and seeds to means with intervals, paired tests and effect sizes.

The last step before a table: R² values come in, what may be concluded from them goes out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from spikefield.errors import InputError

_LEVEL = 0.95
_N_RESAMPLES = 10_000


class Interval(NamedTuple):
    """A mean, the borders of its 95 % interval (NaN where there is only one value) and the number of values."""

    mean: float
    low: float
    high: float
    n: int


def seed_interval(values: Float[np.ndarray, "seed"]) -> Interval:
    """Return the mean of values (seed,) and its 95 % interval by Student's t.

        mean ± t(0.975, n - 1) · s / √n

    NaN values are left out.
    """
    values = values[np.isfinite(values)]
    n = len(values)
    if n < 2:
        return Interval(float(values.mean()) if n else np.nan, np.nan, np.nan, n)
    mean = float(values.mean())
    half = float(stats.t.ppf(0.5 + _LEVEL / 2, n - 1) * values.std(ddof=1) / np.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)


def bootstrap_interval(values: Float[np.ndarray, "session seed"], *, generator: np.random.Generator) -> Interval:
    """Return the mean over sessions of their mean over seeds, and its 95 % percentile interval by bootstrap.

    Values are (session, seed). Each of 10 000 resamples draws sessions with replacement and, within every session
    drawn, its seeds with replacement, so that the interval holds for other sessions and other seeds. NaN = not run; a
    session without any value is left out. With one session the interval speaks of seeds alone.
    """
    values = values[np.isfinite(values).any(axis=1)]
    n_sessions, n_seeds = values.shape
    count = np.isfinite(values).sum(axis=1)
    if count.sum() < 2:
        return Interval(float(np.nanmean(values)) if count.sum() else np.nan, np.nan, np.nan, int(count.sum()))
    packed = np.take_along_axis(values, np.argsort(~np.isfinite(values), axis=1, kind="stable"), axis=1)
    session = generator.integers(n_sessions, size=(_N_RESAMPLES, n_sessions))
    seed = (generator.random((_N_RESAMPLES, n_sessions, n_seeds)) * count[session][..., None]).astype(int)
    used = np.arange(n_seeds) < count[session][..., None]
    drawn = np.where(used, packed[session[..., None], seed], 0.0).sum(-1) / count[session]
    low, high = np.quantile(drawn.mean(1), [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Interval(float(np.nanmean(values, axis=1).mean()), float(low), float(high), int(count.sum()))


@dataclass(frozen=True)
class Comparison:
    """How two models differ on the sessions that both were scored on; `first` minus `second`.

    `p` is from Wilcoxon's signed-rank test, `p_holm` the same after Holm's correction for all comparisons made at once.
    `cohens_d` is the mean difference over the standard deviation of the differences; NaN where that is 0 or unknown.
    """

    first: str
    second: str
    n_sessions: int
    mean_difference: float
    cohens_d: float
    p: float
    p_holm: float


def paired_comparisons(scores: Mapping[str, Mapping[str, float]], *, against: str | None = None) -> list[Comparison]:
    """Compare models over the sessions that they share.

    Args:
        scores: model -> session -> score, the mean over seeds.
        against: compare every other model with this one; None compares all pairs.

    Raises:
        InputError: `against` is not among the models, or two models share no session.
    """
    if against is not None and against not in scores:
        raise InputError(f"`against` must be one of the models {', '.join(scores)}, got {against!r}. Name one of them.")
    pairs = list(combinations(scores, 2)) if against is None else [(m, against) for m in scores if m != against]
    differences = [_differences(scores, first, second) for first, second in pairs]
    p = np.array([_wilcoxon(difference) for difference in differences])
    return [
        Comparison(first, second, len(d), float(d.mean()), paired_cohens_d(d), float(p_raw), float(p_holm))
        for (first, second), d, p_raw, p_holm in zip(pairs, differences, p, holm(p), strict=True)
    ]


def paired_cohens_d(differences: Float[np.ndarray, "session"]) -> float:
    """Return the mean of paired differences (session,) over their standard deviation; NaN where that is 0."""
    spread = differences.std(ddof=1) if len(differences) > 1 else 0.0
    return float(differences.mean() / spread) if spread > 0 else float("nan")


def holm(p: Float[np.ndarray, "test"]) -> Float[np.ndarray, "test"]:
    """Return p values (test,) corrected for multiple tests by Holm's step-down procedure."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def _differences(scores: Mapping[str, Mapping[str, float]], first: str, second: str) -> np.ndarray:
    shared = [s for s in scores[first] if s in scores[second]]
    differences = np.array([scores[first][s] - scores[second][s] for s in shared], np.float64)
    differences = differences[np.isfinite(differences)]
    if not len(differences):
        raise InputError(f"{first!r} and {second!r} share no scored session. Compare models run on the same sessions.")
    return differences


def _wilcoxon(differences: np.ndarray) -> float:
    """Return the two-sided p value; 1 where no difference is left to rank."""
    return float(np.asarray(stats.wilcoxon(differences))[1]) if differences.any() else 1.0
