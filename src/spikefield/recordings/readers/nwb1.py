"""NWB 1 broadband of O'Doherty & Makin: int16 in one HDF5 file, either way round, read in chunks on its own clock."""

import itertools
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from spikefield.errors import InputError
from spikefield.recordings import clock
from spikefield.recordings.inspection import Electrode, Series
from spikefield.recordings.raw import Broadband
from spikefield.recordings.readers import hdf5

LAYOUT = "NWB 1 broadband of O'Doherty & Makin"
_SERIES = "acquisition/timeseries/broadband"
_MAP = "general/extracellular_ephys/electrode_map"
_BLOCK = 1 << 20


def matches(path: Path) -> bool:
    """Tell whether a file is NWB 1: HDF5 with a root dataset `nwb_version` that says 1."""
    return hdf5.peek(path).get("nwb_version") == "Dataset" and _version(path).startswith(("1", "NWB-1"))


def _version(path: Path) -> str:
    try:
        with h5py.File(path, "r") as file:
            return hdf5.text(file["nwb_version"][()])  # pyright: ignore[reportIndexIssue]
    except Exception:  # what cannot be read has no version
        return ""


def refuse(path: Path) -> None:
    """Say why a file beside a `.mat` is not its broadband.

    Raises:
        InputError: always.
    """
    with hdf5.opened(path, LAYOUT) as file:
        version = file.attrs.get("nwb_version", _version(path) or "none")
        raise InputError(
            f"{path}: must be NWB 1, got version {hdf5.text(version)}. Read it by itself, or move it away."
        )


def stretches(path: Path) -> tuple[Broadband, ...]:
    """Return the broadband as stretches without a gap.

    Raises:
        InputError: a field is missing or of the wrong type, or shapes do not fit each other.
    """
    with hdf5.opened(path, LAYOUT) as file:
        group = _group(file)
        data = hdf5.dataset(group, "data", kinds="i", ndim=(2,))
        if data.dtype.itemsize != 2:
            raise InputError(f"{path}: {data.name}: must be int16, got {data.dtype}. Check the file's layout.")
        stamps = _timestamps(group)
        hdf5.check_chunks(data)
        hdf5.check_chunks(stamps)
        turned = _turned(path, data, len(stamps))
        ids = _channel_ids(group, data.shape[0 if turned else 1])
        conversion = np.full(len(ids), _conversion(path, data))
        positions = _positions(file, len(ids))
        measured = clock.measure(_blocks(stamps), f"{path}: {stamps.name}")
        name = hdf5.name_of(data)
    return tuple(
        Broadband(
            name=f"{path}: {name}",
            rate_hz=measured.rate_hz,
            start_s=s.start_s,
            n_samples=s.count,
            channel_ids=ids,
            positions_um=positions,
            conversion_v=conversion,
            stream=partial(_stream, path, name, s.first, s.count, turned),
        )
        for s in measured.stretches
    )


def series(path: Path) -> tuple[Series, tuple[Electrode, ...]]:
    """Return what the file holds, for `inspect`; the signal itself is not read."""
    pieces = stretches(path)
    ids, places = pieces[0].channel_ids, pieces[0].positions_um
    found = Series(
        name="broadband",
        kind="field potential",
        channels=len(ids),
        samples=sum(p.n_samples for p in pieces),
        rate_hz=pieces[0].rate_hz,
        unit="V",
        start_s=pieces[0].start_s,
        end_s=pieces[-1].end_s,
        gaps_s=tuple((a.end_s, b.start_s) for a, b in itertools.pairwise(pieces)),
    )
    table = (
        ()
        if places is None
        else tuple(Electrode(id=i, x_um=float(x), y_um=float(y)) for i, (x, y) in zip(ids, places, strict=True))
    )
    return found, table


def _group(file: h5py.File) -> h5py.Group:
    found = file.get(_SERIES)
    if not isinstance(found, h5py.Group):
        raise InputError(f"{file.filename}: /{_SERIES}: missing; the root holds {', '.join(file)}. Fetch it again.")
    return found


def _timestamps(group: h5py.Group) -> h5py.Dataset:
    stamps = hdf5.dataset(group, "timestamps", kinds="f")
    if stamps.ndim == 2 and 1 not in stamps.shape:
        raise InputError(
            f"{group.file.filename}: {stamps.name}: must be (k,), got shape {stamps.shape}. Fetch it again."
        )
    return stamps


def _turned(path: Path, data: h5py.Dataset, samples: int) -> bool:
    """Tell whether the data lie as (channels, samples) instead of (samples, channels)."""
    if data.shape[0] == samples:
        return False
    if data.shape[1] == samples:
        return True
    raise InputError(
        f"{path}: {data.name}: must have one axis of {samples} samples, as timestamps has, got shape "
        f"{data.shape}. Fetch the file again: it is half-written."
    )


def _channel_ids(group: h5py.Group, channels: int) -> tuple[str, ...]:
    if "electrode_names" not in group:
        return tuple(f"ch{i + 1:03d}" for i in range(channels))
    names = hdf5.texts(hdf5.dataset(group, "electrode_names", kinds="OSU"))
    if len(names) != channels or len(set(names)) != channels:
        raise InputError(
            f"{group.file.filename}: {group.name}/electrode_names: must be {channels} different names, as data has "
            f"channels, got {len(set(names))} different of {len(names)}. Fetch the file again."
        )
    return tuple(names)


def _conversion(path: Path, data: h5py.Dataset) -> float:
    value = np.asarray(data.attrs.get("conversion", np.nan)).ravel()
    if value.size != 1 or value.dtype.kind not in "fiu" or not np.isfinite(value[0]) or value[0] == 0:
        raise InputError(
            f"{path}: {data.name}: attribute `conversion` must be the volts of one count, got {value.tolist()}. "
            "Mend the attribute."
        )
    return float(value[0])


def _positions(file: h5py.File, channels: int) -> np.ndarray | None:
    if _MAP not in file:
        return None
    places = hdf5.rows(file, _MAP, channels, (2, 3))
    return places[:, :2] * 1e6 if np.isfinite(places[:, :2]).all() else None


def _blocks(stamps: h5py.Dataset) -> Iterator[np.ndarray]:
    if stamps.ndim == 2:
        yield hdf5.content(stamps).ravel()
        return
    for start in range(0, len(stamps), _BLOCK):
        yield stamps[start : start + _BLOCK]


def _stream(path: Path, name: str, first: int, count: int, turned: bool, samples: int) -> Iterator[np.ndarray]:
    with hdf5.opened(path, LAYOUT) as file:
        data = hdf5.dataset(file, name, kinds="i", ndim=(2,))
        for start in range(first, first + count, samples):
            stop = min(start + samples, first + count)
            yield data[:, start:stop].T if turned else data[start:stop]
