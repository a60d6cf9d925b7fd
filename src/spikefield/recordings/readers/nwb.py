"""NWB 2 through pynwb, on disk or streamed from an address: the user names the series, or the reader proposes some."""

import gc
import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from spikefield.errors import InputError
from spikefield.recordings import clock
from spikefield.recordings.inspection import Electrode, Inspection, Series
from spikefield.recordings.raw import Broadband, RawSession, SeriesChoice, chosen, intervals
from spikefield.recordings.readers import guard, hdf5, nwb_series
from spikefield.recordings.readers.nwb_series import NwbSeries
from spikefield.recordings.readers.reader import Reader, only_itself

_LAYOUT = "NWB 2"
_NAMES = ("label", "channel_name", "electrode_name")


def _matches(path: Path) -> bool:
    if guard.address(path):
        return path.suffix == ".nwb" or "nwb" in path.name
    if not hdf5.is_hdf5(path):
        return False
    try:
        with h5py.File(path, "r") as file:
            return "nwb_version" in file.attrs
    except Exception:  # a damaged file matches no reader; opening it for reading says what is wrong
        return False


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        from pynwb import NWBHDF5IO
    except ImportError as error:
        raise InputError("NWB 2 needs pynwb. Install it with: pip install 'spikefield[nwb]'") from error
    with _hdf5(path) as file:
        version = hdf5.text(file.attrs.get("nwb_version", "none"))
        if not version.lstrip("v").startswith("2"):
            raise InputError(f"{path}: must be NWB 2, got version {version}. Convert it, or name another reader.")
        with guard.quiet():
            io = NWBHDF5IO(file=file, load_namespaces=True)
            content = io.read()
        try:
            yield content
        finally:
            io.close()


@contextmanager
def _hdf5(path: Path) -> Iterator[h5py.File]:
    """Open the file, on disk or by ranges of bytes from an address."""
    url = guard.address(path)
    if url is None:
        with hdf5.opened(path, _LAYOUT) as file:
            yield file
        return
    try:
        import fsspec
    except ImportError as error:
        raise InputError(f"{url}: streaming needs fsspec. Install it with: pip install 'spikefield[nwb]'") from error
    with (
        guard.readable(url, _LAYOUT, "Check the address, or download the file first."),
        fsspec.open(url, "rb", block_size=1 << 20, cache_type="blockcache") as remote,
        h5py.File(_Undisturbed(remote), "r") as file,
    ):
        yield file


class _Undisturbed(io.RawIOBase):
    """A remote file whose bytes come while the garbage collector waits.

    HDF5's lock is held while bytes are fetched on another thread; were that thread to collect an h5py object, it would
    wait for the lock, and the lock for its bytes.
    """

    def __init__(self, remote: Any) -> None:
        self._remote = remote

    def readinto(self, buffer: Any) -> int:
        collects = gc.isenabled()
        gc.disable()
        try:
            return self._remote.readinto(buffer)
        finally:
            if collects:
                gc.enable()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._remote.seek(offset, whence)

    def tell(self) -> int:
        return self._remote.tell()


def _read(path: Path, choice: SeriesChoice) -> Iterator[RawSession]:
    with _opened(path) as nwb:
        series = nwb_series.every(str(path), nwb)
        fields = [p for p, s in series.items() if s.is_field_potential]
        moved = [p for p, s in series.items() if s.is_behavior]
        lfp = chosen(path, "lfp", nwb_series.full_names(choice.lfp, series), fields, nwb_series.propose_lfp(series))
        behavior = chosen(
            path, "behavior", nwb_series.full_names(choice.behavior, series), moved, nwb_series.propose_behavior(series)
        )
        tables = ["units"] if nwb.units is not None and "spike_times" in nwb.units.colnames else []
        units = chosen(path, "unit", choice.units, tables, tables)
        if len(lfp) > 1:
            raise InputError(f"{path}: takes one field potential, got {', '.join(lfp)}. Name one of them.")
        broadband = _broadband(path, series[lfp[0]], nwb) if lfp else ()
        arrays = _behavior([series[p] for p in behavior]) | _trials(nwb)
        left_out: dict[str, Any] = {}
        if broadband:
            arrays["intervals_s"] = intervals(broadband)
        if units:
            arrays |= _spikes(path, nwb, _valid(arrays), left_out)
        subject = getattr(nwb.subject, "subject_id", None) or "subject"
    notes = [f"field potential: {', '.join(lfp) or 'none'}; spikes: {', '.join(units) or 'none'}"]
    notes += [f"behaviour: {', '.join(behavior) or 'none'}"]
    names = {"session": guard.safe_name(path.stem), "subject": guard.safe_name(subject)}
    origin = guard.source("nwb", (path,), notes, left_out)
    yield RawSession(path=path, arrays=arrays | names | {"source": origin}, broadband=broadband)


