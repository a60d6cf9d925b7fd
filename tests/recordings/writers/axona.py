"""Axona unit-mode files: settings, two EEG channels, tracked lights, one tetrode with its cut."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_HEADER = "trial_date Tuesday, 14 Dec 2010\r\ntrial_time 10:44:07\r\ncomments 1838\r\nduration 4\r\n"

FULL_SCALE = 120
VOLTS_PER_COUNT = 1.5 / np.array([6000, 5000]) / 128


@dataclass
class Truth:
    """What was planted."""

    eeg: np.ndarray
    lights: np.ndarray
    spikes_s: np.ndarray
    clusters: np.ndarray


def write(
    folder: Path,
    *,
    seconds: int = 4,
    stem: str = "rec1",
    planted: Callable[[np.ndarray], np.ndarray] | None = None,
    seed: int = 0,
) -> tuple[Path, Truth]:
    """Write a recording; `planted` gives the two EEG channels, of at most 1, at any times."""
    generator = np.random.default_rng(seed)
    truth = Truth(
        eeg=generator.integers(-128, 127, (250 * seconds, 2)).astype(np.int8),
        lights=generator.integers(1, 700, (50 * seconds, 4)),
        spikes_s=np.sort(generator.integers(0, 96000 * seconds, 60)) / 96000,
        clusters=generator.integers(0, 4, 60),
    )
    if planted is not None:
        truth.eeg = np.rint(FULL_SCALE * planted(np.arange(250 * seconds) / 250)).astype(np.int8)
    truth.lights[10:20, :2] = 1023
    settings = "ADC_fullscale_mv 1500\r\ngain_ch_3 6000\r\ngain_ch_8 5000\r\nEEG_ch_1 4\r\nEEG_ch_2 9\r\n"
    path = folder / f"{stem}.set"
    path.write_bytes((_HEADER + settings).encode())
    for i in range(2):
        head = f"num_chans 1\r\nsample_rate 250.0 hz\r\nbytes_per_sample 1\r\nnum_EEG_samples {250 * seconds}    \r\n"
        _write(path.with_suffix(".eeg" if i == 0 else f".eeg{i + 1}"), head, truth.eeg[:, i].tobytes())
    places = np.zeros((50 * seconds,), np.dtype([("frame", ">u4"), ("place", ">u2", (8,))]))
    places["frame"], places["place"][:, :4] = np.arange(50 * seconds), truth.lights
    head = f"timebase 50 hz\r\nsample_rate 50.0 hz\r\npixels_per_metre 365\r\nnum_pos_samples {50 * seconds}\r\n"
    _write(path.with_suffix(".pos"), head, places.tobytes())
    snippets = np.zeros((60, 4), np.dtype([("time", ">u4"), ("wave", "i1", (50,))]))
    snippets["time"] = np.rint(truth.spikes_s * 96000).astype(np.int64)[:, None]
    head = "num_chans 4\r\ntimebase 96000 hz\r\nsamples_per_spike 50\r\nsample_rate 48000 hz\r\nnum_spikes 60\r\n"
    _write(path.with_suffix(".5"), head, snippets.tobytes())
    cut = f"n_clusters: 20\r\nn_channels: 4\r\nExact_cut_for: {stem} spikes: 60\r\n"
    numbers = "".join(f"{c:3d}" + ("\r\n" if i % 25 == 24 else "") for i, c in enumerate(truth.clusters))
    path.with_name(f"{stem}_5.cut").write_bytes((cut + numbers + "\r\n").encode())
    return path, truth


def _write(path: Path, settings: str, content: bytes) -> None:
    path.write_bytes((_HEADER + settings).encode() + b"data_start" + content + b"\r\ndata_end\r\n")
