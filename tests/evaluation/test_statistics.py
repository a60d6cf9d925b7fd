"""Intervals, tests and corrections equal slow twins."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from spikefield.errors import InputError
from spikefield.evaluation.statistics import bootstrap_interval, holm, paired_comparisons, seed_interval


def test_seed_interval_equals_scipy():
    values = np.array([0.71, 0.68, 0.74])
    low, high = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
    assert seed_interval(values) == pytest.approx((values.mean(), low, high, 3))
    assert seed_interval(np.append(values, np.nan)) == seed_interval(values)


def test_one_seed_has_no_interval():
    interval = seed_interval(np.array([0.5]))
    assert interval.mean == 0.5 and np.isnan(interval.low) and np.isnan(interval.high) and interval.n == 1
    assert np.isnan(seed_interval(np.array([np.nan])).mean)


def _slow_bootstrap(values, rng, n_resamples=4000):
    sessions = [row[np.isfinite(row)] for row in values if np.isfinite(row).any()]
    means = []
    for _ in range(n_resamples):
        drawn = [sessions[i] for i in rng.integers(len(sessions), size=len(sessions))]
        means.append(np.mean([rng.choice(seeds, size=len(seeds)).mean() for seeds in drawn]))
    return np.quantile(means, [0.025, 0.975])


def test_bootstrap_equals_a_slow_twin():
    rng = np.random.default_rng(0)
    values = 0.6 + 0.1 * rng.normal(size=(6, 1)) + 0.05 * rng.normal(size=(6, 3))
    values[1, 2] = values[4, :2] = np.nan
    values = np.concatenate([values, np.full((1, 3), np.nan)])
    interval = bootstrap_interval(values, generator=np.random.default_rng(1))
    assert interval.mean == pytest.approx(np.nanmean(values[:6], axis=1).mean())
    np.testing.assert_allclose(interval[1:3], _slow_bootstrap(values, rng), atol=0.006)
    assert interval.n == 15
    assert interval == bootstrap_interval(values, generator=np.random.default_rng(1))


def test_sessions_that_differ_widen_the_interval_and_seeds_alone_do_not_narrow_it():
    alike = np.tile([0.5, 0.52, 0.54], (5, 1))
    apart = alike + np.linspace(-0.2, 0.2, 5)[:, None]
    widths = [np.diff(bootstrap_interval(v, generator=np.random.default_rng(0))[1:3]).item() for v in (alike, apart)]
    assert widths[1] > 5 * widths[0] > 0
    lone = bootstrap_interval(np.array([[0.5]]), generator=np.random.default_rng(0))
    assert lone.mean == 0.5 and np.isnan(lone.low)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_equals_a_slow_twin(p):
    p = np.array(p)
    expected = []
    for i in range(len(p)):
        smaller = [j for j in range(len(p)) if (p[j], j) <= (p[i], i)]
        steps = [(len(p) - sum((p[k], k) < (p[j], j) for k in range(len(p)))) * p[j] for j in smaller]
        expected.append(min(1.0, max(steps)))
    np.testing.assert_allclose(holm(p), expected)


def _scores(n=10, gain=0.1, seed=0):
    rng = np.random.default_rng(seed)
    base = rng.uniform(0.3, 0.8, n)
    models = {"a": base + gain + 0.02 * rng.normal(size=n), "b": base, "c": base + 0.02 * rng.normal(size=n)}
    return {model: {f"s{i}": float(v) for i, v in enumerate(values)} for model, values in models.items()}


def test_comparisons_equal_scipy_on_each_pair():
    scores = _scores()
    comparisons = paired_comparisons(scores)
    assert [(c.first, c.second) for c in comparisons] == [("a", "b"), ("a", "c"), ("b", "c")]
    for c in comparisons:
        d = np.array([scores[c.first][s] - scores[c.second][s] for s in scores["a"]])
        assert c.p == pytest.approx(stats.wilcoxon(d).pvalue)
        assert c.mean_difference == pytest.approx(d.mean())
        assert c.cohens_d == pytest.approx(d.mean() / d.std(ddof=1))
        assert c.n_sessions == 10 and c.p_holm >= c.p
    assert comparisons[0].p_holm < 0.01 < comparisons[2].p_holm


def test_only_shared_sessions_are_paired():
    scores = _scores()
    del scores["a"]["s0"]
    scores["b"]["s1"] = float("nan")
    against = paired_comparisons(scores, against="b")
    assert [(c.first, c.second, c.n_sessions) for c in against] == [("a", "b", 8), ("c", "b", 9)]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_sessions_never_look_significant(n):
    (first, *_) = paired_comparisons(_scores(n=n))
    assert 0.1 < first.p <= 1 and first.n_sessions == n


def test_equal_models_do_not_differ():
    scores = _scores()
    (c,) = paired_comparisons({"a": scores["a"], "again": scores["a"]})
    assert (c.p, c.mean_difference) == (1.0, 0.0) and np.isnan(c.cohens_d)


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="one of the models"):
        paired_comparisons(_scores(), against="z")
    with pytest.raises(InputError, match="share no scored session"):
        paired_comparisons({"a": {"s0": 0.1}, "b": {"s1": 0.1}})
