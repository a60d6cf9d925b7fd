"""`trial_data` files of Gallego-Carracedo 2022: MATLAB 7.3 struct arrays, guides in any order of columns."""

from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from writers import matlab73

BANDS = ((0, 0), (0.5, 4), (4, 8), (8, 12), (12, 25), (25, 50), (50, 100), (100, 200), (200, 400))


@dataclass
class Truth:
    """What was planted, by trial; `power` lies by electrode and band, whatever the order in the file."""

    bin_s: float
    bins: list[int]
    velocity: list[np.ndarray] = field(default_factory=list)
    counts: dict[str, list[np.ndarray]] = field(default_factory=dict)
    power: dict[str, list[np.ndarray]] = field(default_factory=dict)
    unit_guide: dict[str, np.ndarray] = field(default_factory=dict)


def write(
    path: Path,
    *,
    areas: tuple[str, ...] = ("M1",),
    bins: tuple[int, ...] = (40, 25, 33),
    bin_s: float = 0.03,
    units: int = 5,
    electrodes: tuple[int, ...] = (3, 17),
    bands: tuple[tuple[float, float], ...] = BANDS,
    shuffled: bool = True,
    compression: str | None = "gzip",
    seed: int = 0,
) -> Truth:
    generator = np.random.default_rng(seed)
    truth = Truth(bin_s=bin_s, bins=list(bins))
    guide = np.array([(e, *band) for e in electrodes for band in bands], float)
    order = generator.permutation(len(guide)) if shuffled else np.arange(len(guide))
    trials = []
    for n in bins:
        velocity = generator.normal(size=(n, 2))
        velocity[n // 2] = np.nan
        truth.velocity.append(velocity)
        trial = {
            "monkey": "Chewie",
            "date_time": "2015/03/13 14:00:00",
            "task": "CO",
            "result": "R",
            "tgtDir": np.array([[0.5]]),
            "bin_size": np.array([[bin_s]]),
            "idx_startTime": np.array([[1.0]]),
            "idx_goCueTime": np.array([[float(n // 3)]]),
            "idx_endTime": np.array([[float(n)]]),
            "pos": generator.normal(size=(n, 2)),
            "vel": velocity,
        }
        for area in areas:
            counts = generator.poisson(1.5, (n, units)).astype(float)
            power = generator.normal(size=(n, len(guide)))
            truth.counts.setdefault(area, []).append(counts)
            truth.power.setdefault(area, []).append(power)
            truth.unit_guide[area] = np.column_stack([np.arange(units) + 1, np.arange(units) % 2 + 1]).astype(float)
            trial |= {
                f"{area}_spikes": counts,
                f"{area}_unit_guide": truth.unit_guide[area],
                f"{area}_lfp": power[:, order],
                f"{area}_lfp_guide": guide[order],
            }
        trials.append(trial)
    with matlab73.create(path) as file:
        _struct_array(file, trials, compression)
    return truth


def _struct_array(file: h5py.File, trials: list[dict], compression: str | None) -> None:
    """One reference a trial in every field; MATLAB writes a struct of one trial without references."""
    group = file.create_group("trial_data")
    group.attrs["MATLAB_class"] = np.bytes_("struct")
    if len(trials) == 1:
        for name, value in trials[0].items():
            _put(group, name, value, compression)
        return
    refs = file.create_group("#refs#")
    for name in trials[0]:
        cells = [_put(refs, f"{name}_{i}", trial[name], compression).ref for i, trial in enumerate(trials)]
        matlab73.put_cells(group, name, np.array(cells, object)[:, None])


def _put(group: h5py.Group, name: str, value, compression: str | None) -> h5py.Dataset:
    if isinstance(value, str):
        return matlab73.put_text(group, name, value)
    return matlab73.put(group, name, value, compression=compression if np.size(value) > 8 else None)