def _broadband(path: Path, series: NwbSeries, nwb: Any) -> tuple[Broadband, ...]:
    channels, table = series.channels, _electrodes(series, nwb)
    source = series.series
    gain = np.full(channels, float(source.conversion or 1.0))
    if getattr(source, "channel_conversion", None) is not None:
        gain = gain * np.asarray(source.channel_conversion[:], np.float64)
    offset = float(source.offset or 0.0)
    places = np.array([(e.x_um, e.y_um) for e in table])
    return tuple(
        Broadband(
            name=series.where,
            rate_hz=series.clock.rate_hz,
            start_s=stretch.start_s,
            n_samples=stretch.count,
            channel_ids=tuple(e.id for e in table),
            positions_um=places if np.isfinite(places).all() else None,
            conversion_v=gain,
            stream=partial(_stream, path, series.path, stretch.first, stretch.count, offset / gain),
        )
        for stretch in series.clock.stretches
    )


def _stream(path: Path, name: str, first: int, count: int, offset: np.ndarray, samples: int) -> Iterator[np.ndarray]:
    with _opened(path) as nwb:
        series = nwb_series.every(str(path), nwb)[name]
        data = hdf5.whole(series.series.data)
        for start in range(first, first + count, samples):
            stop = min(start + samples, first + count)
            block = np.asarray(data[:, start:stop]).T if series.turned else np.asarray(data[start:stop])
            block = block[:, None] if block.ndim == 1 else block
            plain = block.dtype == np.int16 and not offset.any()
            yield block if plain else (block + offset).astype(np.float32)


def _electrodes(series: NwbSeries, nwb: Any) -> list[Electrode]:
    """Return the rows of the electrode table that a series refers to; places that are not known are NaN."""
    region = getattr(series.series, "electrodes", None)
    if region is None:
        return [Electrode(id=f"ch{i:03d}", x_um=np.nan, y_um=np.nan) for i in range(series.channels)]
    table, index = region.table, np.asarray(region.data[:], int)
    if index.min() < 0 or index.max() >= len(table):
        raise InputError(f"{series.where}: electrodes must be rows 0 to {len(table) - 1}, got {index.max()}. Mend it.")
    names = [f"electrode{int(table.id[i]):03d}" for i in index]
    for column in _NAMES:
        if column in table.colnames and len(set(map(str, table[column][:]))) == len(table):
            names = [str(table[column][int(i)]) for i in index]
            break
    x, y = ([_place(table, column, int(i)) for i in index] for column in "xy")
    if len(set(names)) != len(names):
        raise InputError(
            f"{series.where}: electrodes must be different rows, got {sorted(names)[:4]}, … Mend the file."
        )
    return [Electrode(id=n, x_um=a, y_um=b) for n, a, b in zip(names, x, y, strict=True)]


def _place(table: Any, column: str, row: int) -> float:
    name = next((c for c in (f"rel_{column}", column) if c in table.colnames), None)
    return float(table[name][row]) if name else float("nan")


