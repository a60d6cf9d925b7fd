"""O'Doherty & Makin ("indy", "loco"): a MATLAB 7.3 `.mat` of spikes and reaches, and its NWB 1 broadband beside it."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float, Int

from spikefield.errors import InputError
from spikefield.recordings import clock
from spikefield.recordings.inspection import Inspection, Series
from spikefield.recordings.raw import Broadband, RawSession, SeriesChoice, chosen, intervals
from spikefield.recordings.readers import guard, hdf5, nwb1
from spikefield.recordings.readers.reader import Reader

_LAYOUT = "MATLAB 7.3 of O'Doherty & Makin"
_STEP_S, _STEP_TOLERANCE_S = 0.004, 1e-4
_BEHAVIOR = {
    "cursor_velocity": ("mm/s", ("cursor_vel_x", "cursor_vel_y")),
    "cursor_pos": ("mm", ("cursor_x", "cursor_y")),
    "target_pos": ("mm", ("target_x", "target_y")),
    "finger_pos": ("cm", ("finger_x", "finger_y", "finger_z")),
}
_UNITS = ("sorted", "unsorted")


def velocity(
    position: Float[np.ndarray, "samples dims"], times_s: Float[np.ndarray, " samples"]
) -> Float[np.ndarray, "samples dims"]:
    """Return the central difference (samples, dims) of a position per second, NaN beside what was not measured."""
    return np.gradient(position, times_s, axis=0)


def target_moves(target_pos: Float[np.ndarray, "samples dims"]) -> Int[np.ndarray, " moves"]:
    """Return the first sample of every target (moves,), sample 0 left out: it moves when any coordinate changes."""
    before, after = target_pos[:-1], target_pos[1:]
    changed = (before != after) & ~(np.isnan(before) & np.isnan(after))
    return np.flatnonzero(changed.any(axis=1)) + 1


def _files(path: Path) -> tuple[Path, ...]:
    other = {".mat": ".nwb", ".nwb": ".mat"}.get(path.suffix)
    pair = (path, path.with_suffix(other)) if other else (path,)
    return tuple(sorted(p for p in pair if p == path or p.is_file()))


def _is_mat(path: Path) -> bool:
    return {"t", "spikes", "chan_names", "cursor_pos"} <= set(hdf5.peek(path))


def _matches(path: Path) -> bool:
    return _is_mat(path) or nwb1.matches(path)


@dataclass
class _Mat:
    """Content of the `.mat`, everything but the wave forms."""

    times_s: np.ndarray
    channels: list[str]
    spike_times: np.ndarray
    spike_units: np.ndarray
    unit_ids: list[str]
    left_out: dict[str, Any] = field(default_factory=dict)

    @property
    def interval_s(self) -> tuple[float, float]:
        return float(self.times_s[0]), float(self.times_s[-1]) + _STEP_S


def _read(path: Path, choice: SeriesChoice) -> Iterator[RawSession]:
    paths = _files(path)
    mats, broadbands = [p for p in paths if _is_mat(p)], [p for p in paths if not _is_mat(p)]
    for p in broadbands:
        if not nwb1.matches(p):
            nwb1.refuse(p)
    lfp = chosen(path, "lfp", choice.lfp, ["broadband"] if broadbands else [], ["broadband"] if broadbands else [])
    stretches = nwb1.stretches(broadbands[0]) if lfp else ()
    arrays, left_out, notes = ({}, {}, []) if not mats else _mat_arrays(mats[0], choice, stretches)
    if stretches and not mats:
        arrays["intervals_s"] = intervals(stretches)
        notes.append(f"{path.stem}.mat is not beside the broadband: neither spikes nor behaviour")
    session = guard.safe_name(path.stem)
    used = tuple(p for p in paths if p in mats or stretches)
    yield RawSession(
        path=path,
        arrays=arrays
        | {
            "session": session,
            "subject": session.split("_")[0],
            "source": guard.source("indy", used, notes, left_out),
        },
        broadband=stretches,
    )


def _mat_arrays(
    path: Path, choice: SeriesChoice, stretches: tuple[Broadband, ...]
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    with hdf5.opened(path, _LAYOUT) as file:
        mat = _load(file, chosen(path, "unit", choice.units, _UNITS, _UNITS))
        names = chosen(path, "behavior", choice.behavior, list(_BEHAVIOR), ["cursor_velocity"])
        parts = [_behavior(file, name, mat.times_s) for name in names]
        targets = hdf5.rows(file, "target_pos", len(mat.times_s), (2,)) if "target_pos" in file else None
    valid = np.array([mat.interval_s])
    if stretches:
        _check_pair(path, mat, stretches)
        valid = clock.common(intervals(stretches), valid)
    arrays: dict[str, Any] = {"intervals_s": valid}
    arrays |= _spikes(mat, valid)
    if parts:
        labels = [label for name in names for label in _BEHAVIOR[name][1]]
        arrays |= {"behavior": np.hstack(parts), "behavior_times_s": mat.times_s, "behavior_names": labels}
    if targets is not None:
        arrays["trials_s"] = _trials(targets, mat)
    return arrays, mat.left_out, [f"behaviour: {', '.join(names) or 'none'}"]


def _load(file: h5py.File, rows: tuple[str, ...]) -> _Mat:
    times = hdf5.vector(file, "t")
    clock.check_even(times, _STEP_S, _STEP_TOLERANCE_S, f"{file.filename}: /t")
    names = hdf5.content(hdf5.dataset(file, "chan_names", kinds="O")).ravel()
    channels = [hdf5.text(_cell(file, ref)) for ref in names]
    if len(set(channels)) != len(channels):
        raise InputError(
            f"{file.filename}: /chan_names: must be different names, got {sorted(channels)[:4]}, … "
            "Rename them in the file."
        )
    cells = hdf5.content(hdf5.dataset(file, "spikes", kinds="O", ndim=(2,)))
    if cells.shape[1] != len(channels):
        raise InputError(
            f"{file.filename}: /spikes: must have one column for each of {len(channels)} chan_names, "
            f"got shape {cells.shape}. Fetch the file again: it is damaged or of another layout."
        )
    return _collect(file, cells, times, channels, rows)


def _collect(file: h5py.File, cells: np.ndarray, times: np.ndarray, channels: list[str], rows: tuple[str, ...]) -> _Mat:
    kept, ids, left_out = [], [], {"malformed cells": [], "spikes outside the behaviour's clock": {}}
    for unit, channel in np.ndindex(cells.shape):
        row = f"sorted_{unit:02}" if unit else "unsorted"
        if row.split("_")[0] not in rows:
            continue
        name = f"{channels[channel]}/{row}"
        spikes = _spike_cell(file, cells[unit, channel], name, left_out)
        if spikes is None:
            continue
        within = (spikes >= times[0]) & (spikes < times[-1] + _STEP_S)
        if not within.all():
            left_out["spikes outside the behaviour's clock"][name] = int((~within).sum())
        kept.append(spikes[within])
        ids.append(name)
    lost = sum(left_out["spikes outside the behaviour's clock"].values())
    if lost > sum(map(len, kept)):
        raise InputError(
            f"{file.filename}: /spikes: must be seconds on the clock of /t ({times[0]:.3f} to {times[-1]:.3f} s), but "
            f"{lost} of {lost + sum(map(len, kept))} lie outside it. Put them on that clock, in seconds."
        )
    return _Mat(
        times_s=times,
        channels=channels,
        spike_times=np.concatenate([*kept, np.empty(0)]),
        spike_units=np.repeat(np.arange(len(kept)), [len(k) for k in kept]),
        unit_ids=ids,
        left_out=left_out,
    )


def _cell(file: h5py.File, ref: h5py.Reference) -> np.ndarray | None:
    found = file[ref] if ref else None
    if not isinstance(found, h5py.Dataset):
        return None
    return hdf5.content(found)


def _spike_cell(file: h5py.File, ref: h5py.Reference, name: str, left_out: dict[str, Any]) -> np.ndarray | None:
    """Return the spike times of a cell; None where it is empty or malformed, the latter listed."""
    content = _cell(file, ref)
    if content is None or content.size < 2 or (content.dtype.kind != "f" and content.size == 2):
        return None
    if content.ndim == 2 and 1 not in content.shape:
        left_out["malformed cells"].append(f"{name}: shape {content.shape}")
        return None
    where = f"{file.filename}: /spikes ({name})"
    if content.dtype.kind != "f":
        raise InputError(f"{where}: must hold float seconds, got {content.dtype}. Check the file's layout.")
    spikes = content.ravel().astype(np.float64)
    if not np.isfinite(spikes).all():
        raise InputError(f"{where}: must be finite seconds, got NaN or infinity. Fetch the file again.")
    return spikes


def _spikes(mat: _Mat, valid: np.ndarray) -> dict[str, Any]:
    keep = clock.inside(mat.spike_times, valid)
    if not keep.all():
        mat.left_out["spikes outside the field potential"] = int((~keep).sum())
    if not keep.any():
        return {}
    return {
        "spike_times": mat.spike_times[keep],
        "spike_units": mat.spike_units[keep],
        "unit_ids": mat.unit_ids,
    }


def _behavior(file: h5py.File, name: str, times: np.ndarray) -> np.ndarray:
    if name == "cursor_velocity":
        return velocity(hdf5.rows(file, "cursor_pos", len(times), (2,)), times)
    if name == "finger_pos":  # stored as (z, -x, -y[, orientation])
        finger = hdf5.rows(file, "finger_pos", len(times), (3, 6))
        return np.column_stack([-finger[:, 1], -finger[:, 2], finger[:, 0]])
    return hdf5.rows(file, name, len(times), (2,))


def _trials(targets: np.ndarray, mat: _Mat) -> np.ndarray:
    edges = np.concatenate([[mat.times_s[0]], mat.times_s[target_moves(targets)], [mat.interval_s[1]]])
    return np.column_stack([edges[:-1], edges[1:]])


def _check_pair(path: Path, mat: _Mat, stretches: tuple[Broadband, ...]) -> None:
    """Refuse a broadband file whose clock or channels are not those of the `.mat`."""
    start, end = stretches[0].start_s, stretches[-1].end_s
    if not len(clock.common(intervals(stretches), np.array([mat.interval_s]))):
        raise InputError(
            f"{path}: does not belong to {path.stem}.nwb: /t runs {mat.times_s[0]:.3f} to {mat.times_s[-1]:.3f} s, the "
            f"broadband {start:.3f} to {end:.3f} s. Put the two files of one session together."
        )
    ids = stretches[0].channel_ids
    named = {i for i in ids if re.fullmatch(r"\w+ \d+", i)}
    if len(ids) != len(mat.channels) or (named and not named & set(mat.channels)):
        raise InputError(
            f"{path}: does not belong to {path.stem}.nwb: {len(mat.channels)} chan_names ({mat.channels[0]}, …), but "
            f"{len(ids)} electrodes ({ids[0]}, …). Put the two files of one session together."
        )


def _inspect(path: Path) -> Inspection:
    series: list[Series] = []
    electrodes, notes = (), []
    for file_path in _files(path):
        if _is_mat(file_path):
            series += _mat_series(file_path)
        else:
            broadband, electrodes = nwb1.series(file_path)
            series.append(broadband)
    if not any(s.kind == "field potential" for s in series):
        notes.append(f"no {path.stem}.nwb beside it: no field potential")
    proposed = [s.name for s in series if s.name in ("broadband", "sorted", "unsorted", "cursor_velocity")]
    return Inspection(
        path=path,
        reader="indy",
        layout=_LAYOUT,
        sessions=(guard.safe_name(path.stem),),
        series=tuple(series),
        electrodes=electrodes,
        chosen=tuple(proposed),
        notes=tuple(notes),
    )


def _mat_series(path: Path) -> list[Series]:
    with hdf5.opened(path, _LAYOUT) as file:
        mat = _load(file, ())
        start, end = mat.interval_s
        k = len(mat.times_s)
        cells = hdf5.content(hdf5.dataset(file, "spikes", kinds="O", ndim=(2,)))
        counts = [sum(_holds_spikes(file, ref) for ref in row) for row in cells]
        moves = target_moves(hdf5.rows(file, "target_pos", k, (2,))) if "target_pos" in file else ()
        stored = ["cursor_velocity", *[name for name in _BEHAVIOR if name in file]]
    span: dict[str, Any] = {"start_s": start, "end_s": end}
    return [
        Series(name="sorted", kind="spikes", channels=sum(counts[1:]), unit="s", **span),
        Series(name="unsorted", kind="spikes", channels=counts[0], unit="s", **span),
        *[
            Series(
                name=name,
                kind="behaviour",
                channels=len(_BEHAVIOR[name][1]),
                samples=k,
                rate_hz=(k - 1) / (mat.times_s[-1] - mat.times_s[0]),
                unit=_BEHAVIOR[name][0],
                **span,
            )
            for name in stored
        ],
        Series(name="reaches", kind="trials", channels=len(moves) + 1, **span),
    ]


def _holds_spikes(file: h5py.File, ref: h5py.Reference) -> bool:
    found = file[ref] if ref else None
    if not isinstance(found, h5py.Dataset) or found.dtype.kind != "f":
        return False
    return 1 in found.shape and math.prod(found.shape) >= 2


READER = Reader(name="indy", layout=_LAYOUT, matches=_matches, inspect=_inspect, read=_read, files=_files)
