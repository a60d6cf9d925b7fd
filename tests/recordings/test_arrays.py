"""Own arrays become a prepared session, or one line that says what is wrong with them."""

import json

import numpy as np
import pytest

import tiny
from spikefield.errors import DroppedDataWarning, InputError
from spikefield.recordings import session as layout
from spikefield.recordings.arrays import from_arrays


def given(**changes):
    """Return good arguments, 4 s, changed; None leaves an argument out."""
    arguments = {**tiny.arrays(0, seconds=4.0, units=5, channels=3), **changes}
    return {name: value for name, value in arguments.items() if value is not None}


def test_all_streams_are_kept_as_they_are():
    arrays = given(unit_ids=list("abcde"), channel_ids=["x", "y", "z"], channel_positions_um=np.eye(3)[:, :2])
    session = from_arrays(**arrays, trials_s=[[0.5, 1.0], [2.0, 3.0]])
    order = np.argsort(arrays["spike_times"], kind="stable")
    np.testing.assert_array_equal(session.spikes.timestamps, arrays["spike_times"][order])
    np.testing.assert_array_equal(session.spikes.unit_index, arrays["spike_units"][order])
    np.testing.assert_array_equal(session.lfp.signal, arrays["lfp"].astype(np.float32))
    np.testing.assert_array_equal(session.behavior.values, arrays["behavior"])
    assert list(session.units.id) == list("abcde") and list(session.channels.id) == ["x", "y", "z"]
    np.testing.assert_array_equal(session.channels.x_um, [1, 0, 0])
    assert list(session.behavior_dims.name) == ["vx", "vy"] and np.isnan(session.behavior_dims.period).all()
    np.testing.assert_array_equal(session.trials.start, [0.5, 2.0])
    assert (session.session.id, session.subject.id) == ("s0", "subject0")
    assert layout.valid_intervals_s(session) == (0.0, 4.0) and layout.duration_s(session) == 4.0
    assert layout.provenance(session) == {"reader": "arrays", "dropped": {}}


@pytest.mark.parametrize("streams", [("spike",), ("lfp",), ("spike", "behavior"), ("lfp", "behavior")])
def test_streams_may_be_absent(streams):
    session = from_arrays(**{k: v for k, v in given().items() if k.startswith((*streams, "session"))})
    held = (layout.has_spikes(session), layout.has_lfp(session), layout.has_behavior(session))
    assert held == ("spike" in streams, "lfp" in streams, "behavior" in streams)


def test_counts_on_a_grid():
    counts = np.random.default_rng(0).poisson(2, size=(100, 3))
    session = from_arrays(spike_counts=counts, bin_width_ms=30.0)
    np.testing.assert_array_equal(session.spike_counts.counts, counts)
    assert session.spike_counts.counts.dtype == np.uint16
    assert float(session.spike_counts.sampling_rate) == pytest.approx(100 / 3)
    assert layout.duration_s(session) == pytest.approx(3.0)


def test_valid_time_is_what_the_neural_streams_share():
    session = from_arrays(**given(lfp_start_s=1.0, spike_times=None, spike_units=None))
    assert layout.valid_intervals_s(session) == (1.0, 5.0)
    counts = np.ones((100, 2), int)
    session = from_arrays(
        **given(lfp_start_s=1.0, spike_times=None, spike_units=None), spike_counts=counts, bin_width_ms=20.0
    )
    assert layout.valid_intervals_s(session) == (1.0, 2.0)
    session = from_arrays(spike_times=[0.5, 2.5], spike_units=[0, 1])
    assert layout.valid_intervals_s(session) == (0.0, np.nextafter(2.5, 3))


def test_behaviour_comes_with_a_rate_or_with_times():
    times = np.sort(np.random.default_rng(0).uniform(0, 4, 200))
    session = from_arrays(**given(behavior_rate_hz=None, behavior_times_s=times))
    np.testing.assert_array_equal(layout.timestamps_s(session.behavior), times)
    np.testing.assert_allclose(layout.timestamps_s(from_arrays(**given()).behavior), np.arange(200) / 50)


