"""Own arrays in memory become a prepared session; every reader ends here."""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from torch_brain.data import ArrayDict, Data, Interval, IrregularTimeSeries, RegularTimeSeries

from spikefield.errors import DroppedDataWarning, InputError
from spikefield.recordings.orientation import check_orientation, known_duration_s
from spikefield.recordings.session import LAYOUT_VERSION, check_name

_MAX_DIMS = 64
_LARGEST_UNIT = 65535


def from_arrays(
    *,
    session: str = "session",
    subject: str = "subject",
    spike_times: ArrayLike | None = None,
    spike_units: ArrayLike | None = None,
    spike_counts: ArrayLike | None = None,
    bin_width_ms: float | None = None,
    lfp: ArrayLike | None = None,
    lfp_rate_hz: float | None = None,
    lfp_start_s: float = 0.0,
    behavior: ArrayLike | None = None,
    behavior_rate_hz: float | None = None,
    behavior_times_s: ArrayLike | None = None,
    behavior_names: Sequence[str] | None = None,
    behavior_period: ArrayLike | None = None,
    intervals_s: ArrayLike | None = None,
    trials_s: ArrayLike | None = None,
    unit_ids: Sequence[str] | None = None,
    channel_ids: Sequence[str] | None = None,
    channel_positions_um: ArrayLike | None = None,
    source: dict[str, Any] | None = None,
) -> Data:
    """Make a prepared session from arrays. All streams share one clock, in seconds.

    Args:
        session, subject: names; letters, digits, `-`, `_` and `.`.
        spike_times: (spikes,) s, with `spike_units` (spikes,) the integer index of each spike's unit; or
        spike_counts: (bins, units) whole numbers, with `bin_width_ms`; the first bin starts at 0 s.
        lfp: (samples, channels) at `lfp_rate_hz`, the first sample at `lfp_start_s`.
        behavior: (samples, dims) at `behavior_rate_hz` from 0 s, or at `behavior_times_s`; NaN = not measured.
        behavior_period: (dims,) full circle of a circular dim in its own units, NaN where linear.
        intervals_s, trials_s: (n, 2) start and end of valid time and of trials.
        channel_positions_um: (channels, 2) place of each channel on the array.
        source: what to remember of the origin (reader, files, hashes).

    Returns:
        The session, in the layout of `spikefield.recordings.session`.

    Raises:
        InputError: a shape, rate, name or time is wrong; the message says which and the remedy.

    Warns:
        DroppedDataWarning: constant or all-NaN channels and silent units are left out, and listed.
    """
    check_name("session", session)
    check_name("subject", subject)
    dropped: dict[str, list[str]] = {}
    parts: dict[str, Any] = {}
    spans: list[tuple[float, float]] = []
    duration_s = known_duration_s(
        stamps_s=(spike_times, behavior_times_s, intervals_s, trials_s),
        sampled=((lfp, lfp_rate_hz), (behavior, behavior_rate_hz)),
    )

    if spike_times is not None or spike_units is not None:
        if spike_counts is not None:
            raise InputError("`spike_counts` and `spike_times` exclude each other, got both. Give one of them.")
        times, units = _spike_times(spike_times, spike_units)
        spike_table = _SpikeTable(
            times=times, unit_index=units, ids=_ids("unit_ids", unit_ids, int(units.max()) + 1, "unit", more=True)
        )
    else:
        spike_table = None
    if spike_counts is not None:
        width_s = _positive("bin_width_ms", bin_width_ms) / 1000
        counts = _counts(spike_counts)
        check_orientation("spike_counts", counts.shape, columns=unit_ids, rate_hz=1 / width_s, duration_s=duration_s)
        ids = _ids("unit_ids", unit_ids, counts.shape[1], "unit")
        keep = _keep(np.asarray(counts.any(axis=0)), ids, "unit", "silent", dropped)
        parts["spike_counts"] = RegularTimeSeries(counts=counts[:, keep], sampling_rate=1 / width_s, domain_start=0.0)
        parts["units"] = ArrayDict(id=ids[keep])
        spans.append((0.0, len(counts) * width_s))
    if lfp is not None:
        signal = _matrix("lfp", lfp, np.float32)
        rate = _positive("lfp_rate_hz", lfp_rate_hz)
        names = channel_ids if channel_ids is not None else channel_positions_um
        check_orientation("lfp", signal.shape, columns=names, rate_hz=rate, duration_s=duration_s)
        ids = _ids("channel_ids", channel_ids, signal.shape[1], "ch")
        if not isinstance(lfp_start_s, int | float | np.number) or not np.isfinite(lfp_start_s):
            raise InputError(f"`lfp_start_s` must be finite seconds, got {lfp_start_s}. Give the first sample's time.")
        start = float(lfp_start_s)
        spans.append((start, start + len(signal) / rate))
        parts["lfp"] = _Lfp(signal, rate, start, ids, _positions(channel_positions_um, signal.shape[1]))
    if behavior is not None:
        series = _behavior(behavior, behavior_rate_hz, behavior_times_s)
        check_orientation(
            "behavior",
            series.values.shape,
            columns=behavior_names if behavior_names is not None else behavior_period,
            rows=behavior_times_s,
            rate_hz=behavior_rate_hz,
            duration_s=duration_s,
        )
        names = list(map(str, behavior_names)) if behavior_names is not None else None
        parts["behavior"] = series
        parts["behavior_dims"] = _behavior_dims(series.values.shape[1], names, behavior_period)
        start = float(series.domain.start[0])
        spans.append((start, float(series.domain.end[-1])))
    if spike_table is None and not parts.keys() & {"spike_counts", "lfp"}:
        raise InputError("no stream was given. Give at least one of `spike_times`, `spike_counts`, `lfp`.")

    domain = _domain(intervals_s, spans, parts, spike_table)
    if spike_table is not None:
        _check_inside(spike_table.times, spans, domain)
        parts["spikes"], parts["units"] = spike_table.build(domain, dropped)
    if lfp is not None:
        parts["lfp"], parts["channels"] = parts["lfp"].build(domain, dropped)
    if trials_s is not None:
        parts["trials"] = _intervals("trials_s", trials_s)
    for kind, names in dropped.items():
        warnings.warn(
            f"{session}: units must fire and channels must vary in valid time, but {kind} were left out: "
            f"{', '.join(names)}. Check electrodes, sorting and `intervals_s` if they should be there.",
            DroppedDataWarning,
            stacklevel=2,
        )
    return Data(
        session=Data(id=session),
        subject=Data(id=subject),
        domain=domain,
        layout_version=LAYOUT_VERSION,
        provenance=json.dumps({**(source or {"reader": "arrays"}), "dropped": dropped}),
        **parts,
    )


