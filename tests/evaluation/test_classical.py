"""The classical decoders decode, are tuned on training time, and read nothing that they should not."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from evaluation_sessions import linear_session, session_of, smooth

from spikefield.errors import InputError
from spikefield.evaluation import classical
from spikefield.evaluation.boosting import fit_boosted
from spikefield.evaluation.classical import CLASSICAL, boosted, gru, kalman, ridge_power
from spikefield.evaluation.gru import fit_gru
from spikefield.evaluation.kalman import Kalman, fit_kalman
from spikefield.evaluation.lags import bins_of
from spikefield.evaluation.metrics import r2
from spikefield.evaluation.readout import decode, scored
from spikefield.evaluation.tuning import inner_stretches, tuned


@pytest.fixture(autouse=True)
def _few_settings(monkeypatch):
    monkeypatch.setattr(classical, "_SHIFTS_S", (0.0, 0.1))
    monkeypatch.setattr(classical, "_COMPONENTS_AND_TREES", ((2, 20), (4, 20)))
    monkeypatch.setattr(classical, "_DROPOUT_AND_STEPS", ((0.1, 40),))
    monkeypatch.setattr(classical, "_MOST_WINDOW_BINS", 25)


def _quick(modality):
    return [partial(kalman, modality=modality), partial(boosted, modality=modality), partial(gru, modality=modality)]


@pytest.mark.parametrize(
    ("which", "modality"),
    [(0, "spikes"), (0, "lfp"), (1, "lfp"), (2, "lfp")],
    ids=["kalman", "kalman", "boosted", "gru"],
)
def test_each_decoder_finds_what_the_channels_carry(which, modality):
    session = linear_session(n_bins=1200, noise=1.0)
    decoded = _quick(modality)[which](session)
    assert decoded.r2.min() > 0.6
    np.testing.assert_array_equal(decoded.r2, r2(session.behavior[decoded.test_bins], decoded.predicted))


@pytest.mark.parametrize("which", [0, 1, 2], ids=["kalman", "boosted", "gru"])
def test_what_is_not_training_time_changes_no_decoder(which):
    session = linear_session(n_bins=1200)
    first, second = session.stretches("test")[:2]
    corrupt = ~session.split.train
    corrupt[slice(*first)] = False
    other = replace(
        session,
        behavior=np.where(~session.split.train[:, None], 50 * session.behavior, session.behavior),
        lfp=np.where(corrupt[:, None], np.float32(1000), session.lfp),
    )
    decode_ = _quick("lfp")[which]
    before, after = decode_(session), decode_(other)
    n_first = first[1] - first[0]
    np.testing.assert_array_equal(before.predicted[:n_first], after.predicted[:n_first])
    assert not np.array_equal(before.predicted[n_first:], after.predicted[n_first:])
    assert second[0] > first[1]


@pytest.mark.parametrize("which", [0, 1, 2], ids=["kalman", "boosted", "gru"])
def test_unmeasured_behaviour_is_allowed(which):
    session = linear_session(n_bins=1200, noise=0.5)
    behavior = session.behavior.copy()
    behavior[::5] = np.nan
    behavior[2::17, 1] = np.nan
    decoded = _quick("lfp")[which](replace(session, behavior=behavior))
    assert decoded.r2.min() > 0.4 and np.isfinite(decoded.predicted).all()


def test_trees_decode_what_a_line_cannot():
    rng = np.random.default_rng(0)
    hidden = smooth(rng, 3000, 2)
    lfp = np.concatenate([hidden, hidden + 0.1 * rng.normal(size=hidden.shape)], axis=1).astype("f4")
    session = session_of(np.abs(hidden), lfp=lfp)
    assert decode(session, session.lfp).mean_r2 < 0.2
    assert boosted(session, "lfp").mean_r2 > 0.4


def _slow_kalman(model, channels, observe, noise):
    """The textbook form: gain K = P Cᵀ (C P Cᵀ + Q)⁻¹."""
    mean, covariance, states = np.zeros(len(model.step)), model.start, []
    for t, row in enumerate(channels - model.channel_mean):
        if t:
            mean, covariance = model.step @ mean, model.step @ covariance @ model.step.T + model.step_noise
        gain = covariance @ observe.T @ np.linalg.inv(observe @ covariance @ observe.T + noise)
        mean = mean + gain @ (row - observe @ mean)
        covariance = (np.eye(len(mean)) - gain @ observe) @ covariance
        states.append(mean[: len(model.behavior_mean)])
    return np.array(states) + model.behavior_mean


def test_kalman_equals_the_textbook_filter():
    rng = np.random.default_rng(0)
    step, observe = np.array([[0.9, 0.1], [-0.1, 0.9]]), rng.normal(size=(7, 2))
    root = rng.normal(size=(7, 7))
    noise = root @ root.T + np.eye(7)
    inform = np.linalg.solve(noise, observe).T
    model = Kalman(step, 0.1 * np.eye(2), np.eye(2), inform, inform @ observe, rng.normal(size=7), rng.normal(size=2))
    channels = rng.normal(size=(40, 7))
    np.testing.assert_allclose(model.filter(channels), _slow_kalman(model, channels, observe, noise), rtol=1e-8)


@pytest.mark.parametrize("order", [1, 2])
def test_kalman_recovers_a_planted_system(order):
    """A filter with the fitted numbers comes as close to the state as one that knows the true system."""
    rng = np.random.default_rng(1)
    step, observe = np.array([[0.95, 0.1], [-0.1, 0.95]]), rng.normal(size=(10, 2))
    state, states = np.zeros(2), []
    for shock in rng.normal(size=(4000, 2)):
        state = step @ state + np.sqrt(0.05) * shock
        states.append(state)
    states = np.array(states)
    channels = states @ observe.T + 2 * rng.normal(size=(4000, 10))
    train, test = [(0, 1500), (1500, 3000)], [(3000, 4000)]
    fitted = fit_kalman(channels, states, train, order=order, shift_bins=0)(test)
    inform = observe.T / 4
    true = Kalman(step, 0.05 * np.eye(2), np.eye(2), inform, inform @ observe, np.zeros(10), np.zeros(2))
    best = r2(states[3000:], true.filter(channels[3000:])).mean()
    assert r2(states[3000:], fitted).mean() == pytest.approx(best, abs=0.01)


def test_kalman_never_looks_back_across_stretches_or_ahead():
    session = linear_session(n_bins=600)
    predict = fit_kalman(session.lfp, session.behavior, session.stretches("train"), order=2, shift_bins=0)
    (start, end), *_ = session.stretches("test")
    whole = predict([(start, end)])
    np.testing.assert_allclose(predict([(start, start + 9)]), whole[:9], rtol=1e-12)
    np.testing.assert_array_equal(predict([(0, 30), (start, end)])[30:], whole)


def test_tuning_picks_by_training_time_and_fits_on_all_of_it():
    session = linear_session(n_bins=1200)
    asked = []

    def candidate(offset, stretches):
        asked.append((offset, bins_of(stretches)))
        return lambda score: session.behavior[bins_of(score)] + offset

    decoded = tuned(session, [partial(candidate, offset) for offset in (0.5, 0.0, -2.0)])
    assert decoded.mean_r2 == pytest.approx(1.0)
    assert asked[-1][0] == 0.0 and np.array_equal(asked[-1][1], np.flatnonzero(session.split.train))
    assert all(session.split.train[bins].all() for _, bins in asked) and len(asked) == 10


def test_inner_stretches_part_the_training_bins():
    session = linear_session(n_bins=1200)
    folds = inner_stretches(session)
    scored_bins = np.concatenate([bins_of(score) for _, score in folds])
    assert sorted(scored_bins) == np.flatnonzero(session.split.train).tolist()
    for fit, score in folds:
        assert not np.intersect1d(bins_of(fit), bins_of(score)).size
        assert all(len(np.unique(session.segment[start:end])) == 1 for start, end in fit + score)


def test_the_same_seed_gives_the_same_network():
    session = linear_session(n_bins=600)
    test = session.stretches("test")
    runs = [
        fit_gru(
            session.lfp,
            session.behavior,
            session.stretches("train"),
            window_bins=30,
            dropout=0.2,
            n_steps=5,
            seed=seed,
        )(test)
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_boosting_reads_a_session_with_fewer_channels_than_components():
    session = linear_session(n_bins=1200, n_channels=2, noise=0.1)
    stretches = session.stretches("train")
    predict = fit_boosted(session.lfp, session.behavior, stretches, lags=(0,), guard_bins=5, n_components=8, n_trees=20)
    assert scored(session, predict(session.stretches("test"))).mean_r2 > 0.4


def test_band_power_needs_band_power():
    session = linear_session(n_bins=600)
    with pytest.raises(InputError, match="no band power"):
        ridge_power(session)
    names = tuple(f"c{i}/{'lmp' if i % 2 else '4-8Hz'}" for i in range(12))
    assert ridge_power(replace(session, channel_ids=names)).mean_r2 > 0.5


def test_names_of_decoders():
    assert {"ridge-spikes", "ridge-lfp", "kalman-lfp", "gru-spikes", "boosted-lfp"} <= set(CLASSICAL)
