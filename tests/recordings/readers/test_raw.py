"""What readers hand over: chunks, runs of stretches with gaps, and errors that carry the file's name."""

import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from spikefield.errors import InputError
from spikefield.recordings.raw import Broadband, RawSession, chosen, intervals


def _blocks(array, samples):
    for start in range(0, len(array), samples):
        yield array[start : start + samples]


def broadband(array, *, start_s=0.0, rate_hz=100.0, n_samples=None, conversion_v=None):
    channels = array.shape[1]
    return Broadband(
        name="f.nwb: data",
        rate_hz=rate_hz,
        start_s=start_s,
        n_samples=len(array) if n_samples is None else n_samples,
        channel_ids=tuple(f"c{i}" for i in range(channels)),
        conversion_v=np.full(channels, 1e-6) if conversion_v is None else conversion_v,
        stream=partial(_blocks, array),
    )


COUNTS = np.arange(60, dtype=np.int16).reshape(20, 3)


def test_stretches_tell_where_they_lie_and_travel_to_a_worker():
    stretches = (broadband(COUNTS, start_s=5.0), broadband(COUNTS[:7], start_s=5.0 + 0.31))
    raw = RawSession(path=Path("f.nwb"), arrays={"session": "f"}, broadband=stretches)
    np.testing.assert_allclose(intervals(stretches), [(5.0, 5.2), (5.31, 5.38)])
    again = pickle.loads(pickle.dumps(raw))
    np.testing.assert_array_equal(next(again.broadband[0].chunks(4)), COUNTS[:4])


def test_a_stretch_that_is_not_what_it_says_is_refused():
    with pytest.raises(InputError, match="30 samples expected, got 20"):
        list(broadband(COUNTS, n_samples=30).chunks(7))
    with pytest.raises(InputError, match="`samples` must be at least 1, got 0"):
        next(broadband(COUNTS).chunks(0))
    spoilt = COUNTS.astype(np.float32)
    spoilt[13, 1] = np.inf
    with pytest.raises(InputError, match=r"f\.nwb: data: must be finite, got inf in channel c1 at 0\.130 s"):
        list(broadband(spoilt).chunks(6))
    for faults in ({"rate_hz": 0.0}, {"n_samples": 0}):
        with pytest.raises(InputError, match="needs a positive rate and at least one sample"):
            broadband(COUNTS, **faults)
    for gains in ([1.0], [1.0, 0.0, 1.0], [1.0, np.nan, 1.0]):
        with pytest.raises(InputError, match="the conversion to volts must be 3 numbers other than 0"):
            broadband(COUNTS, conversion_v=np.array(gains))


def test_errors_of_the_build_carry_the_file():
    arrays = {"session": "f", "behavior": np.zeros((9, 2)), "behavior_rate_hz": -1.0}
    with pytest.raises(InputError, match=r"^f\.mat: `behavior_rate_hz` must be a positive number"):
        RawSession(path=Path("f.mat"), arrays=arrays).build()
    with pytest.raises(InputError, match="holds neither spikes nor field potential nor behaviour"):
        RawSession(path=Path("f.mat"), arrays={"session": "f"})


def test_choice_lists_what_is_there():
    assert chosen("f", "lfp", None, ["a", "b"], ["b"]) == ("b",)
    assert chosen("f", "lfp", (), ["a", "b"], ["b"]) == ()
    with pytest.raises(InputError, match=r"f: no lfp series named 'x'\. Choose from none"):
        chosen("f", "lfp", ("x",), [], [])