def test_constant_and_missing_channels_and_silent_units_are_dropped_and_listed():
    lfp = tiny.arrays(0, seconds=4.0, channels=5)["lfp"]
    lfp[:, 1], lfp[:, 3] = 7.0, np.nan
    units = given()["spike_units"] * 2
    with pytest.warns(DroppedDataWarning) as caught:
        session = from_arrays(**given(lfp=lfp, spike_units=units, channel_positions_um=np.arange(10).reshape(5, 2)))
    assert list(session.channels.id) == ["ch000", "ch002", "ch004"] and list(session.channels.y_um) == [1, 5, 9]
    np.testing.assert_array_equal(session.lfp.signal, lfp[:, [0, 2, 4]].astype(np.float32))
    assert list(session.units.id) == [f"unit{i:03d}" for i in (0, 2, 4, 6, 8)]
    np.testing.assert_array_equal(np.unique(session.spikes.unit_index), np.arange(5))
    dropped = {
        "silent units": ["unit001", "unit003", "unit005", "unit007"],
        "all-NaN channels": ["ch003"],
        "constant channels": ["ch001"],
    }
    assert layout.provenance(session)["dropped"] == dropped
    assert sorted(str(w.message) for w in caught) == sorted(
        f"s0: units must fire and channels must vary in valid time, but {k} were left out: {', '.join(v)}. "
        "Check electrodes, sorting and `intervals_s` if they should be there."
        for k, v in dropped.items()
    )


def test_a_channel_that_is_constant_in_valid_time_only_is_dropped():
    lfp = given()["lfp"].copy()
    lfp[50:, 0] = 1.0
    with pytest.warns(DroppedDataWarning, match="constant channels were left out: ch000"):
        session = from_arrays(**given(lfp=lfp), intervals_s=[[1.5, 4.0]])
    assert list(session.channels.id) == ["ch001", "ch002"]


def test_gaps_may_hold_nan_and_spikes():
    lfp = given()["lfp"].copy()
    lfp[50:100] = np.nan
    session = from_arrays(**given(lfp=lfp), intervals_s=[[0.0, 1.0], [2.0, 4.0]])
    assert layout.duration_s(session) == 3.0 and len(session.spikes.timestamps) == len(given()["spike_times"])


def test_whole_numbers_and_lists_are_numbers():
    session = from_arrays(lfp=np.arange(60, dtype=np.int8).reshape(20, 3), lfp_rate_hz=10.0)
    assert session.lfp.signal.dtype == np.float32 and session.lfp.signal[19, 2] == 59
    from_arrays(spike_times=[0.1, 0.2], spike_units=[0, 0], behavior=[1.0, 2.0, 3.0], behavior_rate_hz=10.0)


