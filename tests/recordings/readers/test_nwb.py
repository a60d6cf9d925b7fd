"""NWB 2 against planted truth: proposed and named series, gaps, either way round, streamed by ranges of bytes."""

import faulthandler
import gc
import io
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import h5py
import numpy as np
import pytest
import range_server
from helpers import by_unit, left_out, read
from writers import nwb2

from spikefield.errors import InputError
from spikefield.recordings.readers import find_reader, format_inspection, inspect_file


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sub-C_ses-1.nwb"


def whole(broadband, samples=777):
    return np.concatenate(list(broadband.chunks(samples)))


def test_proposed_series_are_read_back(path):
    truth = nwb2.write(path)
    (raw,) = read(path)
    (lfp,) = raw.broadband
    np.testing.assert_array_equal(whole(lfp), truth.lfp)
    assert (lfp.rate_hz, lfp.start_s, lfp.n_samples) == (1000.0, 0.25, len(truth.lfp))
    np.testing.assert_array_equal(lfp.conversion_v, nwb2.CONVERSION_V)
    np.testing.assert_array_equal(lfp.positions_um, truth.places_um)
    assert lfp.channel_ids == ("electrode001", "electrode002", "electrode003")
    np.testing.assert_array_equal(raw.arrays["behavior"], truth.velocity)
    np.testing.assert_array_equal(raw.arrays["behavior_times_s"], truth.behavior_times_s)
    assert raw.arrays["behavior_names"] == ["cursor_vel_x", "cursor_vel_y"]
    np.testing.assert_array_equal(raw.arrays["trials_s"], truth.trials_s)
    for i, spikes in enumerate(truth.spikes):
        np.testing.assert_array_equal(by_unit(raw)[f"unit{i:03d}"], spikes)
    assert left_out(raw) == {"spikes outside the field potential or behaviour": 1}
    assert (raw.arrays["subject"], raw.id) == ("C", "sub-C_ses-1")
    session = raw.build({"lfp": whole(lfp).astype(np.float32), "lfp_rate_hz": 1000.0, "lfp_start_s": 0.25})
    assert session.lfp.signal.shape == truth.lfp.shape


def test_spikes_only_as_in_perich(path):
    truth = nwb2.write(path, lfp=False, raw=False)
    (raw,) = read(path)
    assert raw.broadband == ()
    session = raw.build()
    end = truth.behavior_times_s[-1] + 0.01
    kept = sum(((s >= 0.1) & (s < end)).sum() for s in truth.spikes)
    assert len(session.spikes.timestamps) == kept


@pytest.mark.parametrize("options", [{"turned": True}, {"turned": True, "gap": (1500, 0.8)}, {"gap": (1500, 0.8)}])
def test_other_layouts_of_the_field_potential(path, options):
    truth = nwb2.write(path, **options)
    (raw,) = read(path)
    np.testing.assert_array_equal(np.vstack([whole(b) for b in raw.broadband]), truth.lfp)
    if "gap" in options:
        first, second = raw.broadband
        assert first.n_samples == 1500
        assert second.start_s == pytest.approx(truth.lfp_start_s + 1.5 + 0.8, abs=1e-6)
        row = next(r for r in inspect_file(path).series if r.kind == "field potential" and r.gaps_s)
        assert row.gaps_s[0] == pytest.approx((truth.lfp_start_s + 1.5, truth.lfp_start_s + 2.3), abs=1e-6)


def test_offset_is_applied(path):
    truth = nwb2.write(path, offset_v=2e-4)
    (lfp,) = read(path)[0].broadband
    volts = whole(lfp) * lfp.conversion_v
    assert whole(lfp).dtype == np.float32
    np.testing.assert_allclose(volts, truth.lfp * nwb2.CONVERSION_V + 2e-4, rtol=1e-5, atol=1e-12)


def test_named_series(path):
    truth = nwb2.write(path)
    (raw,) = read(path, lfp=("broadband",), behavior=("processing/behavior/Position/cursor_pos",), units=())
    np.testing.assert_array_equal(whole(raw.broadband[0]), truth.raw)
    assert "spike_times" not in raw.arrays and raw.arrays["behavior_names"] == ["cursor_pos_x", "cursor_pos_y"]
    with pytest.raises(
        InputError, match=r"no lfp series named 'LFPs'\. Choose from acquisition/broadband, processing/"
    ):
        read(path, lfp=("LFPs",))
    with pytest.raises(InputError, match="takes one field potential"):
        read(path, lfp=("broadband", "processing/ecephys/LFP/LFP"))