@dataclass
class _SpikeTable:
    times: np.ndarray
    unit_index: np.ndarray
    ids: np.ndarray

    def build(self, domain: Interval, dropped: dict[str, list[str]]) -> tuple[IrregularTimeSeries, ArrayDict]:
        inside = _inside(self.times, domain)
        fired = np.bincount(self.unit_index[inside], minlength=len(self.ids)) > 0
        keep = _keep(fired, self.ids, "unit", "silent", dropped)
        new_index = np.cumsum(keep) - 1
        chosen = keep[self.unit_index]
        order = np.argsort(self.times[chosen], kind="stable")
        spikes = IrregularTimeSeries(
            timestamps=self.times[chosen][order],
            unit_index=new_index[self.unit_index[chosen]][order],
            domain=Interval(float(domain.start[0]), float(domain.end[-1])),
        )
        return spikes, ArrayDict(id=self.ids[keep])


@dataclass
class _Lfp:
    signal: np.ndarray
    rate_hz: float
    start_s: float
    ids: np.ndarray
    positions: np.ndarray | None
    sampling_rate: float = field(init=False)

    def build(self, domain: Interval, dropped: dict[str, list[str]]) -> tuple[RegularTimeSeries, ArrayDict]:
        times = self.start_s + (np.arange(len(self.signal)) + 0.5) / self.rate_hz
        inside = _inside(times, domain)
        if not inside.any():
            raise InputError("`lfp` has no sample inside the valid time. Check `lfp_start_s` and `intervals_s`.")
        valid = self.signal if inside.all() else self.signal[inside]
        lowest, highest = np.fmin.reduce(valid), np.fmax.reduce(valid)  # the NaN of a channel do not count
        finite_somewhere = np.isfinite(lowest) | np.isfinite(highest)
        measured = _keep(finite_somewhere, self.ids, "channel", "all-NaN", dropped)
        keep = measured & _keep((lowest != highest) | ~measured, self.ids, "channel", "constant", dropped)
        if not keep.any():
            raise InputError("`lfp` has only constant or NaN channels. Check how the file was read.")
        with np.errstate(invalid="ignore"):
            total = valid.sum(axis=0, dtype=np.float64)
        if not np.isfinite(total[keep]).all():
            row, column = np.argwhere(~np.isfinite(valid) & keep)[0]
            raise InputError(
                f"`lfp` must be finite in valid time, got NaN or infinity in channel {self.ids[column]} at "
                f"{times[inside][row]:.3f} s. Leave that stretch out with `intervals_s`."
            )
        signal = self.signal if keep.all() else self.signal[:, keep]
        series = RegularTimeSeries(signal=signal, sampling_rate=self.rate_hz, domain_start=self.start_s)
        table = {"id": self.ids[keep]}
        if self.positions is not None:
            table |= {"x_um": self.positions[keep, 0], "y_um": self.positions[keep, 1]}
        return series, ArrayDict(**table)


