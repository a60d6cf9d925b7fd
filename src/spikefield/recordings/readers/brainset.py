"""Sessions that torch_brain prepared (Perich & Miller, O'Doherty and others): HDF5 `Data`, read as they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from torch_brain.data import Data

from spikefield.errors import InputError
from spikefield.recordings import clock
from spikefield.recordings.inspection import Inspection, Series
from spikefield.recordings.raw import RawSession, SeriesChoice, chosen
from spikefield.recordings.readers import guard, hdf5
from spikefield.recordings.readers.reader import Reader, only_itself

_LAYOUT = "session prepared by torch_brain"
_SAMPLED = ("IrregularTimeSeries", "RegularTimeSeries")
_MAX_DIMS = 64


def _matches(path: Path) -> bool:
    if not hdf5.is_hdf5(path):
        return False
    try:
        with h5py.File(path, "r") as file:
            return hdf5.text(file.attrs.get("object", "")) == "Data"
    except Exception:  # a damaged file matches no reader; opening it for reading says what is wrong
        return False


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    with hdf5.opened(path, _LAYOUT) as file:
        if "layout_version" in file.attrs:
            raise InputError(f"{path}: is a prepared session already. Use it as it is: spikefield validate {path}")
        hdf5.check_all(file)
        yield file


def _sampled(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Return the arrays that may be behaviour, as `group.field`: numbers, at most 64 columns, along a clock."""
    found = {}
    for name, group in file.items():
        if (
            name == "spikes"
            or not isinstance(group, h5py.Group)
            or hdf5.text(group.attrs.get("object")) not in _SAMPLED
        ):
            continue
        for field, item in group.items():
            if field != "timestamps" and isinstance(item, h5py.Dataset) and _may_be_behavior(item):
                found[f"{name}.{field}"] = item
    return found


def _may_be_behavior(item: h5py.Dataset) -> bool:
    return item.dtype.kind == "f" and item.ndim in (1, 2) and len(item) > 1 and (*item.shape, 1)[1] <= _MAX_DIMS


def _proposed(names: list[str]) -> list[str]:
    return ([n for n in names if n.endswith(".vel")] or [n for n in names if n.endswith(".pos")])[:1]


def _read(path: Path, choice: SeriesChoice) -> Iterator[RawSession]:
    with _opened(path) as file:
        known = list(_sampled(file))
        behavior = chosen(path, "behavior", choice.behavior, known, _proposed(known))
        tables = ["spikes"] if "spikes" in file else []
        units = chosen(path, "unit", choice.units, tables, tables)
        chosen(path, "lfp", choice.lfp, [], [])
        data = Data.from_hdf5(file, lazy=True)
        left_out: dict[str, Any] = {}
        arrays: dict[str, Any] = {"intervals_s": _intervals(path, data.domain)}
        if units:
            arrays |= _spikes(path, data, arrays["intervals_s"], left_out)
        arrays |= _behavior(path, data, behavior)
        if "trials" in data:
            trials = clock.disjoint(np.column_stack([data.trials.start, data.trials.end]).astype(np.float64))
            arrays |= {"trials_s": trials} if len(trials) else {}
        session, subject = (getattr(getattr(data, kind, None), "id", None) for kind in ("session", "subject"))
    notes = [f"behaviour: {', '.join(behavior) or 'none'}"]
    names = {
        "session": guard.safe_name(str(session or path.stem)),
        "subject": guard.safe_name(str(subject or "subject")),
        "source": guard.source("brainset", (path,), notes, left_out),
    }
    yield RawSession(path=path, arrays=arrays | names)


def _intervals(path: Path, domain: Any) -> np.ndarray:
    spans = np.column_stack([domain.start, domain.end]).astype(np.float64) if domain is not None else np.empty((0, 2))
    if not len(spans) or not np.isfinite(spans).all() or (spans[:, 1] <= spans[:, 0]).any():
        raise InputError(
            f"{path}: domain: must be intervals that end after they start, got {spans.tolist()[:3]}. "
            "Mend it, or prepare the file again."
        )
    return spans


