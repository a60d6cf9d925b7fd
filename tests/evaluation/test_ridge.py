"""The readout is ridge, tuned on training time only."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from spikefield.errors import InputError
from spikefield.evaluation import ridge as module
from spikefield.evaluation.ridge import PENALTIES, Readout, fit_readout, inner_folds


def _data(seed=0, n_bins=900, n_features=20, noise=1.0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n_bins, n_features)) * rng.uniform(0.1, 30, n_features) + rng.normal(size=n_features)
    behavior = (features / features.std(0)) @ rng.normal(size=(n_features, 2)) + noise * rng.normal(size=(n_bins, 2))
    return features, behavior + 7


def _slow_fit(features, behavior, penalty):
    scale = features.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    ridge = Ridge(alpha=penalty * len(features)).fit((features - features.mean(0)) / scale, behavior)
    return lambda x: ridge.predict((x - features.mean(0)) / scale)


def _slow_choice(features, behavior, folds):
    scores = []
    standardised = (features - features.mean(0)) / features.std(0)
    for penalty in PENALTIES:
        error, spread = 0.0, 0.0
        for fit, score in folds:
            ridge = Ridge(alpha=penalty * fit.sum()).fit(standardised[fit], behavior[fit])
            error = error + np.square(behavior[score] - ridge.predict(standardised[score])).sum(0)
            spread = spread + np.square(behavior[score] - behavior.mean(0)).sum(0)
        scores.append(1 - error / spread)
    best = int(np.argmax(np.mean(scores, axis=1)))
    return PENALTIES[best], scores[best]


@pytest.mark.parametrize("noise", [0.1, 10.0, 50.0])
@pytest.mark.parametrize("n_features", [1, 2, 20])
def test_equals_scikit_learn_and_a_slow_search(noise, n_features):
    features, behavior = _data(noise=noise, n_features=n_features)
    stretch = np.arange(900) // 450
    fitted = fit_readout(features, behavior, stretch=stretch, guard_bins=4)
    penalty, inner_r2 = _slow_choice(features, behavior, inner_folds(stretch, guard_bins=4))
    assert fitted.penalty.tolist() == [penalty, penalty]
    np.testing.assert_allclose(fitted.inner_r2, inner_r2, rtol=1e-8, atol=1e-10)
    expected = _slow_fit(features, behavior, penalty)(features)
    np.testing.assert_allclose(fitted.predict(features), expected, rtol=1e-8)


def test_float32_search_agrees_with_float64(monkeypatch):
    features, behavior = _data(n_features=60, noise=5.0)
    stretch = np.zeros(900, int)
    exact = fit_readout(features, behavior, stretch=stretch, guard_bins=4)
    monkeypatch.setattr(module, "_FLOAT64_WORK", 0.0)
    fast = fit_readout(features.astype(np.float32), behavior, stretch=stretch, guard_bins=4)
    assert np.array_equal(fast.penalty, exact.penalty)
    np.testing.assert_allclose(fast.predict(features), exact.predict(features), atol=2e-3)
    np.testing.assert_allclose(fast.inner_r2, exact.inner_r2, atol=1e-4)


def test_more_features_than_bins():
    features, behavior = _data(n_bins=120, n_features=300, noise=3.0)
    fitted = fit_readout(features, behavior, stretch=np.zeros(120, int), guard_bins=1)
    expected = _slow_fit(features, behavior, fitted.penalty[0])(features)
    np.testing.assert_allclose(fitted.predict(features), expected, rtol=1e-6)


def test_unmeasured_bins_are_left_out_of_their_dimension_only():
    features, behavior = _data()
    holes = behavior.copy()
    holes[:300, 0] = np.nan
    stretch = np.zeros(900, int)
    fitted = fit_readout(features, holes, stretch=stretch, guard_bins=4)
    whole = fit_readout(features, behavior[:, 1:], stretch=stretch, guard_bins=4)
    part = fit_readout(features[300:], behavior[300:, :1], stretch=stretch[300:], guard_bins=4)
    np.testing.assert_allclose(fitted.weights, np.concatenate([part.weights, whole.weights], axis=1), rtol=1e-9)
    np.testing.assert_allclose(fitted.intercept, [part.intercept[0], whole.intercept[0]], rtol=1e-9)


def test_a_feature_that_never_changes_has_no_weight():
    features, behavior = _data()
    features[:, 3] = 4.0
    fitted = fit_readout(features, behavior, stretch=np.zeros(900, int), guard_bins=4)
    assert (fitted.weights[3] == 0).all() and np.isfinite(fitted.weights).all()


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 200), min_size=1, max_size=12).filter(lambda ls: sum(ls) >= 20),
    guard=st.integers(0, 40),
)
def test_inner_folds_score_every_bin_once_and_keep_their_distance(lengths, guard):
    stretch = np.repeat(np.arange(len(lengths)), lengths)
    folds = inner_folds(stretch, guard_bins=guard)
    assert (sum(score.astype(int) for _, score in folds) == 1).all()
    kept = min(guard, len(stretch) // 9 // 4)
    for fit, score in folds:
        assert not (fit & score).any()
        for t in np.flatnonzero(score):
            near = np.arange(max(0, t - kept), min(len(stretch), t + kept + 1))
            assert not (fit[near] & (stretch[near] == stretch[t])).any()


def test_short_stretches_are_never_cut():
    stretch = np.repeat(np.arange(60), 25)
    for _, score in inner_folds(stretch, guard_bins=10):
        assert set(score.reshape(60, 25).sum(1)) <= {0, 25}


def test_arrays_rebuild_the_readout():
    features, behavior = _data()
    fitted = fit_readout(features, behavior, stretch=np.zeros(900, int), guard_bins=4)
    again = Readout.from_arrays(fitted.to_arrays())
    np.testing.assert_array_equal(again.predict(features), fitted.predict(features))
    with pytest.raises(InputError, match="must hold the arrays"):
        Readout.from_arrays({"weights": fitted.weights})


def test_bad_input_is_refused():
    features, behavior = _data()
    stretch = np.zeros(900, int)
    with pytest.raises(InputError, match="same bins"):
        module._check(features[:-1], behavior)
    with pytest.raises(InputError, match="at least 20"):
        fit_readout(features, np.where(np.arange(900)[:, None] < 10, behavior, np.nan), stretch=stretch, guard_bins=0)
    features[5, 2] = np.nan
    with pytest.raises(InputError, match="finite in training time"):
        fit_readout(features, behavior, stretch=stretch, guard_bins=0)
    fitted = fit_readout(features[6:], behavior[6:], stretch=stretch[6:], guard_bins=0)
    with pytest.raises(InputError, match="20 columns"):
        fitted.predict(features[:, :3])
