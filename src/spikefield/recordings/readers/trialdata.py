"""Gallego-Carracedo 2022 `trial_data`: MATLAB 7.3 trials of spike counts and field-potential power by the guide."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from spikefield.errors import InputError
from spikefield.recordings.inspection import Inspection, Series
from spikefield.recordings.raw import RawSession, SeriesChoice, chosen
from spikefield.recordings.readers import guard, hdf5
from spikefield.recordings.readers.reader import Reader, only_itself

_LAYOUT = "MATLAB 7.3 trial_data"
_GAP_S = 1.0
_MAX_BIN_S = 1.0


@dataclass(frozen=True, kw_only=True)
class _Table:
    """The struct array: for every field its cell in every trial, opened when asked for."""

    group: h5py.Group
    trials: int

    def __contains__(self, name: str) -> bool:
        return name in self.group

    def cell(self, name: str, trial: int) -> h5py.Dataset:
        """Return one field of one trial.

        Raises:
            InputError: missing, or not a dataset.
        """
        found = self.group.get(name)
        if found is None:
            raise InputError(
                f"{self.where(name)}: missing; trial_data holds {', '.join(list(self.group)[:20])}. "
                "Check that the file is of this layout."
            )
        if isinstance(found, h5py.Dataset) and found.dtype.kind == "O":
            found = self.group.file[hdf5.content(found).ravel()[trial]]
        if not isinstance(found, h5py.Dataset):
            raise InputError(f"{self.where(name, trial)}: must be an array, got a group. Check how it was saved.")
        return found

    def where(self, name: str, trial: int | None = None) -> str:
        """Name file, trial and field for a message."""
        place = "trial_data" if trial is None else f"trial_data({trial + 1})"
        return f"{self.group.file.filename}: {place}.{name}"

    def matrix(self, name: str, trial: int, columns: int) -> np.ndarray:
        """Return a field of a trial as (rows, columns); MATLAB stores it turned round.

        Raises:
            InputError: missing, not numbers, or neither way round has that many columns.
        """
        cell = self.cell(name, trial)
        if cell.dtype.kind not in "fiu" or cell.ndim != 2:
            raise InputError(
                f"{self.where(name, trial)}: must be a matrix of numbers, got {cell.dtype} {cell.shape}. "
                "Check how it was saved."
            )
        if cell.attrs.get("MATLAB_empty", 0):
            return np.empty((0, columns))
        if cell.shape[0] == columns:
            return hdf5.content(cell).astype(np.float64).T
        if cell.shape[1] == columns and "MATLAB_class" not in cell.attrs:
            return hdf5.content(cell).astype(np.float64)
        raise InputError(
            f"{self.where(name, trial)}: must have {columns} columns, as its guide says, got {cell.shape[::-1]}. "
            "Fetch the file again."
        )

    def text(self, name: str) -> str:
        """Return a text field of the first trial, "" where it is missing."""
        return hdf5.text(hdf5.content(self.cell(name, 0))) if name in self else ""


def _matches(path: Path) -> bool:
    return hdf5.peek(path).get("trial_data") == "Group"


def _table(file: h5py.File) -> _Table:
    group = file.get("trial_data")
    if not isinstance(group, h5py.Group) or not len(group):
        raise InputError(
            f"{file.filename}: trial_data: missing; the file holds {', '.join(file) or 'nothing'}. "
            "Check that the file is of this layout."
        )
    cells = {str(n): d for n, d in group.items() if isinstance(d, h5py.Dataset) and d.dtype.kind == "O"}
    sizes = {name: int(np.prod(d.shape)) for name, d in cells.items()}
    if len(set(sizes.values())) > 1 or 0 in sizes.values():
        raise InputError(
            f"{file.filename}: trial_data: fields must have one entry a trial each, got {sizes}. "
            "Check how it was saved."
        )
    return _Table(group=group, trials=next(iter(sizes.values()), 1))


def _areas(table: _Table, kind: str) -> list[str]:
    return sorted(m[1] for name in table.group if (m := re.fullmatch(rf"(\w+?)_{kind}", str(name))))


def _guide(table: _Table, name: str, columns: int) -> np.ndarray:
    """Return a guide, which must be the same in every trial."""
    guide = table.matrix(name, 0, columns)
    for trial in range(1, table.trials):
        if not np.array_equal(table.matrix(name, trial, columns), guide):
            raise InputError(f"{table.where(name, trial)}: must be as in the first trial, but differs. Split the file.")
    if len(np.unique(guide, axis=0)) != len(guide) or not np.isfinite(guide).all() or not len(guide):
        raise InputError(
            f"{table.where(name)}: must have finite, different rows, got {len(guide)} with repetitions. Mend the guide."
        )
    return guide


def _bin_s(table: _Table) -> float:
    widths = {float(hdf5.content(table.cell("bin_size", t)).ravel()[0]) for t in range(table.trials)}
    width = min(widths)
    if len(widths) > 1 or not 0 < width <= _MAX_BIN_S:
        raise InputError(
            f"{table.where('bin_size')}: must be one width in seconds, more than 0 and at most {_MAX_BIN_S:g}, "
            f"got {sorted(widths)[:4]}. Divide it by 1000 if it is in ms."
        )
    return width


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Bins of every trial on one grid: the true time between trials is not in the file, so a gap stands for it."""

    bin_s: float
    bins: list[int]

    @property
    def gap(self) -> int:
        return int(np.ceil(_GAP_S / self.bin_s))

    @property
    def firsts(self) -> list[int]:
        return [0, *itertools.accumulate(n + self.gap for n in self.bins)][:-1]

    @property
    def intervals_s(self) -> np.ndarray:
        return np.array([(f * self.bin_s, (f + n) * self.bin_s) for f, n in zip(self.firsts, self.bins, strict=True)])

    def lay(self, table: _Table, name: str, columns: int, filled: float, dtype: type) -> np.ndarray:
        """Lay a field of every trial on the grid, `filled` between them."""
        whole = np.full((self.firsts[-1] + self.bins[-1], columns), filled, dtype)
        for trial, (first, n) in enumerate(zip(self.firsts, self.bins, strict=True)):
            part = table.matrix(name, trial, columns)
            if len(part) != n:
                raise InputError(
                    f"{table.where(name, trial)}: must have {n} bins, as the trial's other fields, got {len(part)}. "
                    "Take the trial out."
                )
            whole[first : first + n] = part
        return whole


