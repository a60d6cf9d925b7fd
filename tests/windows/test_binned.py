"""Sessions on a grid: what is counted and averaged, gaps and trials, and statistics from training time only."""

import numpy as np
import pytest

import tiny
from spikefield.errors import InputError
from spikefield.evaluation.readout import fit
from spikefield.recordings.arrays import from_arrays
from spikefield.windows.binned import BinningConfig, bin_session, choose_bin_width_ms
from spikefield.windows.splits import SplitConfig

TWENTY = BinningConfig(bin_width_ms=20.0)


def bins_of(session, **config):
    return bin_session(session, config=BinningConfig(**{"bin_width_ms": 20.0, **config}))


def test_counts_and_times_lie_on_the_grid():
    given = tiny.arrays(0)
    session = bin_session(from_arrays(**given), config=TWENTY)
    assert session.n_bins == 2500 and session.start_s == 0.0
    np.testing.assert_allclose(session.time_s[[0, -1]], [0.01, 49.99])
    edges = np.arange(2501) * 0.02
    for unit in range(10):
        twin, _ = np.histogram(given["spike_times"][given["spike_units"] == unit], edges)
        assert np.array_equal(session.counts[:, unit], twin)
    np.testing.assert_allclose(session.behavior, given["behavior"])


def test_field_at_the_bin_rate_is_standardised_on_training_time():
    given = tiny.arrays(0)
    session = bin_session(from_arrays(**given), config=TWENTY)
    lfp, train = given["lfp"], session.split.train
    twin = (lfp - lfp[train].mean(0)) / lfp[train].std(0)
    np.testing.assert_allclose(session.lfp, twin, atol=1e-4)


@pytest.mark.parametrize("rate_hz", [50.0, 250.0])
def test_statistics_come_from_training_time_only(rate_hz):
    given = tiny.arrays(0, channels=4)
    rng = np.random.default_rng(1)
    given |= {"lfp": rng.normal(size=(round(50 * rate_hz), 4)), "lfp_rate_hz": rate_hz}
    clean = bin_session(from_arrays(**given), config=TWENTY)
    held_out = clean.split.valid | clean.split.test
    spoilt = dict(given)
    lfp_bin = (np.arange(len(given["lfp"])) / rate_hz / 0.02 + 1e-9).astype(int)
    spoilt["lfp"] = np.where(held_out[lfp_bin][:, None], 1e3 * rng.normal(size=given["lfp"].shape) + 500, given["lfp"])
    spoilt["behavior"] = np.where(held_out[:, None], 77.0, given["behavior"])
    extra = clean.time_s[held_out]
    spoilt["spike_times"] = np.concatenate([given["spike_times"], extra, extra])
    units = np.concatenate([np.full(len(extra), 3), np.full(len(extra), 10)])
    spoilt["spike_units"] = np.concatenate([given["spike_units"], units])
    other = bin_session(from_arrays(**spoilt), config=TWENTY)

    assert other.unit_ids == clean.unit_ids, "the unit that fires in held-out time only is not chosen"
    assert other.chain.to_dict() == clean.chain.to_dict()
    for name, array in clean.chain.arrays().items():
        assert np.array_equal(other.chain.arrays()[name], array), name
    for kind in ("train", "valid", "test"):
        assert np.array_equal(other.split.kind(kind), clean.split.kind(kind))
    train = clean.split.train
    for stream in ("counts", "lfp", "behavior"):
        assert np.array_equal(getattr(other, stream)[train], getattr(clean, stream)[train]), stream
    for stream in ("counts", "lfp"):
        ours = fit(clean, getattr(clean, stream)).to_arrays()
        for name, array in fit(other, getattr(other, stream)).to_arrays().items():
            assert np.array_equal(array, ours[name]), name


def test_units_are_chosen_by_their_rate_in_training_time():
    session = tiny.session(0)
    rate_hz = bins_of(session).counts[bins_of(session).split.train].mean(0) * 50
    lowest = float(np.sort(rate_hz)[3])
    kept = bins_of(session, min_unit_rate_hz=lowest)
    assert kept.unit_ids == tuple(f"unit{i:03d}" for i in np.flatnonzero(rate_hz >= lowest))
    with pytest.raises(InputError, match="s0: no unit fires at 1000 Hz or more in training time"):
        bins_of(session, min_unit_rate_hz=1000.0)


