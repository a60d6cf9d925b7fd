"""NWB 2 files through pynwb: units, several ElectricalSeries, behaviour on its own clock, trials."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
import pynwb
from pynwb.behavior import BehavioralTimeSeries, Position
from pynwb.ecephys import LFP, ElectricalSeries

CONVERSION_V = 1e-6
FULL_SCALE = 10_000


@dataclass
class Truth:
    """What was planted."""

    lfp: np.ndarray
    lfp_rate_hz: float
    lfp_start_s: float
    raw: np.ndarray
    velocity: np.ndarray
    behavior_times_s: np.ndarray
    spikes: list[np.ndarray]
    trials_s: np.ndarray
    places_um: np.ndarray


def write(path: Path, **options) -> Truth:
    """Write a file, see `_write`; pynwb warns of the very faults that are planted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return _write(path, **options)


def _write(
    path: Path,
    *,
    seconds: float = 4.0,
    gap: tuple[int, float] | None = None,
    turned: bool = False,
    lfp: bool = True,
    raw: bool = True,
    offset_v: float = 0.0,
    planted: Callable[[np.ndarray], np.ndarray] | None = None,
    seed: int = 0,
) -> Truth:
    """Write a file; `gap` = (first LFP sample after it, seconds without samples) puts the LFP on time stamps.

    `planted` gives (samples, channels) of at most 1 at any times, stored as `FULL_SCALE` counts of the LFP.
    """
    generator = np.random.default_rng(seed)
    file = pynwb.NWBFile(
        session_description="synthetic", identifier="id-1", session_start_time=datetime(2020, 1, 1, tzinfo=UTC)
    )
    file.subject = pynwb.file.Subject(subject_id="C", species="Macaca mulatta", sex="M", age="P5Y")
    device = file.create_device(name="array")
    group = file.create_electrode_group(name="M1", description="M1", location="M1", device=device)
    places = np.array([(400.0 * i, 800.0 * i) for i in range(4)])
    for x, y in places:
        file.add_electrode(group=group, location="M1", rel_x=x, rel_y=y)
    truth = Truth(
        lfp=generator.integers(-500, 500, (round(seconds * 1000), 3)).astype(np.int16),
        lfp_rate_hz=1000.0,
        lfp_start_s=0.25,
        raw=generator.integers(-500, 500, (round(seconds * 5000), 4)).astype(np.int16),
        velocity=generator.normal(size=(round(seconds * 100), 2)),
        behavior_times_s=0.1 + np.arange(round(seconds * 100)) / 100,
        spikes=[np.sort(generator.uniform(0.3, seconds - 0.2, 20 + i)) for i in range(5)],
        trials_s=np.array([(0.3, 1.0), (1.2, 2.0), (2.0, 3.1)]),
        places_um=places[1:],
    )
    stamps = truth.lfp_start_s + np.arange(len(truth.lfp)) / truth.lfp_rate_hz
    if gap:
        stamps[gap[0] :] += gap[1]
    if planted is not None:
        truth.lfp = np.rint(FULL_SCALE * planted(stamps)).astype(np.int16)
    if lfp:
        region = file.create_electrode_table_region(region=[1, 2, 3], description="LFP channels")
        even = {"rate": truth.lfp_rate_hz, "starting_time": truth.lfp_start_s}
        clock = {"timestamps": stamps} if gap else even
        series = ElectricalSeries(
            name="LFP", data=truth.lfp, electrodes=region, conversion=CONVERSION_V, offset=offset_v, **clock
        )
        file.create_processing_module(name="ecephys", description="field potential").add(
            LFP(electrical_series=series, name="LFP")
        )
    if raw:
        region = file.create_electrode_table_region(region=[0, 1, 2, 3], description="all channels")
        file.add_acquisition(
            ElectricalSeries(
                name="broadband",
                data=truth.raw,
                electrodes=region,
                conversion=CONVERSION_V,
                rate=5000.0,
                starting_time=0.0,
            )
        )
    _behavior(file, truth)
    for i, spikes in enumerate(truth.spikes):
        file.add_unit(spike_times=np.append(spikes, seconds + 40.0) if i == 0 else spikes)
    for start, stop in truth.trials_s:
        file.add_trial(start_time=start, stop_time=stop)
    with pynwb.NWBHDF5IO(path, "w") as io:
        io.write(file)
    if turned:
        _turn(path, "processing/ecephys/LFP/LFP/data")
    return truth


def _turn(path: Path, name: str) -> None:
    """Lay a dataset the wrong way round, which pynwb itself refuses to write."""
    with h5py.File(path, "r+") as file:
        attrs, values = dict(file[name].attrs), file[name][()]
        del file[name]
        file.create_dataset(name, data=np.ascontiguousarray(values.T)).attrs.update(attrs)


def _behavior(file: pynwb.NWBFile, truth: Truth) -> None:
    module = file.create_processing_module(name="behavior", description="movement")
    position = Position(name="Position")
    position.create_spatial_series(
        name="cursor_pos",
        data=np.cumsum(truth.velocity, axis=0) / 100,
        timestamps=truth.behavior_times_s,
        reference_frame="screen",
        unit="cm",
    )
    velocity = BehavioralTimeSeries(name="Velocity")
    velocity.create_timeseries(name="cursor_vel", data=truth.velocity, timestamps=truth.behavior_times_s, unit="cm/s")
    module.add(position)
    module.add(velocity)