def test_inspection(path):
    truth = nwb2.write(path)
    found = inspect_file(path)
    assert found.chosen == ("processing/ecephys/LFP/LFP", "units", "processing/behavior/Velocity/cursor_vel")
    assert len(found.electrodes) == 3 and found.electrodes[0].y_um == truth.places_um[0, 1]
    text = format_inspection(found)
    assert "acquisition/broadband" in text and "cm/s" in text and "5000" in text


def _streamed_where_the_collector_runs_as_bytes_come(path, address):
    from fsspec.asyn import sync_wrapper
    from fsspec.implementations.http import HTTPFile

    faulthandler.dump_traceback_later(60, exit=True)
    fetch, garbage = HTTPFile.async_fetch_range, []
    for _ in range(50):
        garbage.append([h5py.File(io.BytesIO(path.read_bytes()), "r")])
        garbage[-1].append(garbage[-1])

    async def fetch_range(self, start, end):
        garbage.pop()
        if gc.isenabled():
            gc.collect()
        return await fetch(self, start, end)

    HTTPFile._fetch_range = sync_wrapper(fetch_range)
    (raw,) = read(address)
    return whole(raw.broadband[0], 5000), raw.arrays["source"]["files"], len(garbage)


def test_streamed_from_an_address(path):
    pytest.importorskip("aiohttp")
    truth = nwb2.write(path)
    with range_server.serving(path) as address:
        assert find_reader(address).name == "nwb"
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            streamed = process.submit(_streamed_where_the_collector_runs_as_bytes_come, path, address)
            field, files, garbage = streamed.result()
        assert garbage < 50
        np.testing.assert_array_equal(field, truth.lfp)
        assert files == {"sub-C_ses-1.nwb": address}
    with pytest.raises(InputError, match="Check the address, or download the file first"):
        read(address)


def _edit(path, change):
    with h5py.File(path, "r+") as file:
        change(file)


LFP = "processing/ecephys/LFP/LFP"
BAD = {
    "index too high": (
        lambda f: f["units/spike_times_index"].__setitem__(slice(None), f["units/spike_times_index"][()] + 7),
        "spike_times_index: must rise to",
    ),
    "NaN spikes": (lambda f: f["units/spike_times"].__setitem__(3, np.nan), "spike_times: must be finite seconds"),
    "clock runs back": (
        lambda f: f[f"{LFP}/timestamps"].__setitem__(100, 0.0),
        r"timestamps: must increase, got .* at sample 100",
    ),
    "clock too short": (
        lambda f: _shorten(f, f"{LFP}/timestamps"),
        r"data must be \(samples, channels\) with \[100\] samples and \[3\] channels",
    ),
    "electrodes beyond the table": (
        lambda f: f[f"{LFP}/electrodes"].__setitem__(slice(None), 99),
        "electrodes must be rows 0 to 3, got 99",
    ),
    "gain 0": (lambda f: f[f"{LFP}/data"].attrs.__setitem__("conversion", np.nan), "the conversion to volts must be"),
    "version 1": (lambda f: f.attrs.__setitem__("nwb_version", "1.0.6"), r"must be NWB 2, got version 1\.0\.6"),
    "no session time": (lambda f: f.__delitem__("session_start_time"), "not a readable NWB 2"),
}


def _shorten(file, name):
    attrs, values = dict(file[name].attrs), file[name][:100]
    del file[name]
    file.create_dataset(name, data=values).attrs.update(attrs)


@pytest.mark.parametrize("case", BAD)
def test_bad_content_is_one_line(path, case):
    nwb2.write(path, gap=(1500, 0.8))
    edit, message = BAD[case]
    _edit(path, edit)
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_nan_in_floats_is_told_when_it_is_read(path):
    nwb2.write(path)
    _edit(path, lambda f: _floats(f, f"{LFP}/data"))
    (lfp,) = read(path)[0].broadband
    with pytest.raises(InputError, match=r"must be finite, got nan in channel electrode002 at 2\.\d+ s"):
        whole(lfp)


def _floats(file, name):
    attrs, values = dict(file[name].attrs), file[name][()].astype(np.float32)
    values[2000, 1] = np.nan
    del file[name]
    file.create_dataset(name, data=values).attrs.update(attrs)