def test_gaps_and_intervals_divide_the_session():
    given = tiny.arrays(0)
    given["lfp"][1000:1100] = np.nan
    given["intervals_s"] = [[0.0, 20.0], [22.0, 35.01], [35.05, 50.0]]
    session = bin_session(from_arrays(**given), config=TWENTY)
    assert set(session.segment[:1000]) == {0}
    assert set(session.segment[1000:1100]) == {-1}
    assert set(session.segment[1100:1750]) == {1}
    assert session.segment[1750:1753].tolist() == [-1, -1, -1], "bins that no interval holds whole"
    assert set(session.segment[1753:]) == {2}
    for kind in ("train", "valid", "test"):
        for start, end in session.stretches(kind):
            assert len(set(session.segment[start:end])) == 1
            assert session.split.kind(kind)[start:end].all()
            assert np.isfinite(session.lfp[start:end]).all()


def test_trials_inside_valid_time_are_not_cut():
    edges = np.arange(0.3, 49.0, 1.0)
    session = bin_session(from_arrays(**tiny.arrays(0), trials_s=np.stack([edges, edges + 0.9], 1)), config=TWENTY)
    assert session.has_trials
    for start in edges:
        first, last = round(start * 50), round((start + 0.9) * 50)
        kinds = {k for k in ("train", "valid", "test") if session.split.kind(k)[first:last].any()}
        assert len(kinds) <= 1
    assert not tiny.binned(0).has_trials


def test_a_circular_dim_becomes_cosine_and_sine_before_it_is_averaged():
    given = tiny.arrays(0)
    position = (np.arange(5000) * 0.013) % 1.0
    given |= {"behavior": position, "behavior_rate_hz": 100.0, "behavior_names": ["x"], "behavior_period": [1.0]}
    session = bin_session(from_arrays(**given), config=TWENTY)
    assert session.behavior_names == ("cos(x)", "sin(x)")
    pairs = 2 * np.pi * position.reshape(-1, 2)
    twin = np.stack([np.cos(pairs).mean(1), np.sin(pairs).mean(1)], 1)
    np.testing.assert_allclose(session.behavior, twin, atol=1e-12)


def counts_session(bin_width_ms=10.0, **more):
    rng = np.random.default_rng(0)
    return from_arrays(session="grid", spike_counts=rng.poisson(0.3, size=(5000, 5)), bin_width_ms=bin_width_ms, **more)


def test_finer_counts_are_summed():
    session = counts_session()
    binned = bin_session(session, config=TWENTY)
    own = np.asarray(session.spike_counts.counts).astype(int)
    assert np.array_equal(binned.counts, own[0::2] + own[1::2])
    assert binned.counts.sum() == own.sum()
    assert np.array_equal(bins_of(session, bin_width_ms=10.0).counts, own)


def test_counts_keep_their_place_where_valid_time_starts_late():
    session = counts_session(intervals_s=[[1.0, 48.0]])
    binned = bin_session(session, config=TWENTY)
    own = np.asarray(session.spike_counts.counts).astype(int)[100:4800]
    assert binned.start_s == 1.0 and np.array_equal(binned.counts, own[0::2] + own[1::2])


@pytest.mark.parametrize(("width", "start"), [(15.0, 0.0), (20.0, 0.005)])
def test_counts_that_do_not_fit_the_grid_are_refused(width, start):
    with pytest.raises(InputError, match="`bin_width_ms` must be a multiple of the counts' own 10 ms bins"):
        bins_of(counts_session(intervals_s=[[start, 48.0]]), bin_width_ms=width)


