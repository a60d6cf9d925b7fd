"""Flint 2012 against planted truth: gaps kept, nothing stretched, LFP by entry, one subject or several."""

import numpy as np
import pytest
import scipy.io
from helpers import by_unit, left_out, r2, read
from writers import flint

from spikefield.errors import InputError
from spikefield.recordings.readers import format_inspection, inspect_file


@pytest.fixture
def path(tmp_path):
    return tmp_path / "Flint_2012_e1.mat"


@pytest.mark.parametrize(("subjects", "compressed"), [(1, True), (1, False), (3, True)])
def test_every_subject_is_read_back(path, subjects, compressed):
    truths = flint.write(path, subjects=subjects, compressed=compressed)
    raws = read(path)
    assert [raw.id for raw in raws] == [f"Flint_2012_e1_{i + 1}" for i in range(subjects)]
    for raw, truth in zip(raws, truths, strict=True):
        assert r2(truth.velocity, raw.arrays["behavior"]) == 1.0
        found = by_unit(raw)
        assert sum(map(len, found.values())) + left_out(raw)["spikes outside their trial"] - truth.outside == sum(
            map(len, truth.spikes.values())
        )
        for entry, spikes in truth.spikes.items():
            kept = found[f"neuron{entry + 1:03d}"]
            assert np.isin(kept, spikes).all()
            assert len(spikes) - len(kept) <= 2  # those in the few samples that the shortest channel lacks
        raw.build()


def test_gaps_stay_gaps_and_nothing_is_stretched(path):
    (truth,) = flint.write(path)
    (raw,) = read(path)
    rate, start, grid = (raw.arrays[k] for k in ("lfp_rate_hz", "lfp_start_s", "lfp"))
    spans = raw.arrays["intervals_s"]
    runs = [(0, 1), (2, 3), (4, 4)]  # trials whose clocks run on
    np.testing.assert_allclose(spans[:, 0], [truth.starts_s[i] for i, _ in runs], atol=1 / rate)
    np.testing.assert_allclose(spans[:, 1], [truth.ends_s[j] for _, j in runs], atol=4 / rate)
    times = start + np.arange(len(grid)) / rate
    inside = np.zeros(len(grid), bool)
    for begin, end in spans:
        inside |= (times >= begin - 1e-9) & (times < end - 1e-9)
    assert np.isnan(grid[~inside]).all() and np.isfinite(grid[inside]).all()
    for column, entry in enumerate(truth.lfp_entries):
        planted = flint.lfp(times, entry)
        np.testing.assert_allclose(grid[inside, column], planted[inside], atol=2e-3 * (1 + entry))
    assert raw.arrays["channel_ids"] == ["neuron002", "neuron003", "neuron005"]
    assert "bridged by straight lines" in " ".join(raw.arrays["source"]["notes"])


def test_trials_keep_their_times(path):
    (truth,) = flint.write(path)
    (raw,) = read(path)
    np.testing.assert_allclose(raw.arrays["trials_s"], np.column_stack([truth.starts_s, truth.ends_s]), atol=1e-9)
    gaps = np.diff(raw.arrays["behavior_times_s"]) > 0.011
    assert gaps.sum() == 2


def test_trials_may_lie_in_any_order_and_in_cells(path, tmp_path):
    flint.write(path)
    content = scipy.io.loadmat(path)["Subject"]
    content[0, 0]["Trial"] = content[0, 0]["Trial"][[3, 0, 4, 1, 2]]
    scipy.io.savemat(tmp_path / "shuffled.mat", {"Subject": content})
    flint.write(tmp_path / "cells.mat", cells=True)
    (raw,) = read(path)
    for other in ("shuffled.mat", "cells.mat"):
        (same,) = read(tmp_path / other)
        np.testing.assert_array_equal(same.arrays["lfp"], raw.arrays["lfp"])
        np.testing.assert_array_equal(same.arrays["behavior"], raw.arrays["behavior"])


def test_inspection_lists_series_and_gaps_of_every_subject(path):
    truths = flint.write(path, subjects=2)
    found = inspect_file(path)
    assert found.sessions == ("Flint_2012_e1_1", "Flint_2012_e1_2")
    rows = {row.name: row for row in found.series}
    row = rows["Flint_2012_e1_2: LFP"]
    assert (row.channels, row.rate_hz) == (3, 2000.0)
    assert row.gaps_s[0] == pytest.approx((truths[1].ends_s[1], truths[1].starts_s[2]))
    assert "Flint_2012_e1_1: HandVel" in format_inspection(found)