def _matrix(name: str, array: ArrayLike, dtype: type) -> np.ndarray:
    try:
        matrix = np.asarray(array)
    except ValueError as error:
        raise InputError(
            f"`{name}` must be one rectangular array, got rows of different lengths. Give every row the same length."
        ) from error
    if matrix.dtype.kind not in "fiub":
        raise InputError(f"`{name}` must hold numbers, got dtype {matrix.dtype}. Convert it first.")
    if matrix.ndim == 1:
        matrix = matrix[:, None]
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise InputError(
            f"`{name}` must be (samples, columns) and not empty, got shape {matrix.shape}. "
            "Give one column even for a single channel."
        )
    return matrix.astype(dtype, copy=False)


def _numbers(name: str, values: ArrayLike | None) -> np.ndarray:
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"`{name}` must hold numbers, got {str(values)[:60]!r}. Convert it first.") from error


def _positive(name: str, value: float | None) -> float:
    if not isinstance(value, int | float | np.number) or not np.isfinite(value) or value <= 0:
        raise InputError(
            f"`{name}` must be a positive number, got {value}. Give the rate or width of the array beside it."
        )
    return float(value)


def _ids(argument: str, given: Sequence[str] | None, count: int, prefix: str, *, more: bool = False) -> np.ndarray:
    """Return one name a unit or channel; with `more`, names may go on beyond the last unit that fired."""
    if given is None:
        return np.array([f"{prefix}{i:03d}" for i in range(count)])
    ids = np.array([str(i) for i in given])
    if len(ids) < count or (len(ids) > count and not more) or len(set(ids)) != len(ids):
        raise InputError(
            f"`{argument}` must be {count} different names, got {len(set(ids))} different of {len(ids)}. "
            "Give one name a column, in their order."
        )
    return ids


def _keep(wanted: np.ndarray, ids: np.ndarray, kind: str, why: str, dropped: dict[str, list[str]]) -> np.ndarray:
    if not wanted.any() and kind == "unit":
        raise InputError(
            f"all {len(ids)} units are {why} in valid time. Check the spike times' unit (s) and `intervals_s`."
        )
    if not wanted.all():
        dropped[f"{why} {kind}s"] = [str(i) for i in ids[~wanted]]
    return wanted.copy()


