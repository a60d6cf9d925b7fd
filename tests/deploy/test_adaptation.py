"""The recursive readout equals ridge on all bins so far; the smoother equals a filter written out, and helps."""

from dataclasses import replace

import numpy as np
import pytest

from spikefield.deploy.adaptation import KalmanSmoother, RecursiveReadout
from spikefield.deploy.readout import LinearReadout
from spikefield.errors import InputError


@pytest.fixture(scope="module")
def bins():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(400, 8)) @ rng.normal(size=(8, 8)) + 2
    return z, z @ rng.normal(size=(8, 2)) + rng.normal(size=(400, 2)) + 5


def ridge(z, y, start, penalties, weight=None):
    """Solve ridge towards a start in one go."""
    x = np.column_stack([z, np.ones(len(z))])
    weight = np.ones(len(z)) if weight is None else weight
    held = np.diag(np.append(penalties, np.mean(penalties) * 1e-6))
    return np.linalg.solve((x.T * weight) @ x + held, (x.T * weight) @ y + held @ start)


def weights(readout):
    return np.vstack([readout.weights, readout.intercept])


def test_recursive_equals_batch_ridge(bins):
    z, y = bins
    recursive = RecursiveReadout.blank(8, 2, penalty=3.0)
    for first, end in ((0, 1), (1, 150), (150, 150), (150, 400)):
        recursive.update(z[first:end], y[first:end])
    np.testing.assert_allclose(weights(recursive.current()), ridge(z, y, np.zeros((9, 2)), np.full(8, 3.0)), atol=1e-6)


def test_it_starts_from_a_readout_and_is_held_to_it(bins):
    z, y = bins
    start = LinearReadout(np.full((8, 2), 0.5), np.array([1.0, -1.0]))
    penalties = np.linspace(1, 50, 8)
    recursive = RecursiveReadout(start, penalty=penalties)
    recursive.update(z, y)
    np.testing.assert_allclose(weights(recursive.current()), ridge(z, y, weights(start), penalties), atol=1e-6)


def test_memory_weighs_older_bins_less(bins):
    z, y = bins
    recursive = RecursiveReadout.blank(8, 2, penalty=1e-6, memory_bins=50.0)
    recursive.update(z, y)
    weight = np.exp(-np.arange(len(z))[::-1] / 50)
    expected = ridge(z, y, np.zeros((9, 2)), np.full(8, 1e-6 * np.exp(-len(z) / 50)), weight)
    np.testing.assert_allclose(weights(recursive.current()), expected, atol=1e-5)


def test_bins_without_labels_teach_nothing(bins):
    z, y = bins
    first, second = (RecursiveReadout.blank(8, 2, penalty=3.0) for _ in range(2))
    gaps = y.copy()
    gaps[100:200, 1] = np.nan
    first.update(z, gaps)
    second.update(np.delete(z, range(100, 200), 0), np.delete(y, range(100, 200), 0))
    np.testing.assert_array_equal(weights(first.current()), weights(second.current()))
    assert first.n_bins == 300


@pytest.fixture(scope="module")
def walk():
    rng = np.random.default_rng(1)
    truth = np.zeros((600, 2))
    for t in range(1, len(truth)):
        truth[t] = 0.97 * truth[t - 1] + 0.1 * rng.normal(size=2)
    return truth + 1, truth + 1 + 0.4 * rng.normal(size=truth.shape)


def test_the_smoother_equals_the_filter_written_out_and_helps(walk):
    truth, decoded = walk
    smoother = KalmanSmoother.fit(decoded[:300], truth[:300])
    state = smoother.start()
    smoothed = np.concatenate([state.push(decoded[300:317]), state.push(decoded[317:])])
    value, spread = decoded[300] - smoother.mean, smoother.readout_noise
    for t in range(301, 600):
        value, spread = smoother.step @ value, smoother.step @ spread @ smoother.step.T + smoother.step_noise
        gain = spread @ np.linalg.inv(spread + smoother.readout_noise)
        value, spread = value + gain @ (decoded[t] - smoother.mean - value), (np.eye(2) - gain) @ spread
        np.testing.assert_allclose(smoothed[t - 300], value + smoother.mean, atol=1e-9)
    assert np.square(smoothed - truth[300:]).mean() < 0.5 * np.square(decoded[300:] - truth[300:]).mean()


def test_errors_that_last_are_not_smoothed_into_worse_ones():
    rng = np.random.default_rng(4)
    truth = np.sin(np.arange(900)[:, None] / [8.0, 11.0])  # a hand that goes back and forth, with momentum
    lasting = np.zeros_like(truth)
    for t in range(1, len(truth)):
        lasting[t] = 0.97 * lasting[t - 1] + 0.12 * rng.normal(size=2)
    decoded = truth + lasting
    smoother = KalmanSmoother.fit(decoded[:450], truth[:450])
    believed = replace(smoother, readout_noise=np.cov(lasting[:450].T))

    def error(run, bins):
        return np.square((decoded if run is None else run.start().push(decoded))[bins] - truth[bins]).mean()

    assert error(smoother, slice(450)) <= error(None, slice(450))
    assert error(smoother, slice(450, None)) < 1.01 * error(None, slice(450, None))
    assert error(believed, slice(450, None)) > 1.05 * error(None, slice(450, None))


def test_the_smoother_predicts_through_a_gap_and_forgets_at_a_reset(walk):
    truth, decoded = walk
    state = KalmanSmoother.fit(decoded, truth).start()
    state.push(decoded[:50])
    gone = state.push(np.full((3, 2), np.nan))
    assert np.isfinite(gone).all()
    state.reset()
    np.testing.assert_array_equal(state.push(decoded[:1]), decoded[:1])


def test_what_cannot_be_is_refused(bins):
    z, y = bins
    with pytest.raises(InputError, match="`penalty` must be positive"):
        RecursiveReadout.blank(8, 2, penalty=0.0)
    with pytest.raises(InputError, match="`memory_bins` must be more than 1"):
        RecursiveReadout.blank(8, 2, penalty=1.0, memory_bins=0.5)
    recursive = RecursiveReadout.blank(8, 2, penalty=1.0)
    with pytest.raises(InputError, match=r"must be \(bin, 8\) and \(bin, 2\)"):
        recursive.update(z[:, :7], y)
    recursive.update(z[:19], y[:19])
    with pytest.raises(InputError, match="at least 20 labelled bins, got 19"):
        recursive.current()
    with pytest.raises(InputError, match="at least 20 pairs of bins, got 9"):
        KalmanSmoother.fit(y[:10], y[:10])
