"""Scores equal scikit-learn's, and count only what was measured."""

import numpy as np
import pytest
from sklearn.metrics import r2_score

from spikefield.errors import InputError
from spikefield.evaluation.metrics import _measured, correlation, n_scored, r2


def _pair(seed=0):
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(200, 3)) + 5
    return true, true + rng.normal(size=(200, 3))


def test_r2_equals_scikit_learn():
    true, predicted = _pair()
    np.testing.assert_allclose(r2(true, predicted), r2_score(true, predicted, multioutput="raw_values"), rtol=1e-12)


def test_unmeasured_bins_are_left_out_of_their_dimension_only():
    true, predicted = _pair()
    true[:50, 0] = np.nan
    true[190:, 2] = np.nan
    assert n_scored(true).tolist() == [150, 200, 190]
    expected = [r2_score(true[50:, 0], predicted[50:, 0]), r2_score(true[:, 1], predicted[:, 1])]
    np.testing.assert_allclose(r2(true, predicted)[:2], expected, rtol=1e-12)
    assert correlation(true, predicted)[2] == pytest.approx(np.corrcoef(true[:190, 2], predicted[:190, 2])[0, 1])


def test_correlation_equals_numpy():
    true, predicted = _pair(1)
    expected = [np.corrcoef(true[:, i], predicted[:, i])[0, 1] for i in range(3)]
    np.testing.assert_allclose(correlation(true, predicted), expected, rtol=1e-10)


def test_a_dimension_that_never_changes_has_no_score():
    true, predicted = _pair()
    true[:, 1] = 0.0
    true[1:, 2] = np.nan
    assert np.isnan(r2(true, predicted)).tolist() == [False, True, True]
    assert np.isnan(correlation(true, predicted)).tolist() == [False, True, True]


def test_a_missing_prediction_is_refused():
    true, predicted = _pair()
    predicted[7, 1] = np.nan
    with pytest.raises(InputError, match="bin 7, dim 1"):
        r2(true, predicted)
    true[7, 1] = np.nan
    assert np.isfinite(r2(true, predicted)).all()


def test_other_shapes_are_refused():
    with pytest.raises(InputError, match="shape"):
        _measured(np.zeros((4, 2)), np.zeros((4, 1)))
