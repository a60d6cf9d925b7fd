"""O'Doherty & Makin sessions: `.mat` (MATLAB 7.3) and its NWB 1 broadband, with the quirks of the public files."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from writers import matlab73

RATE_HZ = 24414.34
START_S = 1234.5
CONVERSION_V = 2.5e-7
FULL_SCALE = 10_000


@dataclass
class Truth:
    """What was planted; `spikes` holds only what a reader should keep, by unit name."""

    times_s: np.ndarray
    cursor: np.ndarray
    velocity: np.ndarray
    target: np.ndarray
    finger: np.ndarray
    moves: np.ndarray
    channels: list[str]
    spikes: dict[str, np.ndarray] = field(default_factory=dict)
    before_start: dict[str, int] = field(default_factory=dict)
    malformed: list[str] = field(default_factory=list)


def movement(seconds: float, *, start_s: float = START_S) -> Truth:
    """Smooth reaches on the 250 Hz clock, their true velocity, and targets that move in every way a target may."""
    times = start_s + np.arange(round(seconds * 250)) * 0.004 + 2e-6 * np.sin(np.arange(round(seconds * 250)))
    phase = 2 * np.pi * (times - start_s)
    cursor = np.column_stack([40 * np.sin(0.7 * phase), 30 * np.cos(1.1 * phase)])
    velocity = np.column_stack(
        [40 * 0.7 * 2 * np.pi * np.cos(0.7 * phase), -30 * 1.1 * 2 * np.pi * np.sin(1.1 * phase)]
    )
    moves = np.linspace(0, len(times), 6).astype(int)[1:-1]
    steps = [(15.0, -15.0), (15.0, 0.0), (0.0, -15.0), (-15.0, 15.0)]  # dx = -dy hides from a sum of changes
    target = np.zeros((len(times), 2))
    for move, step in zip(moves, steps, strict=True):
        target[move:] += step
    finger = np.column_stack([cursor[:, 1], -cursor[:, 0] / 10, -cursor[:, 1] / 10])  # (z, -x, -y) in cm
    return Truth(times, cursor, velocity, target, finger, moves, channels=[])


def write_mat(
    path: Path,
    *,
    seconds: float = 3.0,
    channels: int = 4,
    areas: tuple[str, ...] = ("M1",),
    rows: int = 5,
    seed: int = 0,
) -> Truth:
    truth = movement(seconds)
    truth.channels = [f"{area} {i + 1:03d}" for area in areas for i in range(channels)]
    generator = np.random.default_rng(seed)
    with matlab73.create(path) as file:
        file.create_dataset("t", data=truth.times_s[None])
        file.create_dataset("cursor_pos", data=truth.cursor.T)
        file.create_dataset("target_pos", data=truth.target.T)
        orientation = np.zeros((len(truth.times_s), 3))
        file.create_dataset("finger_pos", data=np.column_stack([truth.finger, orientation]).T)
        refs = file.create_group("#refs#")
        names = [matlab73.put_text(refs, f"n{i}", name).ref for i, name in enumerate(truth.channels)]
        matlab73.put_cells(file, "chan_names", np.array([names], object))
        cells = np.empty((rows, len(truth.channels)), object)
        waves = np.empty_like(cells)
        for unit, channel in np.ndindex(cells.shape):
            cells[unit, channel] = _cell(refs, truth, generator, unit, channel)
            waves[unit, channel] = refs.create_dataset(f"w{unit}_{channel}", data=np.zeros((48, 3))).ref
        matlab73.put_cells(file, "spikes", cells)
        matlab73.put_cells(file, "wf", waves)
    return truth


def _cell(refs: h5py.Group, truth: Truth, generator: np.random.Generator, unit: int, channel: int) -> h5py.Reference:
    """One cell: spikes, or one of the ways in which the public files leave it empty or malformed."""
    place = f"s{unit}_{channel}"
    name = f"{truth.channels[channel]}/{f'sorted_{unit:02}' if unit else 'unsorted'}"
    kind = (unit + 2 * channel) % 7
    if unit >= 3 or kind == 5:
        return matlab73.put_empty(refs, place).ref
    if kind == 6:
        truth.malformed.append(name)
        return refs.create_dataset(place, data=np.ones((2, 2))).ref
    if kind == 4:
        return refs.create_dataset(place, data=np.array([[truth.times_s[10]]])).ref
    start, end = truth.times_s[0], truth.times_s[-1] + 0.004
    kept = np.sort(generator.uniform(start, end - 1e-6, 20 + channel))
    early = start - generator.uniform(0.01, 0.5, 3 if kind == 2 else 0)
    if len(early):
        truth.before_start[name] = len(early)
    truth.spikes[name] = kept
    return refs.create_dataset(place, data=np.concatenate([np.sort(early), kept])[None]).ref


@dataclass
class BroadbandTruth:
    """Counts of the broadband and the clock they lie on."""

    counts: np.ndarray
    times_s: np.ndarray
    positions_um: np.ndarray
    names: list[str]


def write_nwb(
    path: Path,
    *,
    seconds: float = 3.0,
    names: tuple[str, ...] = ("M1 001", "M1 002", "M1 003", "M1 004"),
    start_s: float = START_S - 0.2,
    turned: bool = False,
    gap: tuple[int, float] | None = None,
    compression: str | None = "gzip",
    version: str = "NWB-1.0.5",
    planted: Callable[[np.ndarray], np.ndarray] | None = None,
    seed: int = 0,
) -> BroadbandTruth:
    """Write a broadband file; `gap` = (first sample after it, seconds without samples).

    `planted` gives (samples, channels) of at most 1 at any times, stored as `FULL_SCALE` counts.
    """
    samples = round(seconds * RATE_HZ)
    times = start_s + np.arange(samples) / RATE_HZ
    if gap:
        times[gap[0] :] += gap[1]
    noise = np.random.default_rng(seed).normal(0, 40, (samples, len(names)))
    wave = 1500 * np.sin(2 * np.pi * 7 * times)[:, None] * np.linspace(0.5, 1, len(names))
    counts = np.rint(wave + noise if planted is None else FULL_SCALE * planted(times)).astype(np.int16)
    places = np.column_stack([np.arange(len(names)) * 4e-4, np.arange(len(names)) * 8e-4, np.zeros(len(names))])
    with h5py.File(path, "w") as file:
        file.create_dataset("nwb_version", data=np.bytes_(version))
        group = file.create_group("acquisition/timeseries/broadband")
        stored = np.ascontiguousarray(counts.T) if turned else counts
        rows, columns = min(4096, samples), min(len(names), 2)
        chunks = None if compression is None else (columns, rows) if turned else (rows, columns)
        data = group.create_dataset("data", data=stored, chunks=chunks, compression=compression)
        data.attrs.update({"conversion": CONVERSION_V, "resolution": CONVERSION_V, "unit": "volts"})
        group.create_dataset("timestamps", data=times, compression=compression)
        group.create_dataset("electrode_names", data=np.array(names, dtype="S"))
        file.create_dataset("general/extracellular_ephys/electrode_map", data=places)
    return BroadbandTruth(counts=counts, times_s=times, positions_um=places[:, :2] * 1e6, names=list(names))