def test_absent_streams_are_none_and_are_asked_for_in_vain():
    spikes = tiny.binned(0, without=("lfp", "behavior"))
    assert spikes.lfp is None and spikes.behavior is None and spikes.chain is None and spikes.channel_ids == ()
    field = tiny.binned(0, without=("spike",))
    assert field.counts is None and field.unit_ids == ()
    with pytest.raises(InputError, match="session 's0' has no lfp, which this stage needs"):
        spikes.require("lfp")
    with pytest.raises(InputError, match="session 's0' has no spikes"):
        field.require("spikes")


def test_a_channel_may_be_flat_at_first():
    given = tiny.arrays(0, seconds=200.0)
    given["lfp"][: 70 * 50, 2] = 0.0
    session = bin_session(from_arrays(**given), config=TWENTY)
    assert len(session.channel_ids) == 6


def test_guards_hold_the_reach_of_the_fitted_chain():
    given = tiny.arrays(0, seconds=120.0)
    rng = np.random.default_rng(0)
    times = np.arange(120 * 500) / 500
    hum = 0.02 * np.sin(2 * np.pi * 60 * times) * (times > 70)
    lfp = rng.normal(size=(len(times), 6)) * 0.1 + 40 * hum[:, None] * np.arange(6)
    session = bin_session(from_arrays(**given | {"lfp": lfp, "lfp_rate_hz": 500.0}), config=TWENTY)
    assert "notch" in session.chain.describe() and session.chain.reach_s > 0.02
    assert session.split.guard_bins * 0.02 >= 0.5 + session.chain.reach_s - 1e-9


def test_too_short_a_recording_is_refused():
    with pytest.raises(InputError, match="s0: too little data for a split"):
        bin_session(tiny.session(0, seconds=8.0), config=TWENTY)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bin_width_ms": 1.0}, "`bin_width_ms` must be 2 to 100 ms, got 1.0"),
        ({"bin_width_ms": 200.0}, "`bin_width_ms` must be 2 to 100 ms"),
        ({"chain": "magic"}, "`preset` must be one of bins"),
        ({"chain": {"steps": [{"step": "magic"}]}}, r"`steps\[0\].step` must be one of"),
        ({"min_unit_rate_hz": -1.0}, "`min_unit_rate_hz` must be 0 or more"),
    ],
)
def test_impossible_binning_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        BinningConfig(**given)


def test_binning_needs_a_width():
    with pytest.raises(InputError, match="Use `choose_bin_width_ms`"):
        bin_session(tiny.session(0), config=BinningConfig())


def width_of(*sessions, asked_ms=None):
    return choose_bin_width_ms(list(sessions), preferred_ms=20.0, asked_ms=asked_ms)


def field_session(rate_hz):
    rng = np.random.default_rng(0)
    return from_arrays(session=f"field{rate_hz:g}", lfp=rng.normal(size=(round(40 * rate_hz), 3)), lfp_rate_hz=rate_hz)


def test_the_bin_width_follows_the_recordings():
    assert width_of(field_session(500.0)) == (20.0, "bins of 20 ms (the default)")
    assert width_of(field_session(500.0), asked_ms=10.0) == (10.0, "bins of 10 ms (as asked)")
    assert width_of(field_session(10.0)) == (100.0, "bins of 100 ms (the grid of lfp of field10)")
    assert width_of(counts_session()) == (10.0, "bins of 10 ms (the grid of spike_counts of grid)")
    assert width_of(counts_session(), field_session(10.0))[0] == 100.0
    assert width_of(counts_session(), asked_ms=30.0) == (30.0, "bins of 30 ms (as asked)")
    assert width_of(counts_session(), asked_ms=25.0)[0] == 10.0, "25 ms is no whole number of the counts' bins"
    assert width_of(counts_session(), asked_ms=5.0)[0] == 10.0
    assert width_of(field_session(10.0), asked_ms=20.0)[0] == 100.0


def test_different_grids_are_refused():
    with pytest.raises(InputError, match="sessions must share a bin width, got 20 ms .* and 50 ms"):
        width_of(counts_session(20.0), field_session(20.0))


def test_a_split_may_be_asked_for():
    session = bins_of(tiny.session(0), split=SplitConfig(valid_blocks=(9,), test_blocks=(0,)))
    assert session.split.test[:225].all() and session.split.valid[-225:].all()
