"""Flint 2012 (CRCNS DREAM): MATLAB v5 trials of spikes, 2 kHz field potential and hand; the gaps between stay gaps."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spikefield.errors import InputError
from spikefield.recordings import clock
from spikefield.recordings.inspection import Inspection, Series
from spikefield.recordings.raw import RawSession, SeriesChoice, chosen
from spikefield.recordings.readers import grid, guard, mat5
from spikefield.recordings.readers.reader import Reader, only_itself

_LAYOUT = "MATLAB v5 of Flint 2012"
_STEP_S, _STEP_TOLERANCE_S = 0.01, 1e-3
_LFP_RATE_HZ, _LFP_PER_STEP = 2000.0, 20
_LFP_TOLERANCE = 2 * _LFP_PER_STEP  # samples by which a trial's field potential may miss 20 a behaviour sample
_MAX_GAP_S = 3600.0
_BEHAVIOR = {
    "HandVel": ("hand_vel_x", "hand_vel_y"),
    "HandPos": ("hand_x", "hand_y"),
    "TargetPos": ("target_x", "target_y"),
}


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """One trial; `lfp` holds the samples of each Neuron entry that has them, by the entry's index."""

    where: str
    times_s: np.ndarray
    behavior: dict[str, np.ndarray]
    spikes: list[np.ndarray]
    lfp: dict[int, np.ndarray]
    condition: str

    @property
    def start_s(self) -> float:
        return float(self.times_s[0])

    @property
    def end_s(self) -> float:
        return float(self.times_s[-1]) + _STEP_S

    @property
    def lfp_fits(self) -> bool:
        expected = _LFP_PER_STEP * len(self.times_s)
        return bool(self.lfp) and all(abs(len(x) - expected) <= _LFP_TOLERANCE for x in self.lfp.values())

    def runs_on_to(self, following: "_Trial") -> bool:
        """Tell whether the next trial starts where this one ends."""
        return following.start_s - self.end_s <= _STEP_S / 2


def _matches(path: Path) -> bool:
    return "Subject" in mat5.names(path)


def _sessions(path: Path) -> Iterator[tuple[str, list[_Trial]]]:
    """Yield each recording of the file: its name and its trials in order of time."""
    subjects = mat5.records(mat5.load(path, "Subject", _LAYOUT), f"{path}: Subject")
    if not subjects:
        raise InputError(f"{path}: Subject: is empty. Fetch the file again.")
    for i, subject in enumerate(subjects):
        where = f"{path}: Subject({i + 1})"
        entries = mat5.records(mat5.field(subject, "Trial", where), f"{where}.Trial")
        trials = [_trial(entry, f"{where}.Trial({j + 1})") for j, entry in enumerate(entries)]
        trials = sorted((t for t in trials if len(t.times_s)), key=lambda t: t.start_s)
        if not trials:
            raise InputError(f"{where}.Trial: holds no trial with Time. Fetch the file again.")
        _check_trials(trials, where)
        yield f"{guard.safe_name(path.stem)}_{i + 1}", trials


def _trial(entry: np.void, where: str) -> _Trial:
    times = mat5.numbers(entry, "Time", where)
    if len(times):
        clock.check_even(times, _STEP_S, _STEP_TOLERANCE_S, f"{where}.Time")
    neurons = mat5.records(mat5.field(entry, "Neuron", where), f"{where}.Neuron")
    places = [f"{where}.Neuron({k + 1})" for k in range(len(neurons))]
    lfp = {k: _voltages(n, places[k]) for k, n in enumerate(neurons) if "LFP" in (n.dtype.names or ())}
    return _Trial(
        where=where,
        times_s=times,
        behavior={
            name: _columns(entry, name, len(times), where) for name in _BEHAVIOR if name in (entry.dtype.names or ())
        },
        spikes=[_seconds(n, place) for n, place in zip(neurons, places, strict=True)],
        lfp={k: x for k, x in lfp.items() if len(x)},
        condition="".join(mat5.field(entry, "Condition", where).ravel().astype(str)),
    )


def _columns(entry: np.void, name: str, samples: int, where: str) -> np.ndarray:
    if not samples:
        return np.empty((0, 2))
    values = mat5.numbers(entry, name, where, columns=2)[:, :2]
    if len(values) != samples:
        raise InputError(f"{where}.{name}: must have {samples} rows, as Time has, got {len(values)}. Fetch it again.")
    return values