NAN_AT_2S = np.where(np.arange(200)[:, None] == 100, np.nan, given()["lfp"])
BAD = {
    "spike counts and times": ({"spike_counts": np.ones((9, 2)), "bin_width_ms": 20.0}, "exclude each other"),
    "times without units": ({"spike_units": None}, "`spike_times` and `spike_units` go together"),
    "units of another length": ({"spike_units": np.zeros(3, int)}, r"must be \(spikes,\) alike, got"),
    "fractional units": ({"spike_units": given()["spike_units"] / 2}, "`spike_units` must be whole numbers .* float64"),
    "units from -1": (
        {"spike_units": given()["spike_units"] - 1},
        "`spike_units` must be whole numbers .* got -1 to 3",
    ),
    "a unit in the billions": ({"spike_units": given()["spike_units"] + 10**9}, "from 0 to 65535, got 1000000000"),
    "NaN among the spikes": ({"spike_times": given()["spike_times"] * np.nan}, "`spike_times` must be finite seconds"),
    "no spike": ({"spike_times": [], "spike_units": []}, r"must be \(spikes,\) alike, got \(0,\)"),
    "spikes in ms": ({"spike_times": given()["spike_times"] * 1000}, "must lie inside the recording, 0.000 to 4.000 s"),
    "spikes before the start": ({"spike_times": given()["spike_times"] - 1}, "spikes lie outside, the first at -"),
    "all units silent": ({"intervals_s": [[3.9999, 4.0]]}, "all 5 units are silent in valid time"),
    "too few unit names": ({"unit_ids": ["a"]}, "`unit_ids` must be 5 different names, got 1 different of 1"),
    "two units of one name": (
        {"unit_ids": list("aacde")},
        "`unit_ids` must be 5 different names, got 4 different of 5",
    ),
    "more channel names": ({"channel_ids": list("abcd")}, "`channel_ids` must be 3 different names, got 4 different"),
    "no rate": ({"lfp_rate_hz": None}, "`lfp_rate_hz` must be a positive number, got None"),
    "a negative rate": ({"lfp_rate_hz": -50.0}, "`lfp_rate_hz` must be a positive number, got -50"),
    "an infinite rate": ({"lfp_rate_hz": np.inf}, "`lfp_rate_hz` must be a positive number, got inf"),
    "NaN start": ({"lfp_start_s": np.nan}, "`lfp_start_s` must be finite seconds, got nan"),
    "a transposed field": ({"lfp": given()["lfp"].T}, r"got \(3, 200\): more columns than samples. Transpose it"),
    "three axes": ({"lfp": np.zeros((5, 2, 2))}, r"`lfp` must be \(samples, columns\) and not empty, got shape \(5, 2"),
    "no sample": ({"lfp": np.zeros((0, 3))}, r"not empty, got shape \(0, 3\)"),
    "text": ({"lfp": np.full((9, 2), "x")}, "`lfp` must hold numbers, got dtype"),
    "complex numbers": ({"lfp": np.ones((9, 2), complex)}, "`lfp` must hold numbers, got dtype complex128"),
    "only constant channels": ({"lfp": np.ones((200, 3))}, "`lfp` has only constant or NaN channels"),
    "NaN in valid time": ({"lfp": NAN_AT_2S}, r"got NaN or infinity in channel ch000 at 2\.010 s. Leave that stretch"),
    "infinity in valid time": (
        {"lfp": np.where(np.isnan(NAN_AT_2S), np.inf, NAN_AT_2S)},
        "got NaN or infinity in channel ch000",
    ),
    "no field in valid time": ({"lfp_start_s": 100.0, "intervals_s": [[0, 4]]}, "`lfp` has no sample inside the valid"),
    "places of other channels": ({"channel_positions_um": np.zeros((2, 2))}, r"must be \(3, 2\), got \(2, 2\)"),
    "infinite behaviour": ({"behavior": np.full((200, 2), np.inf)}, "`behavior` must be finite or NaN, got infinity"),
    "behaviour without a clock": ({"behavior_rate_hz": None}, "needs either `behavior_rate_hz` or `behavior_times_s`"),
    "behaviour with two clocks": ({"behavior_times_s": np.arange(200.0)}, "Give exactly one of them"),
    "times of other samples": (
        {"behavior_rate_hz": None, "behavior_times_s": np.arange(3.0)},
        r"`behavior_times_s` must be \(200,\) finite seconds, got shape \(3,\)",
    ),
    "times that run backwards": (
        {"behavior_rate_hz": None, "behavior_times_s": np.r_[np.arange(100), 50, np.arange(101, 200)]},
        r"must increase, got 99\.000000 then 50\.000000 s at sample 100",
    ),
    "behaviour names": ({"behavior_names": ["a"]}, r"`behavior_names` must be 2 different names, got \['a'\]"),
    "a period of 0": ({"behavior_period": [0.0, 1.0]}, r"`behavior_period` must be \(2,\) positive or NaN"),
    "wide behaviour": ({"behavior": np.zeros((200, 65)), "behavior_names": None}, "must have at most 64 dims, got 65"),
    "a backward interval": ({"intervals_s": [[2, 1]]}, r"`intervals_s` row 0 must end after it starts, got \[2\.0, 1"),
    "overlapping trials": ({"trials_s": [[0, 2], [1, 3]]}, "`trials_s` must be in order and not overlap, but row 1"),
    "intervals of three": ({"intervals_s": [[0, 1, 2]]}, r"`intervals_s` must be \(n, 2\) finite seconds"),
    "no interval": ({"intervals_s": np.zeros((0, 2))}, r"`intervals_s` must be \(n, 2\) finite seconds"),
    "a name with a slash": ({"session": "../a"}, r"`session` must be made of letters, .* got '\.\./a'"),
    "a hidden name": ({"subject": ".a"}, "`subject` must be made of letters"),
    "no name": ({"session": ""}, "`session` must be made of letters"),
    "counts without a width": (
        {"spike_times": None, "spike_units": None, "spike_counts": np.ones((9, 2))},
        "`bin_width_ms` must be a positive number, got None",
    ),
    "rates for counts": (
        {"spike_times": None, "spike_units": None, "spike_counts": np.full((9, 2), 0.5), "bin_width_ms": 20.0},
        "`spike_counts` must be whole numbers of spikes, 0 or more",
    ),
    "negative counts": (
        {"spike_times": None, "spike_units": None, "spike_counts": np.full((9, 2), -1), "bin_width_ms": 20.0},
        "`spike_counts` must be whole numbers of spikes, 0 or more",
    ),
    "huge counts": (
        {"spike_times": None, "spike_units": None, "spike_counts": np.full((9, 2), 70000), "bin_width_ms": 20.0},
        "`spike_counts` must be at most 65535 a bin, got 70000",
    ),
    "only silent counts": (
        {"spike_times": None, "spike_units": None, "spike_counts": np.zeros((9, 2)), "bin_width_ms": 20.0},
        "all 2 units are silent",
    ),
    "streams that share no time": (
        {
            "spike_times": None,
            "spike_units": None,
            "spike_counts": np.ones((9, 2)),
            "bin_width_ms": 20.0,
            "lfp_start_s": 9.0,
        },
        "the streams share no time",
    ),
    "behaviour alone": (
        {"spike_times": None, "spike_units": None, "lfp": None},
        "no stream was given. Give at least one of `spike_times`, `spike_counts`, `lfp`",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said_in_one_line(case):
    changes, message = BAD[case]
    with pytest.raises(InputError, match=message) as caught:
        from_arrays(**given(**changes))
    assert "\n" not in str(caught.value)


def test_provenance_is_json():
    session = from_arrays(**given(), source={"reader": "lab", "files": {"a": "b"}})
    assert json.loads(session.provenance) == {"reader": "lab", "files": {"a": "b"}, "dropped": {}}


WIDE = np.random.default_rng(0).normal(size=(80, 96))
SHORT_SPIKES = {"spike_times": [0.001, 0.079], "spike_units": [0, 0]}


@pytest.mark.parametrize(
    "arguments",
    [
        {"lfp": WIDE, "lfp_rate_hz": 1000.0, "channel_ids": [f"e{i}" for i in range(96)]},
        {"lfp": WIDE, "lfp_rate_hz": 1000.0, "channel_positions_um": np.zeros((96, 2))},
        {"lfp": WIDE, "lfp_rate_hz": 1000.0, **SHORT_SPIKES},
        {"lfp": WIDE, "lfp_rate_hz": 1000.0, "lfp_start_s": 9e3, "intervals_s": [[9e3, 9e3 + 0.08]]},
        {"spike_counts": np.ones((3, 5)), "bin_width_ms": 100.0, "unit_ids": list("abcde")},
        {"spike_counts": np.ones((3, 5)), "bin_width_ms": 100.0, "lfp": WIDE.T, "lfp_rate_hz": 320.0},
        {**SHORT_SPIKES, "behavior": np.ones((2, 3)), "behavior_times_s": [0.0, 0.04]},
        {**SHORT_SPIKES, "behavior": np.ones((2, 3)), "behavior_rate_hz": 25.0, "behavior_names": list("xyz")},
    ],
)
def test_fewer_samples_than_columns_are_right_where_names_stamps_or_durations_say_so(arguments):
    session = from_arrays(**arguments)
    if "lfp" in arguments:
        assert session.lfp.signal.shape == np.shape(arguments["lfp"])
    if "spike_counts" in arguments:
        assert session.spike_counts.counts.shape == (3, 5)
    if "behavior" in arguments:
        assert session.behavior.values.shape == (2, 3)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"lfp": WIDE, "lfp_rate_hz": 1000.0}, "lfp"),
        ({"lfp": WIDE, "lfp_rate_hz": 1000.0, "channel_ids": [f"e{i}" for i in range(80)]}, "lfp"),
        ({"lfp": WIDE, "lfp_rate_hz": 1000.0, "spike_times": [0.001, 0.095], "spike_units": [0, 0]}, "lfp"),
        ({"spike_counts": np.ones((5, 300)), "bin_width_ms": 20.0, "lfp": WIDE.T, "lfp_rate_hz": 16.0}, "spike_counts"),
        ({**SHORT_SPIKES, "behavior": np.ones((2, 3)), "behavior_rate_hz": 37.0}, "behavior"),
    ],
)
def test_transposed_arrays_are_refused(arguments, name):
    with pytest.raises(InputError, match=f"`{name}` must be .*more columns than samples. Transpose it; if") as caught:
        from_arrays(**arguments)
    assert "\n" not in str(caught.value)
