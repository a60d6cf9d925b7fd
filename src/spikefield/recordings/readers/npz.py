"""Own arrays in a `.npz` with the argument names of `from_arrays`."""

import inspect
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from spikefield.errors import InputError
from spikefield.recordings.arrays import from_arrays
from spikefield.recordings.inspection import Inspection, Series
from spikefield.recordings.raw import RawSession, SeriesChoice, chosen
from spikefield.recordings.readers import guard
from spikefield.recordings.readers.reader import Reader, only_itself

_LAYOUT = ".npz of own arrays"
_STREAMS = {
    "lfp": ("lfp", "lfp_rate_hz", "lfp_start_s", "channel_ids", "channel_positions_um"),
    "spikes": ("spike_times", "spike_units", "spike_counts", "bin_width_ms", "unit_ids"),
    "behavior": ("behavior", "behavior_rate_hz", "behavior_times_s", "behavior_names", "behavior_period"),
}


def _matches(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def _load(path: Path) -> dict[str, Any]:
    guard.check_file(path)
    remedy = "Write it again with numpy.savez and no object arrays."
    with guard.readable(path, _LAYOUT, remedy), path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        content = {name: archive[name] for name in archive.files}
    allowed = sorted(set(inspect.signature(from_arrays).parameters) - {"source"})
    if unknown := sorted(set(content) - set(allowed)):
        raise InputError(f"{path}: unknown name {unknown[0]!r}. Use only {', '.join(allowed)}.")
    return {name: _plain(value) for name, value in content.items()}


def _plain(value: np.ndarray) -> Any:
    """Return numbers and names as Python has them, arrays of numbers as they are."""
    if value.dtype.kind in "US":
        return np.char.decode(value).tolist() if value.dtype.kind == "S" else value.tolist()
    if value.ndim == 0:
        return float(value) if value.dtype.kind in "iuf" else value.item()
    return value


def _streams(content: dict[str, Any]) -> list[str]:
    return [stream for stream, names in _STREAMS.items() if any(name in content for name in names)]


def _read(path: Path, choice: SeriesChoice) -> Iterator[RawSession]:
    content = _load(path)
    there = _streams(content)
    for stream, wanted in (("lfp", choice.lfp), ("spikes", choice.units), ("behavior", choice.behavior)):
        offered = [s for s in there if s == stream]
        if not chosen(path, stream, wanted, offered, offered):
            content = {name: value for name, value in content.items() if name not in _STREAMS[stream]}
    content.setdefault("session", guard.safe_name(path.stem))
    yield RawSession(path=path, arrays=content | {"source": guard.source("npz", (path,), [], {})})


def _inspect(path: Path) -> Inspection:
    content = _load(path)
    rows = []
    if "lfp" in content:
        rows.append(
            _row("lfp", "field potential", content, content.get("lfp_rate_hz"), content.get("lfp_start_s", 0.0))
        )
    if "spike_counts" in content:
        width = content.get("bin_width_ms")
        rows.append(_row("spike_counts", "spikes", content, 1000 / width if width else None, 0.0))
    if "spike_times" in content:
        units = len(np.unique(content.get("spike_units", ())))
        rows.append(Series(name="spike_times", kind="spikes", channels=units, unit="s"))
    if "behavior" in content:
        rows.append(_row("behavior", "behaviour", content, content.get("behavior_rate_hz"), 0.0))
    if "trials_s" in content:
        rows.append(Series(name="trials_s", kind="trials", channels=len(content["trials_s"])))
    return Inspection(
        path=path,
        reader="npz",
        layout=_LAYOUT,
        sessions=(str(content.get("session", guard.safe_name(path.stem))),),
        series=tuple(rows),
        chosen=tuple(_streams(content)),
    )


def _row(name: str, kind: Any, content: dict[str, Any], rate_hz: float | None, start_s: float) -> Series:
    shape = (*np.shape(content[name]), 1, 1)
    end_s = None if not rate_hz else start_s + shape[0] / rate_hz
    return Series(
        name=name, kind=kind, channels=shape[1], samples=shape[0], rate_hz=rate_hz, start_s=start_s, end_s=end_s
    )


READER = Reader(name="npz", layout=_LAYOUT, matches=_matches, inspect=_inspect, read=_read, files=only_itself)
