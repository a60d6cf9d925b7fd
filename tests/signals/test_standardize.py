"""Standardisation sees training bins only and can be undone."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikefield.errors import InputError
from spikefield.signals.standardize import Standardizer


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), robust=st.booleans(), missing=st.booleans())
def test_statistics_equal_a_slow_twin(seed, robust, missing):
    rng = np.random.default_rng(seed)
    values = 3 * rng.normal(size=(200, 4)) + 10
    if missing:
        values[rng.random(values.shape) < 0.2] = np.nan
    within = rng.random(200) < 0.7
    fitted = Standardizer.fit(values, within=within, robust=robust)
    for column in range(4):
        rows = values[within, column]
        rows = rows[np.isfinite(rows)]
        center = np.median(rows) if robust else rows.mean()
        scale = 1.4826 * np.median(np.abs(rows - center)) if robust else rows.std()
        assert fitted.center[column] == pytest.approx(center, rel=1e-12)
        assert fitted.scale[column] == pytest.approx(scale, rel=1e-12)


@pytest.mark.parametrize("robust", [False, True])
def test_bins_outside_training_time_change_nothing(robust):
    rng = np.random.default_rng(0)
    values, within = rng.normal(size=(100, 3)), np.arange(100) < 60
    fitted = Standardizer.fit(values, within=within, robust=robust)
    values[60:] = 1e9
    again = Standardizer.fit(values, within=within, robust=robust)
    assert np.array_equal(fitted.center, again.center) and np.array_equal(fitted.scale, again.scale)


def test_float32_far_from_zero_is_summed_in_float64():
    values = (np.random.default_rng(0).normal(size=(200_000, 1)) + 10_000).astype(np.float32)
    fitted = Standardizer.fit(values, within=np.ones(200_000, bool))
    assert fitted.scale[0] == pytest.approx(values.astype(np.float64).std(), rel=1e-9)


def test_invert_undoes_apply_and_saving_is_identity():
    values = np.random.default_rng(0).normal(size=(5, 40, 3)).astype(np.float32)
    fitted = Standardizer.fit(values, within=np.ones((5, 40), bool))
    again = Standardizer.from_dict(json.loads(json.dumps(fitted.to_dict())))
    applied = again.apply(values)
    assert applied.dtype == np.float32
    np.testing.assert_array_equal(applied, fitted.apply(values))
    np.testing.assert_allclose(again.invert(applied), values, atol=1e-6)
    np.testing.assert_allclose(applied.mean(axis=(0, 1)), 0, atol=1e-6)


@pytest.mark.parametrize("robust", [False, True])
def test_constant_and_empty_columns_are_refused_by_name(robust):
    values = np.random.default_rng(0).normal(size=(50, 3))
    values[:, 1] = 0.1
    values[:, 2] = np.nan
    with pytest.raises(InputError, match=r"2 of 3 columns.*M1 002, M1 003"):
        Standardizer.fit(values, within=np.ones(50, bool), robust=robust, names=["M1 001", "M1 002", "M1 003"])


def test_refuses_an_empty_mask_and_other_columns():
    values = np.random.default_rng(0).normal(size=(50, 3))
    with pytest.raises(InputError, match="no training bin"):
        Standardizer.fit(values, within=np.zeros(50, bool))
    with pytest.raises(InputError, match="3 columns"):
        Standardizer.fit(values, within=np.ones(50, bool)).apply(values[:, :2])