def _change(path, edit):
    content = scipy.io.loadmat(path)["Subject"]
    edit(content)
    scipy.io.savemat(path, {"Subject": content})


def trial(content, index):
    return content[0, 0]["Trial"][index, 0]


def _set(record, name, value):
    record[name] = value


def test_lfp_that_does_not_fit_is_left_out_and_listed(path):
    flint.write(path)

    def edit(content):
        _set(trial(content, 1)["Neuron"][2, 0], "LFP", np.zeros((300, 1)))
        _set(trial(content, 3)["Neuron"][4, 0], "LFP", np.empty((0, 0)))

    _change(path, edit)
    (raw,) = read(path)
    assert left_out(raw)["trials whose LFP is missing or of another length"] == [f"{path}: Subject(1).Trial(2)"]
    assert left_out(raw)["LFP that is empty in some trials"] == ["neuron005"]
    assert raw.arrays["channel_ids"] == ["neuron002", "neuron003"]
    assert len(raw.arrays["intervals_s"]) == 3


BAD = {
    "hand too short": (
        lambda c: _set(trial(c, 0), "HandVel", np.zeros((50, 3))),
        r"Trial\(1\)\.HandVel: must have 60 rows, as Time has, got 50",
    ),
    "one column of hand": (
        lambda c: _set(trial(c, 0), "HandVel", np.zeros((60, 1))),
        r"HandVel: must be \(samples, 2 or more\)",
    ),
    "clock jumps": (
        lambda c: _set(trial(c, 2), "Time", np.arange(80)[:, None] * 0.02 + 7),
        r"Trial\(3\)\.Time: must step by 0\.01",
    ),
    "trials overlap": (
        lambda c: _set(trial(c, 2), "Time", 5.1 + np.arange(80)[:, None] / 100),
        r"Time: must start after the trial before it ends",
    ),
    "clock of another day": (
        lambda c: _set(trial(c, 4), "Time", 90000 + np.arange(70)[:, None] / 100),
        r"within an hour of it, got 90000\.000",
    ),
    "spikes are text": (
        lambda c: _set(trial(c, 0)["Neuron"][0, 0], "Spike", np.array(["x"])),
        r"Neuron\(1\)\.Spike: must hold numbers",
    ),
    "NaN in the LFP": (
        lambda c: _set(trial(c, 1)["Neuron"][2, 0], "LFP", np.full((900, 1), np.nan)),
        r"Trial\(2\)\.Neuron\(3\)\.LFP: must be finite, got nan at sample 0",
    ),
    "neurons differ": (
        lambda c: _set(trial(c, 1), "Neuron", trial(c, 1)["Neuron"][:4]),
        r"Neuron: must be as long in every trial, got \[4, 6\]",
    ),
    "LFP at another rate": (
        lambda c: [_set(trial(c, t)["Neuron"][k, 0], "LFP", np.zeros((5, 1))) for t in range(5) for k in (1, 2, 4)],
        r"LFP: must have about 1200 samples \(2 kHz over Time\), got \[5\]",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_content_is_one_line(path, case):
    flint.write(path)
    edit, message = BAD[case]
    _change(path, edit)
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_missing_fields_and_other_variables(path):
    scipy.io.savemat(path, {"Subject": {"Trial": {"Time": np.arange(20)[:, None] / 100}}})
    with pytest.raises(InputError, match=r"Trial\(1\)\.Neuron: missing; the struct holds Time"):
        read(path)
    scipy.io.savemat(path, {"X": np.ones(3)})
    with pytest.raises(InputError, match="is MATLAB v5 with X, which no reader knows"):
        read(path)
    with pytest.raises(InputError, match="Subject: missing; the file holds X"):
        read(path, name="flint")


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_truncated_files_are_refused(path, compressed, share):
    flint.write(path, compressed=compressed)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=r"truncated|ends early|no reader knows"):
        read(path)
    with pytest.raises(InputError):
        read(path, name="flint")


def test_matlab_73_is_named(path):
    import h5py

    with h5py.File(path, "w") as file:
        file["Subject"] = 1.0
    with pytest.raises(InputError, match=r"starts as HDF5 \(MATLAB 7\.3; save it with -v7\)"):
        read(path, name="flint")