def _seconds(neuron: np.void, where: str) -> np.ndarray:
    times = mat5.numbers(neuron, "Spike", where)
    if not np.isfinite(times).all():
        raise InputError(f"{where}.Spike: must be finite seconds, got NaN or infinity. Fetch the file again.")
    return times


def _voltages(neuron: np.void, where: str) -> np.ndarray:
    values = mat5.numbers(neuron, "LFP", where)
    if (bad := np.flatnonzero(~np.isfinite(values))).size:
        raise InputError(f"{where}.LFP: must be finite, got {values[bad[0]]} at sample {bad[0]}. Empty that entry.")
    return values.astype(np.float32)


def _check_trials(trials: list[_Trial], where: str) -> None:
    for before, after in itertools.pairwise(trials):
        if not -_STEP_S / 2 <= after.start_s - before.end_s <= _MAX_GAP_S:
            raise InputError(
                f"{after.where}.Time: must start after the trial before it ends at {before.end_s:.3f} s and within an "
                f"hour of it, got {after.start_s:.3f} s. Mend the clock or take the trial out."
            )
    if len(counts := sorted({len(t.spikes) for t in trials})) > 1:
        raise InputError(
            f"{where}.Trial.Neuron: must be as long in every trial, got {counts}. Fetch the file again: it is damaged."
        )
    for name in {n for t in trials for n in t.behavior}:
        if lacking := [t.where for t in trials if name not in t.behavior]:
            raise InputError(
                f"{lacking[0]}.{name}: missing, but other trials have it. Fetch the file again: it is damaged."
            )


def _read(path: Path, choice: SeriesChoice) -> Iterator[RawSession]:
    for name, trials in _sessions(path):
        left_out: dict[str, Any] = {}
        notes = [f"{sum(t.condition == 'good' for t in trials)} of {len(trials)} trials are 'good'; all are kept"]
        arrays = _arrays(path, trials, choice, left_out, notes)
        origin = guard.source("flint", (path,), notes, left_out)
        yield RawSession(path=path, arrays=arrays | {"session": name, "subject": "C", "source": origin})


def _arrays(
    path: Path, trials: list[_Trial], choice: SeriesChoice, left_out: dict[str, Any], notes: list[str]
) -> dict[str, Any]:
    arrays: dict[str, Any] = {"intervals_s": _spans(trials)}
    offered = ["LFP"] if any(t.lfp for t in trials) else []
    if chosen(path, "lfp", choice.lfp, offered, offered):
        arrays |= _field_potential(path, trials, left_out, notes)
    if chosen(path, "unit", choice.units, ["Spike"], ["Spike"]):
        arrays |= _spikes(trials, arrays["intervals_s"], left_out)
    names = chosen(path, "behavior", choice.behavior, list(trials[0].behavior), ["HandVel"])
    for name in names:
        if name not in trials[0].behavior:
            raise InputError(
                f"{trials[0].where}.{name}: missing. Choose the behaviour from {list(trials[0].behavior)}."
            )
    if names:
        arrays["behavior"] = np.vstack([np.hstack([t.behavior[n] for n in names]) for t in trials])
        arrays["behavior_times_s"] = np.concatenate([t.times_s for t in trials])
        arrays["behavior_names"] = [label for n in names for label in _BEHAVIOR[n]]
    starts = [t.start_s for t in trials]
    ends = np.minimum([t.end_s for t in trials], [*starts[1:], np.inf])
    return arrays | {"trials_s": np.column_stack([starts, ends])}


def _spans(trials: list[_Trial]) -> np.ndarray:
    """Return start and end of the runs of trials that follow each other without a gap, (n, 2)."""
    breaks = [i for i, (a, b) in enumerate(itertools.pairwise(trials), start=1) if not a.runs_on_to(b)]
    firsts, lasts = [0, *breaks], [*breaks, len(trials)]
    return np.array([(trials[i].start_s, trials[j - 1].end_s) for i, j in zip(firsts, lasts, strict=True)])


