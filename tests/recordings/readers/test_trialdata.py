"""`trial_data` against planted truth: columns by the guide, any areas, bands and bins, trials apart, one or many."""

import h5py
import numpy as np
import pytest
from helpers import read
from writers import trialdata

from spikefield.errors import InputError
from spikefield.recordings.readers import format_inspection, inspect_file


@pytest.fixture
def path(tmp_path):
    return tmp_path / "Chewie_CO_20150313.mat"


def parts(raw, name):
    """The rows of a grid that lie in each trial."""
    width = 1 / raw.arrays["lfp_rate_hz"]
    rows = np.rint(raw.arrays["intervals_s"] / width).astype(int)
    return [raw.arrays[name][first:stop] for first, stop in rows]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"areas": ("LeftS1Area2",), "bin_s": 0.01},
        {"areas": ("M1", "PMd"), "bands": ((0, 0), (4, 8), (70, 115.5)), "bin_s": 0.05},
        {"bins": (60,)},
        {"shuffled": False, "compression": None},
    ],
)
def test_every_field_is_read_back(path, options):
    truth = trialdata.write(path, **options)
    (raw,) = read(path)
    assert (raw.id, raw.arrays["subject"]) == ("Chewie_CO_20150313", "Chewie")
    assert raw.arrays["bin_width_ms"] == pytest.approx(1000 * truth.bin_s)
    for trial in range(len(truth.bins)):
        areas = sorted(truth.counts)
        np.testing.assert_array_equal(
            parts(raw, "spike_counts")[trial], np.hstack([truth.counts[a][trial] for a in areas])
        )
        power = np.hstack([truth.power[a][trial] for a in areas])
        np.testing.assert_allclose(parts(raw, "lfp")[trial], power, rtol=1e-6)
        np.testing.assert_array_equal(parts(raw, "behavior")[trial], truth.velocity[trial])
    session = raw.build()
    assert session.spike_counts.counts.sum() == sum(c.sum() for area in truth.counts.values() for c in area)


def test_columns_are_named_by_electrode_and_band(path):
    trialdata.write(path, electrodes=(17, 3))
    ids = read(path)[0].arrays["channel_ids"]
    assert ids[:3] == ["M1-e003-LMP", "M1-e003-0.5-4Hz", "M1-e003-4-8Hz"]
    assert ids[9] == "M1-e017-LMP" and len(ids) == 18


def test_trials_are_kept_apart(path):
    truth = trialdata.write(path)
    (raw,) = read(path)
    spans = raw.arrays["intervals_s"]
    np.testing.assert_allclose(np.diff(spans, axis=1).ravel(), np.array(truth.bins) * truth.bin_s)
    assert (spans[1:, 0] - spans[:-1, 1] >= 1.0 - 1e-9).all()
    np.testing.assert_allclose(spans / truth.bin_s, np.rint(spans / truth.bin_s), atol=1e-9)
    between = round(spans[0, 1] / truth.bin_s)
    assert np.isnan(raw.arrays["lfp"][between]).all() and np.isnan(raw.arrays["behavior"][between]).all()
    assert not raw.arrays["spike_counts"][between].any()


def test_choice_of_area_and_behaviour(path):
    truth = trialdata.write(path, areas=("M1", "PMd"))
    (raw,) = read(path, lfp=("PMd",), units=("M1",), behavior=("pos",))
    np.testing.assert_allclose(parts(raw, "lfp")[0], truth.power["PMd"][0], rtol=1e-6)
    assert raw.arrays["behavior_names"] == ["pos_x", "pos_y"]
    with pytest.raises(InputError, match=r"no lfp series named 'S1'\. Choose from M1, PMd"):
        read(path, lfp=("S1",))


def test_inspection(path):
    trialdata.write(path, areas=("M1", "PMd"))
    found = inspect_file(path)
    text = format_inspection(found)
    assert "Chewie CO 2015/03/13" in text and "200-400Hz" in text
    assert [row.channels for row in found.series if row.kind == "field potential"] == [18, 18]


def cell(file, name, trial):
    return file[file["trial_data"][name][trial, 0]]


def _resize(file, name, trial, values):
    found = cell(file, name, trial)
    attrs, place = dict(found.attrs), found.name
    del file[place]
    new = file.create_dataset(place, data=values)
    new.attrs.update(attrs)
    file["trial_data"][name][trial, 0] = new.ref


BAD = {
    "no guide": (lambda f: f["trial_data"].__delitem__("M1_lfp_guide"), r"M1_lfp_guide: missing; trial_data holds"),
    "guide too short": (
        lambda f: [_resize(f, "M1_lfp_guide", t, np.ones((3, 2)) * [[1], [0], [4]] + np.arange(2)) for t in range(3)],
        r"trial_data\(1\)\.M1_lfp: must have 2 columns, as its guide says, got \(40, 18\)",
    ),
    "guide differs": (
        lambda f: _resize(f, "M1_unit_guide", 1, np.ones((2, 5))),
        r"trial_data\(2\)\.M1_unit_guide: must be as in the first trial",
    ),
    "vel too short": (
        lambda f: _resize(f, "vel", 2, np.ones((2, 20))),
        r"trial_data\(3\)\.vel: must have 33 bins, .* got 20",
    ),
    "bins in ms": (
        lambda f: [_resize(f, "bin_size", t, np.array([[30.0]])) for t in range(3)],
        r"bin_size: must be one width in seconds, .* got \[30\.0\]\. Divide it by 1000",
    ),
    "bins differ": (lambda f: _resize(f, "bin_size", 1, np.array([[0.01]])), r"bin_size: must be one width"),
    "power is text": (
        lambda f: _resize(f, "M1_lfp", 0, np.array([[b"x"]])),
        r"trial_data\(1\)\.M1_lfp: must be a matrix of numbers",
    ),
    "NaN in the power": (
        lambda f: cell(f, "M1_lfp", 1).__setitem__((4, 7), np.nan),
        r"trial_data\(2\)\..*: must be finite, got nan in bin 8",
    ),
    "fields of other lengths": (
        lambda f: f["trial_data"].__delitem__("vel") or f["trial_data"].create_dataset("vel", (2, 1), h5py.ref_dtype),
        r"trial_data: fields must have one entry a trial each",
    ),
    "no arrays": (
        lambda f: [f["trial_data"].__delitem__(n) for n in ("M1_lfp", "M1_spikes")],
        r"neither <area>_spikes nor <area>_lfp",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_content_is_one_line(path, case):
    trialdata.write(path)
    edit, message = BAD[case]
    with h5py.File(path, "r+") as file:
        edit(file)
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_rates_instead_of_counts_are_refused_with_the_file(path):
    trialdata.write(path)
    with h5py.File(path, "r+") as file:
        cell(file, "M1_spikes", 0)[0, 0] = 0.5
    with pytest.raises(InputError, match=rf"{path}: `spike_counts` must be whole numbers"):
        read(path)[0].build()
