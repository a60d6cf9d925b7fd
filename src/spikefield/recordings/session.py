"""The one layout of a prepared session: a torch_brain `Data` in one HDF5 file, whatever lab it came from.

    session.id, subject.id          text
    spikes | spike_counts           spike times (s) with `unit_index`, or counts on a regular grid
    units.id                        one name a unit
    lfp.signal                      (samples, channels) float32, regular; NaN outside the domain only
    channels.id [, x_um, y_um]      one name (and place) a channel
    behavior.values                 (samples, dims), regular or with timestamps; NaN = not measured
    behavior_dims.name, .period     one name a dim; period of a circular dim in its units, NaN if linear
    domain                          the intervals of valid time; whatever lies between them is a gap
    trials                          intervals, where the task has them
    provenance                      JSON text: source files with hashes, reader, what was dropped

Spikes, LFP and behaviour may each be absent.
"""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from torch_brain.data import Data, IrregularTimeSeries, RegularTimeSeries

import spikefield.files as files
from spikefield.errors import InputError

LAYOUT_VERSION = 1
_HIGHEST_COMPRESSION, _SMALL_BYTES = 1100, 1 << 20  # deflate reaches 1032


def save(session: Data, path: str | Path) -> Path:
    """Write a prepared session to `path` (`.h5`), whole or not at all, and return the path.

    Raises:
        InputError: the folder cannot be written.
    """
    path = Path(path)
    with files.whole(path) as temporary, h5py.File(temporary, "w") as file:
        session.to_hdf5(file)
    return path


def check_name(argument: str, name: object) -> None:
    """Check the name of a session or subject, which becomes part of file names.

    Raises:
        InputError: not made of letters, digits, `-`, `_` and `.`, or it starts with `.`.
    """
    if not isinstance(name, str) or not name or not all(c.isalnum() or c in "-_." for c in name) or name[0] == ".":
        raise InputError(f"`{argument}` must be made of letters, digits, '-', '_' and '.', got {name!r}. Rename it.")


def load(path: str | Path) -> Data:
    """Open a prepared session; arrays are read when they are first used.

    Raises:
        InputError: no such file, not a prepared session, or written by a newer spikefield.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file. Write prepared sessions with `spikefield prepare SOURCE --out DIR`.")
    try:
        _check_sizes(path)
        session = Data.load(path)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{path}: not a readable prepared session ({_one_line(error)}). Prepare its source again."
        ) from error
    version = getattr(session, "layout_version", None)
    if version is None:
        raise InputError(
            f"{path}: has no `layout_version`, so it is not a prepared session. Run `spikefield prepare` on it first."
        )
    if not isinstance(version, int | np.integer) or version > LAYOUT_VERSION:
        raise InputError(
            f"{path}: layout {version} is newer than {LAYOUT_VERSION}, the newest known here. Update spikefield."
        )
    _check_whole(session, path)
    return session


def _check_sizes(path: Path) -> None:
    """Refuse arrays that declare far more than the file holds, before anything of their size is allocated."""

    def check(name: str, item: object) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        declared, held = item.size * item.dtype.itemsize, item.id.get_storage_size()
        if declared > _HIGHEST_COMPRESSION * held + _SMALL_BYTES:
            raise InputError(
                f"{path}: {name} declares {declared} bytes, of which the file holds {held}. Prepare its source again."
            )

    with h5py.File(path, "r") as file:
        file.visititems(check)


def _check_whole(session: Data, path: Path) -> None:
    """Check what every stage relies on: names, valid time, provenance, and the tables beside the streams."""
    try:
        for part in ("session", "subject"):
            check_name(f"{part}.id", getattr(session, part).id)
        provenance(session)
        tables = {"spikes": "units", "spike_counts": "units", "lfp": "channels", "behavior": "behavior_dims"}
        missing = [table for stream, table in tables.items() if stream in session and table not in session]
        if session.domain is None or not len(session.domain.start):
            missing.append("domain")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: not a whole prepared session ({_one_line(error)}). Prepare its source again."
        ) from error
    if missing:
        raise InputError(f"{path}: not a whole prepared session, it lacks {missing[0]}. Prepare its source again.")


def session_paths(folder: str | Path) -> list[Path]:
    """Return the prepared sessions of a folder, by name.

    Raises:
        InputError: the folder is missing or holds no `.h5` file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder. Write prepared sessions with `spikefield prepare SOURCE --out DIR`."
        )
    paths = sorted(p for p in folder.glob("*.h5") if not p.name.startswith("."))
    if not paths:
        raise InputError(f"{folder}: holds no prepared session (*.h5). Run `spikefield prepare SOURCE --out {folder}`.")
    return paths


def has_spikes(session: Data) -> bool:
    """Tell whether the session holds spikes, as times or as counts."""
    return "spikes" in session or "spike_counts" in session


def has_lfp(session: Data) -> bool:
    """Tell whether the session holds a field potential."""
    return "lfp" in session


def has_behavior(session: Data) -> bool:
    """Tell whether the session holds behaviour."""
    return "behavior" in session


def duration_s(session: Data) -> float:
    """Return the valid time of a session in seconds, gaps left out."""
    starts, ends = valid_intervals_s(session)
    return float(np.sum(ends - starts))


def valid_intervals_s(session: Data) -> tuple[np.ndarray, np.ndarray]:
    """Return the start and the end (interval,) of every interval of valid time, in seconds."""
    assert session.domain is not None
    return np.asarray(session.domain.start), np.asarray(session.domain.end)


def timestamps_s(series: RegularTimeSeries | IrregularTimeSeries) -> np.ndarray:
    """Return the time of every sample of a series in seconds, (samples,)."""
    if isinstance(series, RegularTimeSeries):
        start = float(np.asarray(series.domain.start)[0])
        return start + np.arange(len(series)) / float(series.sampling_rate)
    return np.asarray(series.timestamps)


def behavior_columns(session: Data) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return behaviour as it is learned, (samples, columns) and their names: a circular dim is its cosine and sine."""
    columns: list[np.ndarray] = []
    names: list[str] = []
    dims, values = session.behavior_dims, np.asarray(session.behavior.values, np.float64)
    for column, name, period in zip(values.T, np.asarray(dims.name).astype(str), np.asarray(dims.period), strict=True):
        if np.isfinite(period):
            angle = 2 * np.pi * column / period
            columns += [np.cos(angle), np.sin(angle)]
            names += [f"cos({name})", f"sin({name})"]
        else:
            columns.append(column)
            names.append(str(name))
    return np.stack(columns, axis=1), tuple(names)


def provenance(session: Data) -> dict[str, Any]:
    """Return where a session came from: source, reader, hashes, dropped units and channels."""
    return json.loads(session.provenance)


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