def _layout(table: _Table, name: str, columns: int) -> _Layout:
    bins = [len(table.matrix(name, trial, columns)) for trial in range(table.trials)]
    if 0 in bins:
        raise InputError(f"{table.where(name, bins.index(0))}: is empty. Take the trial out.")
    return _Layout(bin_s=_bin_s(table), bins=bins)


def _read(path: Path, choice: SeriesChoice) -> Iterator[RawSession]:
    with hdf5.opened(path, _LAYOUT) as file:
        table = _table(file)
        spikes, powers = _areas(table, "spikes"), _areas(table, "lfp")
        units = chosen(path, "unit", choice.units, spikes, spikes)
        lfp = chosen(path, "lfp", choice.lfp, powers, powers)
        known = [n for n in ("vel", "pos", "acc", "force") if n in table]
        behavior = chosen(path, "behavior", choice.behavior, known, [n for n in known if n == "vel"])
        arrays = _arrays(path, table, units, lfp, behavior)
        subject = guard.safe_name(table.text("monkey") or "subject")
    notes = [
        f"spikes: {', '.join(units) or 'none'}; LFP power: {', '.join(lfp) or 'none'}; behaviour: {behavior}",
        f"the time between trials is not in the file: trials keep their order, {_GAP_S:g} s or more apart",
    ]
    source = guard.source("trialdata", (path,), notes, {})
    names = {"session": guard.safe_name(path.stem), "subject": subject, "source": source}
    yield RawSession(path=path, arrays=arrays | names)


def _arrays(
    path: Path, table: _Table, units: tuple[str, ...], lfp: tuple[str, ...], behavior: tuple[str, ...]
) -> dict[str, Any]:
    guides = {a: _guide(table, f"{a}_unit_guide", 2) for a in units}
    bands = {a: _guide(table, f"{a}_lfp_guide", 3) for a in lfp}
    fields = [(f"{a}_spikes", len(guides[a])) for a in units] + [(f"{a}_lfp", len(bands[a])) for a in lfp]
    if not fields:
        raise InputError(
            f"{path}: trial_data: holds neither <area>_spikes nor <area>_lfp that was asked for. "
            "Choose other series; `spikefield inspect` lists them."
        )
    layout = _layout(table, *fields[0])
    arrays: dict[str, Any] = {"intervals_s": layout.intervals_s, "trials_s": layout.intervals_s}
    if units:
        counts = [layout.lay(table, f"{a}_spikes", len(guides[a]), 0.0, np.float64) for a in units]
        arrays |= {"spike_counts": np.hstack(counts), "bin_width_ms": 1000 * layout.bin_s}
        arrays["unit_ids"] = [f"{a}-e{e:03.0f}-u{u:.0f}" for a in units for e, u in guides[a]]
    if lfp:
        arrays |= _powers(table, layout, bands)
    if behavior:
        parts = [layout.lay(table, name, 2, np.nan, np.float64) for name in behavior]
        arrays |= {"behavior": np.hstack(parts), "behavior_rate_hz": 1 / layout.bin_s}
        arrays["behavior_names"] = [f"{name}_{axis}" for name in behavior for axis in "xy"]
    return arrays