def _spikes(path: Path, data: Data, valid: np.ndarray, left_out: dict[str, Any]) -> dict[str, Any]:
    times, units = np.asarray(data.spikes.timestamps, np.float64), np.asarray(data.spikes.unit_index)
    ids = [hdf5.text(i) for i in np.asarray(data.units.id)]
    if times.shape != units.shape or units.dtype.kind not in "iu" or not np.isfinite(times).all():
        raise InputError(
            f"{path}: spikes: must be finite timestamps with a whole unit_index each, got {times.shape} and "
            f"{units.dtype} {units.shape}. Prepare the file again."
        )
    if len(units) and (units.min() < 0 or units.max() >= len(ids)):
        raise InputError(
            f"{path}: spikes.unit_index: must be 0 to {len(ids) - 1}, got {units.max()}. Prepare it again."
        )
    keep = clock.inside(times, valid)
    left_out["spikes outside the domain"] = int((~keep).sum())
    if not keep.any():
        return {}
    return {"spike_times": times[keep], "spike_units": units[keep].astype(np.int64), "unit_ids": ids}


def _behavior(path: Path, data: Data, names: tuple[str, ...]) -> dict[str, Any]:
    if not names:
        return {}
    groups = {name.split(".")[0] for name in names}
    if len(groups) > 1:
        raise InputError(f"{path}: behaviour must lie on one clock, got {sorted(groups)}. Name series of one of them.")
    times = np.asarray(getattr(data, groups.pop()).timestamps, np.float64)
    clock.check_increasing(times, f"{path}: {names[0]} timestamps")
    parts = [np.asarray(data.get_nested_attribute(name), np.float64) for name in names]
    parts = [part[:, None] if part.ndim == 1 else part for part in parts]
    labels = [f"{n}_{axis}" for n, part in zip(names, parts, strict=True) for axis in _axes(part.shape[1])]
    return {"behavior": np.hstack(parts), "behavior_times_s": times, "behavior_names": labels}


def _axes(dims: int) -> list[str]:
    return list("xyz"[:dims]) if dims in (2, 3) else [str(i) for i in range(dims)]


def _inspect(path: Path) -> Inspection:
    with _opened(path) as file:
        data = Data.from_hdf5(file, lazy=True)
        spans = _intervals(path, data.domain)
        span: dict[str, Any] = {"start_s": float(spans[0, 0]), "end_s": float(spans[-1, 1])}
        gaps = tuple((float(a), float(b)) for a, b in zip(spans[:-1, 1], spans[1:, 0], strict=True))
        found = _sampled(file)
        rows = [
            Series(name=n, kind="behaviour", channels=(*d.shape, 1)[1], samples=len(d), rate_hz=_rate(d, spans), **span)
            for n, d in found.items()
        ]
        if "spikes" in file:
            rows.insert(
                0, Series(name="spikes", kind="spikes", channels=len(data.units.id), unit="s", gaps_s=gaps, **span)
            )
        if "trials" in data:
            rows.append(Series(name="trials", kind="trials", channels=len(data.trials.start), **span))
        session = getattr(getattr(data, "session", None), "id", None) or path.stem
    return Inspection(
        path=path,
        reader="brainset",
        layout=_LAYOUT,
        sessions=(guard.safe_name(str(session)),),
        series=tuple(rows),
        chosen=tuple([r.name for r in rows if r.kind == "spikes"] + _proposed(list(found))),
    )


def _rate(field: h5py.Dataset, spans: np.ndarray) -> float:
    """Return the stated rate, else samples by domain."""
    stated = field.parent.attrs.get("sampling_rate")
    return float(stated) if stated is not None else len(field) / float(np.diff(spans, axis=1).sum())


READER = Reader(name="brainset", layout=_LAYOUT, matches=_matches, inspect=_inspect, read=_read, files=only_itself)
