"""Decoding fits on training time, scores on test time, and finds what is there and nothing that is not."""

from dataclasses import replace

import numpy as np
import pytest
from evaluation_sessions import linear_session, session_of, smooth

from spikefield.errors import InputError
from spikefield.evaluation import baselines
from spikefield.evaluation.baselines import (
    candidate_reaches,
    excess,
    null,
    ridge_lfp,
    ridge_spikes,
    shuffled_behavior,
    wiener,
    wiener_null,
)
from spikefield.evaluation.lags import bins_of
from spikefield.evaluation.metrics import r2
from spikefield.evaluation.readout import decode, fit


def _trial_session(seed=0, n_trials=60):
    """Return a session in which behaviour is the time within a trial plus little else."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(15, 26, n_trials)
    segment = np.repeat(np.arange(n_trials), lengths)
    phase = np.concatenate([np.arange(n) for n in lengths])
    own = np.repeat(rng.normal(size=n_trials), lengths)
    behavior = np.stack([phase + rng.normal(size=len(phase)), own], axis=1)
    lfp = np.stack([phase, own], axis=1) + 0.1 * rng.normal(size=(len(phase), 2))
    return session_of(behavior, lfp=lfp.astype("f4"), segment=segment, has_trials=True, bin_width_ms=100.0)


def test_recovers_what_the_channels_carry():
    session = linear_session(noise=0.3)
    decoded = decode(session, session.lfp)
    assert decoded.r2.min() > 0.95
    assert decoded.names == session.behavior_names
    assert decoded.n_test == session.split.test.sum() == len(decoded.test_bins) == len(decoded.predicted)
    np.testing.assert_array_equal(decoded.r2, r2(session.behavior[decoded.test_bins], decoded.predicted))
    assert decoded.mean_r2 == pytest.approx(decoded.r2.mean())


def test_the_simple_decoders_beat_no_lags():
    session = linear_session(noise=3.0)
    assert ridge_lfp(session).mean_r2 > decode(session, session.lfp).mean_r2
    assert ridge_spikes(session).mean_r2 > decode(session, session.counts).mean_r2 > 0.5


def test_what_is_not_training_time_changes_no_fitted_number():
    session = linear_session()
    held_out = ~session.split.train
    corrupted = replace(
        session,
        behavior=np.where(held_out[:, None], 1e6, session.behavior),
        lfp=np.where(held_out[:, None], np.float32(-1e4), session.lfp),
    )
    for lags in ((0,), (-2, 0, 2)):
        before, after = fit(session, session.lfp, lags=lags), fit(corrupted, corrupted.lfp, lags=lags)
        for name, array in before.to_arrays().items():
            np.testing.assert_array_equal(array, after.to_arrays()[name])
    before, after = ridge_lfp(session), ridge_lfp(corrupted)
    assert before.lags == after.lags
    np.testing.assert_array_equal(before.readout.weights, after.readout.weights)


def test_unmeasured_behaviour_is_neither_fitted_nor_scored():
    session = linear_session()
    behavior = session.behavior.copy()
    bins = bins_of(session.stretches("test"))
    behavior[bins[:40]] = np.nan
    behavior[bins[40:60], 0] = np.nan
    behavior[bins_of(session.stretches("train"))[::7]] = np.nan
    decoded = decode(replace(session, behavior=behavior), session.lfp)
    assert decoded.n_test == session.split.test.sum() - 40
    np.testing.assert_array_equal(decoded.test_bins, bins[40:])
    assert np.isfinite(decoded.r2).all()


def test_features_are_read_inside_stretches_only():
    session = linear_session()
    features = np.full_like(session.lfp, np.nan)
    for kind in ("train", "test"):
        features[session.split.kind(kind)] = session.lfp[session.split.kind(kind)]
    np.testing.assert_array_equal(
        decode(session, features, lags=(-3, 0, 3)).r2, decode(session, session.lfp, lags=(-3, 0, 3)).r2
    )


def test_reaches_are_chosen_by_the_data():
    rng = np.random.default_rng(0)
    channels = smooth(rng, 4000, 4, width=3).astype("f4")
    late = np.roll(channels, 6, axis=0)[:, :2].astype(float)
    session = session_of(late + 0.1 * rng.normal(size=late.shape), lfp=channels, bin_width_ms=50.0)
    decoded = wiener(session, session.lfp)
    assert min(decoded.lags) <= -6 and decoded.mean_r2 > 0.7
    assert len(candidate_reaches(100.0)) == 4 and len(candidate_reaches(1000.0)) == 1


def test_null_of_a_continuous_recording_is_near_zero():
    session = linear_session(noise=0.3)
    chance = null(session, session.lfp, seed=0)
    assert chance.r2_of_shuffle.shape == (5, 2)
    assert -0.3 < chance.mean_r2 < 0.05
    assert (excess(decode(session, session.lfp), chance) > 0.9).all()
    np.testing.assert_array_equal(chance.r2, null(session, session.lfp, seed=0).r2)
    assert not np.array_equal(chance.r2, null(session, session.lfp, seed=1).r2)


def test_null_of_a_lagged_ridge_reads_the_same_lags(monkeypatch):
    session = linear_session(noise=3.0, n_channels=4, bin_width_ms=10.0)
    decoded, seen = ridge_lfp(session), {}
    monkeypatch.setattr(baselines, "decode", lambda s, x, *, lags: seen.update(x=x, lags=lags) or decoded)
    wiener_null(session, session.lfp, decoded, seed=0)
    assert seen["lags"] == decoded.lags and decoded.width_bins > 1
    again = fit(session, seen["x"], lags=seen["lags"])
    np.testing.assert_array_equal(again.weights, decoded.readout.weights)


def test_null_of_trials_is_what_time_in_trial_gives():
    session = _trial_session()
    decoded, chance = decode(session, session.lfp), null(session, session.lfp, seed=0)
    assert decoded.r2.min() > 0.9
    assert chance.r2[0] > 0.9, "time in trial predicts the first dimension, whoever's trial it is"
    assert chance.r2[1] < 0.1, "nothing predicts another trial's own value"
    assert abs(excess(decoded, chance)[0]) < 0.05 and excess(decoded, chance)[1] > 0.8


def test_shifts_keep_the_values_of_each_stretch():
    session = linear_session()
    shuffled = shuffled_behavior(session, np.random.default_rng(0))
    for kind in ("train", "valid", "test"):
        for start, end in session.stretches(kind):
            before, after = session.behavior[start:end], shuffled[start:end]
            assert not np.array_equal(before, after)
            shift = int(np.flatnonzero((after == before[0]).all(axis=1))[0])
            assert (end - start) // 4 <= shift <= (end - start) * 3 // 4 + 1
            np.testing.assert_array_equal(np.roll(before, shift, axis=0), after)


def test_no_trial_keeps_its_own_behaviour():
    session = _trial_session()
    first_bin = np.searchsorted(session.segment, np.arange(60))
    trial_of = {value: trial for trial, value in zip(session.segment, session.behavior[:, 1], strict=True)}
    shuffled = shuffled_behavior(session, np.random.default_rng(0))
    for kind in ("train", "valid", "test"):
        givers = set()
        for start, end in session.stretches(kind):
            own = session.segment[start]
            values = shuffled[start:end][np.isfinite(shuffled[start:end, 1])]
            (giver,) = {trial_of[value] for value in values[:, 1]}
            givers.add(giver)
            assert giver != own and session.split.kind(kind)[session.segment == giver].any()
            for t in range(start, end):
                source = first_bin[giver] + t - first_bin[own]
                has_source = source < len(session.segment) and session.segment[source] == giver
                if has_source and session.split.kind(kind)[source]:
                    np.testing.assert_array_equal(shuffled[t], session.behavior[source])
                else:
                    assert np.isnan(shuffled[t]).all()
        assert len(givers) == len(session.stretches(kind))


def test_trials_inside_one_long_recording_are_shifted():
    session = linear_session(has_trials=True)
    shuffled = shuffled_behavior(session, np.random.default_rng(0))
    assert np.isfinite(shuffled).all()
    bins = bins_of(session.stretches("train"))
    np.testing.assert_allclose(np.sort(shuffled[bins, 0]), np.sort(session.behavior[bins, 0]))


def test_bad_input_is_refused():
    session = linear_session()
    with pytest.raises(InputError, match="one row for each of the 3000 bins"):
        decode(session, session.lfp[:-1])
    with pytest.raises(InputError, match="no spikes"):
        ridge_spikes(replace(session, counts=None))
    unscored = np.where(session.split.test[:, None], np.nan, session.behavior)
    with pytest.raises(InputError, match="no behaviour in its test time"):
        decode(replace(session, behavior=unscored), session.lfp)
    missing = session.lfp.copy()
    missing[session.split.test] = np.nan
    with pytest.raises(InputError, match="finite wherever"):
        decode(session, missing)
