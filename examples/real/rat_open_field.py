"""Freely moving rat, 20 minutes of raw Axona files (Tampuu et al. 2019): 3 tetrodes, 3 field channels, position.

python examples/real/rat_open_field.py SOURCE_DIR OUT_DIR
"""

import sys
from pathlib import Path

import numpy as np

from spikefield.recordings.arrays import from_arrays
from spikefield.recordings.session import save

PIXELS_PER_CM = 3.65
LED_LOST = 1023
SPIKE_CLOCK_HZ = 96_000


def records(path: Path, dtype: list) -> np.ndarray:
    """Read the fixed-length records between `data_start` and `data_end`."""
    body = path.read_bytes().split(b"data_start", 1)[1]
    itemsize = np.dtype(dtype).itemsize
    n_records = (body.rindex(b"\r\ndata_end")) // itemsize
    return np.frombuffer(body, dtype, count=n_records)


def tracked(path: Path) -> np.ndarray:
    """Return (samples, 3): x and y in cm and the logarithm of speed, NaN where the LED was lost."""
    pixels = records(path, [("frame", ">u4"), ("value", ">u2", 8)])["value"][:, :2].astype(float)
    lost = (pixels == LED_LOST).any(axis=1)
    pixels[lost] = np.nan
    cm = pixels / PIXELS_PER_CM
    half_s = 25
    smooth = np.stack([np.convolve(c, np.ones(half_s) / half_s, mode="same") for c in cm.T], axis=1)
    speed = np.hypot(*np.gradient(smooth, 1 / 50, axis=0).T)
    return np.column_stack([cm, np.log(speed + 1.0)])


def sorted_spikes(source: Path, tetrode: int) -> tuple[np.ndarray, np.ndarray]:
    """Return times (s) and cluster of every assigned spike of a tetrode."""
    channel = [("time", ">u4"), ("wave", "i1", 50)]
    times = records(source / f"83812141.{tetrode}", [("channel", channel, 4)])["channel"]["time"][:, 0]
    text = (source / f"83812141_{tetrode}.cut").read_text().split("Exact_cut_for:", 1)[1]
    cluster = np.array(text.split("\n", 1)[1].split(), int)
    return times[cluster > 0] / SPIKE_CLOCK_HZ, cluster[cluster > 0]


def main(source: Path, out: Path) -> None:
    """Write the rat's session: raw field potential at 250 Hz, sorted spikes, position and log speed."""
    times, units = [], []
    for tetrode in (5, 7, 8):
        time_s, cluster = sorted_spikes(source, tetrode)
        times.append(time_s)
        units.append(100 * tetrode + cluster)
    names, unit_index = np.unique(np.concatenate(units), return_inverse=True)
    field = np.stack([records(source / f"83812141.eeg{k}", [("v", "i1")])["v"] for k in ("", "2", "3")], axis=1)
    end_s = len(field) / 250
    spike_times = np.concatenate(times)
    inside = spike_times < end_s
    session = from_arrays(
        session="r1838",
        subject="r1838",
        spike_times=spike_times[inside],
        spike_units=unit_index[inside],
        unit_ids=[f"t{n // 100}c{n % 100}" for n in names],
        lfp=field,
        lfp_rate_hz=250.0,
        channel_ids=["eeg", "eeg2", "eeg3"],
        behavior=tracked(source / "83812141.pos"),
        behavior_rate_hz=50.0,
        behavior_names=["x_cm", "y_cm", "log_speed"],
        source={"reader": Path(__file__).name},
    )
    save(session, out / "r1838.h5")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
