"""Sessions as torch_brain prepares them: Perich & Miller (irregular cursor, trials), O'Doherty (regular cursor)."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import h5py
import numpy as np
from torch_brain.data import (
    ArrayDict,
    Data,
    Interval,
    IrregularTimeSeries,
    RegularTimeSeries,
    SessionDescription,
    SubjectDescription,
)


@dataclass
class Truth:
    """What was planted."""

    spikes: np.ndarray
    unit_index: np.ndarray
    unit_ids: list[str]
    velocity: np.ndarray
    times_s: np.ndarray
    trials_s: np.ndarray


def write(path: Path, *, regular: bool = False, seconds: float = 5.0, seed: int = 0) -> Truth:
    generator = np.random.default_rng(seed)
    units = [f"group_M1/elec{i}/unit_{i}" for i in range(4)]
    times = 2.0 + np.arange(round(seconds * 100)) / 100
    velocity = generator.normal(size=(len(times), 2))
    spikes = np.sort(generator.uniform(2.0, 2.0 + seconds - 0.02, 200))
    index = generator.integers(0, len(units), len(spikes))
    index[: len(units)] = np.arange(len(units))
    trials = np.array([(2.5, 3.0), (3.0, 4.2), (4.5, 6.0)])
    content = {"pos": np.cumsum(velocity, axis=0), "vel": velocity, "acc": np.gradient(velocity, axis=0)}
    cursor = (
        RegularTimeSeries(sampling_rate=100.0, domain_start=2.0, **content)
        if regular
        else IrregularTimeSeries(timestamps=times, domain="auto", **content)
    )
    data = Data(
        subject=SubjectDescription(id="c", species="MACACA_MULATTA"),
        session=SessionDescription(
            id="c_20161021_center_out_reaching", recording_date=datetime(2016, 10, 21), task="REACHING"
        ),
        spikes=IrregularTimeSeries(timestamps=spikes, unit_index=index, domain=cursor.domain),
        units=ArrayDict(id=np.array(units)),
        cursor=cursor,
        trials=Interval(trials[:, 0], trials[:, 1], is_valid=np.ones(3, bool)),
        domain=cursor.domain,
    )
    with h5py.File(path, "w") as file:
        data.to_hdf5(file)
    return Truth(spikes, index, units, velocity, times, trials)