def _powers(table: _Table, layout: _Layout, bands: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the power of every area, its columns by electrode and then by band, whatever their order in the file."""
    parts, ids = [], []
    for area, guide in bands.items():
        order = np.lexsort((guide[:, 2], guide[:, 1], guide[:, 0]))
        parts.append(layout.lay(table, f"{area}_lfp", len(guide), np.nan, np.float32)[:, order])
        ids += [f"{area}-e{electrode:03.0f}-{_band(low, high)}" for electrode, low, high in guide[order]]
    power = np.hstack(parts)
    _check_finite(table, layout, power, ids)
    return {"lfp": power, "lfp_rate_hz": 1 / layout.bin_s, "channel_ids": ids}


def _band(low_hz: float, high_hz: float) -> str:
    return "LMP" if low_hz == 0 else f"{low_hz:g}-{high_hz:g}Hz"


def _check_finite(table: _Table, layout: _Layout, power: np.ndarray, ids: list[str]) -> None:
    """Refuse a channel that is NaN in some bins; one that is NaN in all is dropped and listed later."""
    for trial, (first, n) in enumerate(zip(layout.firsts, layout.bins, strict=True)):
        for bin_index, column in np.argwhere(~np.isfinite(power[first : first + n])):
            if np.isfinite(power[:, column]).any():
                raise InputError(
                    f"{table.where(ids[column], trial)}: must be finite, got {power[first + bin_index, column]} in bin "
                    f"{bin_index + 1}. Take the trial or the channel out."
                )


def _inspect(path: Path) -> Inspection:
    with hdf5.opened(path, _LAYOUT) as file:
        table = _table(file)
        spikes, powers = _areas(table, "spikes"), _areas(table, "lfp")
        guides = {f"{a}_spikes": _guide(table, f"{a}_unit_guide", 2) for a in spikes}
        guides |= {f"{a}_lfp": _guide(table, f"{a}_lfp_guide", 3) for a in powers}
        if not guides:
            raise InputError(
                f"{path}: trial_data: holds neither <area>_spikes nor <area>_lfp; has {list(table.group)}. "
                "Check that the file is of this layout."
            )
        name, guide = next(iter(guides.items()))
        layout = _layout(table, name, len(guide))
        moved = [n for n in ("vel", "pos", "acc", "force") if n in table]
        bands = {a: sorted({_band(*row) for row in guides[f"{a}_lfp"][:, 1:]}) for a in powers}
        columns = {a: len(guides[f"{a}_lfp"]) for a in powers}
        units = {a: len(guides[f"{a}_spikes"]) for a in spikes}
        task = f"{table.text('monkey')} {table.text('task')} {table.text('date_time')}".strip()
    span: dict[str, Any] = {"samples": sum(layout.bins), "rate_hz": 1 / layout.bin_s}
    return Inspection(
        path=path,
        reader="trialdata",
        layout=_LAYOUT,
        sessions=(guard.safe_name(path.stem),),
        series=(
            *[Series(name=a, kind="spikes", channels=n, unit="counts", **span) for a, n in units.items()],
            *[Series(name=a, kind="field potential", channels=n, unit="power", **span) for a, n in columns.items()],
            *[Series(name=n, kind="behaviour", channels=2, **span) for n in moved],
            Series(name="trial_data", kind="trials", channels=table.trials),
        ),
        chosen=(*spikes, *powers, *(n for n in moved if n == "vel")),
        notes=(task, *[f"bands of {a}: {', '.join(b)}" for a, b in bands.items()]),
    )


READER = Reader(name="trialdata", layout=_LAYOUT, matches=_matches, inspect=_inspect, read=_read, files=only_itself)
