"""torch_brain's own files against planted truth; what this package prepares is such a file in turn."""

import h5py
import numpy as np
import pytest
from helpers import by_unit, read
from torch_brain.data import Data
from writers import brainset

from spikefield.errors import InputError
from spikefield.recordings import session as prepared
from spikefield.recordings.readers import find_reader, inspect_file


@pytest.mark.parametrize("regular", [False, True])
def test_prepared_by_torch_brain(tmp_path, regular):
    path = tmp_path / "c_20161021.h5"
    truth = brainset.write(path, regular=regular)
    (raw,) = read(path)
    assert (raw.id, raw.arrays["subject"]) == ("c_20161021_center_out_reaching", "c")
    for i, name in enumerate(truth.unit_ids):
        np.testing.assert_array_equal(by_unit(raw)[name], truth.spikes[truth.unit_index == i])
    np.testing.assert_array_equal(raw.arrays["behavior"], truth.velocity)
    np.testing.assert_allclose(raw.arrays["behavior_times_s"], truth.times_s)
    np.testing.assert_array_equal(raw.arrays["trials_s"], truth.trials_s)
    (other,) = read(path, behavior=("cursor.pos", "cursor.acc"))
    assert other.arrays["behavior_names"] == ["cursor.pos_x", "cursor.pos_y", "cursor.acc_x", "cursor.acc_y"]


def test_written_as_torch_brain_reads(tmp_path):
    path = tmp_path / "c.h5"
    truth = brainset.write(path)
    out = prepared.save(read(path)[0].build(), tmp_path / "out.h5")
    data = Data.load(out, lazy=False)
    np.testing.assert_array_equal(data.spikes.timestamps, truth.spikes)
    np.testing.assert_array_equal(data.behavior.values, truth.velocity)
    assert len(data.slice(2.5, 3.5).spikes.timestamps) == ((truth.spikes >= 2.5) & (truth.spikes < 3.5)).sum()
    with pytest.raises(InputError, match="is a prepared session already"):
        inspect_file(out)


def test_inspection(tmp_path):
    path = tmp_path / "c.h5"
    brainset.write(path)
    found = inspect_file(path)
    assert found.reader == "brainset" and found.chosen == ("spikes", "cursor.vel")
    rows = {row.name: row for row in found.series}
    assert rows["cursor.vel"].rate_hz == pytest.approx(100, rel=0.01) and rows["trials"].channels == 3


BAD = {
    "index beyond the units": (
        lambda f: f["spikes/unit_index"].__setitem__(3, 9),
        r"unit_index: must be 0 to 3, got 9",
    ),
    "NaN spikes": (lambda f: f["spikes/timestamps"].__setitem__(3, np.nan), "must be finite timestamps"),
    "clock runs back": (lambda f: f["cursor/timestamps"].__setitem__(3, 0.0), "must increase, got"),
    "no domain": (lambda f: f.__delitem__("domain"), "not a readable session prepared by torch_brain"),
    "domain runs back": (lambda f: f["domain/end"].__setitem__(0, -5.0), "domain: must be intervals that end after"),
    "unknown class": (lambda f: f["cursor"].attrs.__setitem__("object", "Wat"), "not a readable session"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_content_is_one_line(tmp_path, case):
    path = tmp_path / "c.h5"
    brainset.write(path)
    edit, message = BAD[case]
    with h5py.File(path, "r+") as file:
        edit(file)
    with pytest.raises(InputError, match=message) as caught:
        list(find_reader(path).read(path, __import__("helpers").SeriesChoice()))
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