def _behavior(series: list[NwbSeries]) -> dict[str, Any]:
    if not series:
        return {}
    times = series[0].times_s()
    for other in series[1:]:
        if not np.array_equal(other.times_s(), times):
            raise InputError(f"{other.where}: must be on the clock of {series[0].path}, but is not. Name one of them.")
    return {
        "behavior": np.hstack([s.values() for s in series]),
        "behavior_times_s": times,
        "behavior_names": [label for s in series for label in s.labels()],
    }


def _valid(arrays: dict[str, Any]) -> np.ndarray:
    """Return the time that spikes must lie in: that of the field potential, else of behaviour, else all."""
    if "intervals_s" in arrays:
        return arrays["intervals_s"]
    times = arrays.get("behavior_times_s", np.array([-np.inf, np.inf]))
    return np.array([(times[0], times[-1] + np.median(np.diff(times)))])


def _spikes(path: Path, nwb: Any, valid: np.ndarray, left_out: dict[str, Any]) -> dict[str, Any]:
    table: Any = nwb.units
    times = np.asarray(hdf5.whole(table.spike_times.data)[:], np.float64)
    ends = np.asarray(hdf5.whole(table.spike_times_index.data)[:], np.int64)
    counts = np.diff(ends, prepend=0)
    if len(counts) != len(table.id) or (counts < 0).any() or ends[-1:].sum() != len(times):
        raise InputError(
            f"{path}: /units/spike_times_index: must rise to {len(times)} over {len(table.id)} units, got "
            f"{len(ends)} entries up to {ends.max(initial=0)}. Fetch the file again: it is damaged."
        )
    if not np.isfinite(times).all():
        raise InputError(f"{path}: /units/spike_times: must be finite seconds, got NaN or infinity. Mend the file.")
    keep = clock.inside(times, valid)
    left_out["spikes outside the field potential or behaviour"] = int((~keep).sum())
    if not keep.any():
        return {}
    return {
        "spike_times": times[keep],
        "spike_units": np.repeat(np.arange(len(counts)), counts)[keep],
        "unit_ids": [f"unit{int(i):03d}" for i in table.id[:]],
    }


def _trials(nwb: Any) -> dict[str, Any]:
    """Return the trials that have a start and an end, each cut where the next one starts."""
    if nwb.trials is None:
        return {}
    spans = clock.disjoint(
        np.column_stack([nwb.trials["start_time"][:], nwb.trials["stop_time"][:]]).astype(np.float64)
    )
    return {"trials_s": spans} if len(spans) else {}


def _inspect(path: Path) -> Inspection:
    with _opened(path) as nwb:
        series = nwb_series.every(str(path), nwb)
        rows = [_row(s) for s in series.values() if s.is_field_potential or s.is_behavior]
        if nwb.units is not None and "spike_times" in nwb.units.colnames:
            rows.append(Series(name="units", kind="spikes", channels=len(nwb.units.id), unit="s"))
        if nwb.trials is not None:
            rows.append(Series(name="trials", kind="trials", channels=len(nwb.trials.id)))
        lfp = nwb_series.propose_lfp(series)
        electrodes = _electrodes(series[lfp[0]], nwb) if lfp else []
        proposed = [*lfp, *[r.name for r in rows if r.kind == "spikes"], *nwb_series.propose_behavior(series)]
    return Inspection(
        path=path,
        reader="nwb",
        layout=_LAYOUT,
        sessions=(guard.safe_name(path.stem),),
        series=tuple(rows),
        electrodes=tuple(e for e in electrodes if np.isfinite([e.x_um, e.y_um]).all()),
        chosen=tuple(proposed),
    )


def _row(series: NwbSeries) -> Series:
    measured = series.clock
    return Series(
        name=series.path,
        kind="field potential" if series.is_field_potential else "behaviour",
        channels=series.channels,
        samples=series.samples,
        rate_hz=measured.rate_hz,
        unit=str(series.series.unit or ""),
        start_s=measured.stretches[0].start_s,
        end_s=measured.end_s(measured.stretches[-1]),
        gaps_s=measured.gaps_s,
    )


READER = Reader(name="nwb", layout=_LAYOUT, matches=_matches, inspect=_inspect, read=_read, files=only_itself)