def _spike_times(times: ArrayLike | None, units: ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
    if times is None or units is None:
        raise InputError("`spike_times` and `spike_units` go together, got only one of them. Give both.")
    times, units = _numbers("spike_times", times), np.asarray(units)
    if times.ndim != 1 or times.shape != units.shape or not len(times):
        raise InputError(
            f"`spike_times` and `spike_units` must be (spikes,) alike, got {times.shape} and {units.shape}. "
            "Give one unit a spike."
        )
    if units.dtype.kind not in "iu" or units.min() < 0 or units.max() > _LARGEST_UNIT:
        got = f"dtype {units.dtype}" if units.dtype.kind not in "iu" else f"{units.min()} to {units.max()}"
        raise InputError(
            f"`spike_units` must be whole numbers from 0 to {_LARGEST_UNIT}, got {got}. Number the units from 0."
        )
    if not np.isfinite(times).all():
        raise InputError("`spike_times` must be finite seconds, got NaN or infinity. Remove those spikes.")
    return times, units.astype(np.int64)


def _counts(counts: ArrayLike) -> np.ndarray:
    matrix = _matrix("spike_counts", counts, np.float64)
    if not np.isfinite(matrix).all() or (matrix < 0).any() or (matrix != np.rint(matrix)).any():
        raise InputError(
            "`spike_counts` must be whole numbers of spikes, 0 or more, got others. Give counts, not rates."
        )
    if matrix.max() > 65535:
        raise InputError(f"`spike_counts` must be at most 65535 a bin, got {matrix.max():.0f}. Are these spike times?")
    return matrix.astype(np.uint16)


def _positions(positions: ArrayLike | None, channels: int) -> np.ndarray | None:
    if positions is None:
        return None
    places = _numbers("channel_positions_um", positions)
    if places.shape != (channels, 2):
        raise InputError(f"`channel_positions_um` must be ({channels}, 2), got {places.shape}. Give x and y a channel.")
    return places


def _behavior(
    values: ArrayLike, rate_hz: float | None, times_s: ArrayLike | None
) -> RegularTimeSeries | IrregularTimeSeries:
    matrix = _matrix("behavior", values, np.float64)
    if matrix.shape[1] > _MAX_DIMS:
        raise InputError(f"`behavior` must have at most {_MAX_DIMS} dims, got {matrix.shape[1]}. Is it transposed?")
    if np.isinf(matrix).any():
        raise InputError("`behavior` must be finite or NaN, got infinity. Set what was not measured to NaN.")
    if (rate_hz is None) == (times_s is None):
        raise InputError("`behavior` needs either `behavior_rate_hz` or `behavior_times_s`. Give exactly one of them.")
    if rate_hz is not None:
        return RegularTimeSeries(values=matrix, sampling_rate=_positive("behavior_rate_hz", rate_hz), domain_start=0.0)
    times = _numbers("behavior_times_s", times_s)
    if times.shape != (len(matrix),) or not np.isfinite(times).all():
        raise InputError(
            f"`behavior_times_s` must be ({len(matrix)},) finite seconds, got shape {times.shape}. "
            "Give one time a sample."
        )
    if (backwards := np.flatnonzero(np.diff(times) <= 0)).size:
        i = backwards[0]
        raise InputError(
            f"`behavior_times_s` must increase, got {times[i]:.6f} then {times[i + 1]:.6f} s at sample {i + 1}. "
            "Sort the samples or mend the clock."
        )
    end = float(times[-1] + (np.median(np.diff(times)) if len(times) > 1 else 0.001))
    return IrregularTimeSeries(timestamps=times, values=matrix, domain=Interval(float(times[0]), end))


def _behavior_dims(count: int, names: list[str] | None, period: ArrayLike | None) -> ArrayDict:
    names = names if names is not None else [f"behavior{i}" for i in range(count)]
    if len(names) != count or len(set(names)) != count:
        raise InputError(f"`behavior_names` must be {count} different names, got {names}. Give one name a dim.")
    periods = np.full(count, np.nan) if period is None else _numbers("behavior_period", period)
    if periods.shape != (count,) or (periods <= 0).any():
        raise InputError(
            f"`behavior_period` must be ({count},) positive or NaN, got {periods.tolist()}. "
            "Give the period of angles, NaN for other dims."
        )
    return ArrayDict(name=np.array(names), period=periods)


def _intervals(name: str, intervals: ArrayLike) -> Interval:
    pairs = _numbers(name, intervals)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs) or not np.isfinite(pairs).all():
        raise InputError(f"`{name}` must be (n, 2) finite seconds, got shape {pairs.shape}. Give start and end a row.")
    if (bad := np.flatnonzero(pairs[:, 1] <= pairs[:, 0])).size:
        raise InputError(
            f"`{name}` row {bad[0]} must end after it starts, got {pairs[bad[0]].tolist()}. Swap them, or drop the row."
        )
    if (bad := np.flatnonzero(pairs[1:, 0] < pairs[:-1, 1] - 1e-9)).size:
        raise InputError(
            f"`{name}` must be in order and not overlap, but row {bad[0] + 1} starts before row {bad[0]} ends. "
            "Sort or merge the rows."
        )
    return Interval(pairs[:, 0].copy(), pairs[:, 1].copy())


def _domain(
    intervals_s: ArrayLike | None,
    spans: list[tuple[float, float]],
    parts: dict[str, Any],
    spike_table: _SpikeTable | None,
) -> Interval:
    """Valid time: the given intervals, else the time that all neural streams share, else what there is."""
    if intervals_s is not None:
        return _intervals("intervals_s", intervals_s)
    neural = [
        span
        for span, kind in zip(spans, [k for k in ("spike_counts", "lfp", "behavior") if k in parts], strict=True)
        if kind != "behavior"
    ] or spans
    if not neural:
        assert spike_table is not None
        return Interval(min(0.0, float(spike_table.times.min())), float(np.nextafter(spike_table.times.max(), np.inf)))
    start, end = max(s for s, _ in neural), min(e for _, e in neural)
    if end <= start:
        raise InputError(f"the streams share no time: their spans are {spans} s. Check `lfp_start_s` and the clocks.")
    return Interval(start, end)


def _inside(times: np.ndarray, domain: Interval) -> np.ndarray:
    """Tell for each time whether it lies in one of the half-open intervals of `domain`."""
    starts, ends = np.asarray(domain.start), np.asarray(domain.end)
    index = np.searchsorted(starts, times, side="right") - 1
    return (index >= 0) & (times < ends[np.clip(index, 0, None)])


def _check_inside(times: np.ndarray, spans: list[tuple[float, float]], domain: Interval) -> None:
    start = min([s for s, _ in spans] + [float(domain.start[0])])
    end = max([e for _, e in spans] + [float(domain.end[-1])])
    if (outside := (times < start) | (times >= end)).any():
        raise InputError(
            f"`spike_times` must lie inside the recording, {start:.3f} to {end:.3f} s, but {int(outside.sum())} spikes "
            f"lie outside, the first at {times[outside][0]:.3f} s. Remove them, or check that times are in seconds."
        )