def _field_potential(path: Path, trials: list[_Trial], left_out: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    fits = [t for t in trials if t.lfp_fits]
    if not fits:
        t = next(t for t in trials if t.lfp)
        raise InputError(
            f"{t.where}.Neuron.LFP: must have about {_LFP_PER_STEP * len(t.times_s)} samples (2 kHz over Time), got "
            f"{sorted({len(x) for x in t.lfp.values()})[:4]}, and no other trial fits. Check the file's layout."
        )
    everywhere = sorted(set.intersection(*(set(t.lfp) for t in fits)))
    anywhere = set.union(*(set(t.lfp) for t in fits))
    if not everywhere:
        raise InputError(
            f"{path}: Neuron.LFP: no entry has a field potential in every trial. Fetch the file again: it is damaged."
        )
    left_out["trials whose LFP is missing or of another length"] = [t.where for t in trials if not t.lfp_fits]
    left_out["LFP that is empty in some trials"] = [_channel(k) for k in sorted(anywhere - set(everywhere))]
    following = [*itertools.pairwise(fits)]
    laid = grid.lay(
        [t.start_s for t in fits],
        [_block(t, everywhere) for t in fits],
        [*(a.runs_on_to(b) for a, b in following), False],
        _LFP_RATE_HZ,
    )
    if laid.bridged:
        notes.append(f"{laid.bridged} LFP samples lack at the ends of trials that run on; bridged by straight lines")
    return {
        "lfp": laid.signal,
        "lfp_rate_hz": _LFP_RATE_HZ,
        "lfp_start_s": laid.start_s,
        "channel_ids": [_channel(k) for k in everywhere],
        "intervals_s": np.array(laid.intervals_s),
    }


def _channel(entry: int) -> str:
    return f"neuron{entry + 1:03d}"


def _block(trial: _Trial, entries: list[int]) -> np.ndarray:
    """Return the trial's field potential, (samples, channels), cut to the shortest channel and to the trial's end."""
    samples = min(_LFP_PER_STEP * len(trial.times_s), *(len(trial.lfp[k]) for k in entries))
    return np.column_stack([trial.lfp[k][:samples] for k in entries])


def _spikes(trials: list[_Trial], intervals: np.ndarray, left_out: dict[str, Any]) -> dict[str, Any]:
    """Return the spikes that lie in their own trial and in valid time; the others are counted."""
    times, units = [], []
    for trial in trials:
        for unit, spikes in enumerate(trial.spikes):
            own = spikes[(spikes >= trial.start_s) & (spikes < trial.end_s)]
            own = own[clock.inside(own, intervals)]
            left_out["spikes outside their trial"] = (
                left_out.get("spikes outside their trial", 0) + len(spikes) - len(own)
            )
            times.append(own)
            units.append(np.full(len(own), unit))
    if not sum(map(len, times)):
        return {}
    return {
        "spike_times": np.concatenate(times),
        "spike_units": np.concatenate(units),
        "unit_ids": [_channel(k) for k in range(len(trials[0].spikes))],
    }


def _inspect(path: Path) -> Inspection:
    sessions = dict(_sessions(path))
    series = [s for name, trials in sessions.items() for s in _series(name, trials)]
    return Inspection(
        path=path,
        reader="flint",
        layout=_LAYOUT,
        sessions=tuple(sessions),
        series=tuple(series),
        chosen=("LFP", "Spike", "HandVel"),
        notes=("unit of the field potential not stated in the file",),
    )


def _series(session: str, trials: list[_Trial]) -> list[Series]:
    spans = _spans(trials)
    span: dict[str, Any] = {
        "start_s": trials[0].start_s,
        "end_s": trials[-1].end_s,
        "gaps_s": tuple((float(a[1]), float(b[0])) for a, b in itertools.pairwise(spans)),
    }
    samples = sum(len(t.times_s) for t in trials)
    field_potential = [
        Series(
            name=f"{session}: LFP",
            kind="field potential",
            channels=len(set.union(*(set(t.lfp) for t in trials))),
            samples=sum(max(map(len, t.lfp.values()), default=0) for t in trials),
            rate_hz=_LFP_RATE_HZ,
            **span,
        )
    ]
    return [
        *(field_potential if any(t.lfp for t in trials) else []),
        Series(name=f"{session}: Spike", kind="spikes", channels=len(trials[0].spikes), unit="s", **span),
        *[
            Series(name=f"{session}: {n}", kind="behaviour", channels=2, samples=samples, rate_hz=1 / _STEP_S, **span)
            for n in trials[0].behavior
        ],
        Series(name=f"{session}: Trial", kind="trials", channels=len(trials), **span),
    ]


READER = Reader(name="flint", layout=_LAYOUT, matches=_matches, inspect=_inspect, read=_read, files=only_itself)
