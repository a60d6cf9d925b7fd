"""Are the spikes those of neurons? Impossible and silent units, doubles, refractory times, pauses, wrong times."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float

from spikefield.preparation.contents import Contents, Spikes
from spikefield.preparation.finding import Finding, Severity, counted

_MOST_HZ, _LEAST_HZ = 200.0, 1.0
_FEWEST_UNITS = 3
_COINCIDENCE_S, _COINCIDENT_SHARE, _NEIGHBOURS = 3e-4, 0.5, 3
_SAME_COUNTS_R = 0.98
_REFRACTORY_S, _VIOLATIONS, _TIMES_CHANCE, _SURE = 1e-3, 0.01, 3.0, 4.0
_CHANCE_BIN_S = 0.1
_PAUSE_S, _PAUSE_SPIKES = 2.0, 50
_PARTS, _ABSENT_PARTS = 10, 4
_FEWEST_SPIKES = 100


def check_rates(contents: Contents) -> Iterator[Finding]:
    """Rates that no neuron has, and units that fire too little to learn from."""
    if contents.spikes is None:
        return
    rate_hz, ids = unit_rates_hz(contents), contents.spikes.unit_ids
    if (fast := rate_hz > _MOST_HZ).any():
        what = f"{counted(int(fast.sum()), 'unit')} above {_MOST_HZ:g} Hz, up to {rate_hz.max():.0f} Hz"
        yield _finding("warning", what, _named(ids, fast), "Noise, or times in another unit: leave them out.")
    usable = int((rate_hz >= _LEAST_HZ).sum())
    if usable < len(ids):
        what = f"units below {_LEAST_HZ:g} Hz, which the preset `paper` leaves out: {len(ids) - usable} of {len(ids)}"
        severity: Severity = "warning" if usable < _FEWEST_UNITS else "note"
        remedy = "If they fired more, are spike times in seconds?" if severity == "warning" else "Nothing to do."
        yield _finding(severity, what, _named(ids, rate_hz < _LEAST_HZ), remedy)


def unit_rates_hz(contents: Contents) -> Float[np.ndarray, " unit"]:
    """Return the mean rate of every unit (unit,) in valid time, in Hz."""
    assert contents.spikes is not None
    times, units, number = contents.spikes.events()
    valid = contents.inside(times)
    return np.bincount(units[valid], number[valid], len(contents.spikes.unit_ids)) / contents.valid_s


def check_duplicate_units(contents: Contents) -> Iterator[Finding]:
    """Pairs of units that fire the same spikes."""
    if contents.spikes is None or len(contents.spikes.unit_ids) < 2:
        return
    share = _shared_spikes(contents.spikes) if contents.spikes.counts is None else _same_counts(contents.spikes)
    ids = contents.spikes.unit_ids
    pairs = [f"{ids[i]} = {ids[j]}" for i, j in np.argwhere(np.triu(share, k=1))]
    if pairs:
        what = f"{counted(len(pairs), 'pair')} of units with the same spikes"
        yield _finding("warning", what, pairs, "One neuron on two channels: keep one of them.")


def _shared_spikes(spikes: Spikes) -> np.ndarray:
    """Mark pairs in which over half of the smaller train lies within 0.3 ms of the other's spikes."""
    assert spikes.times_s is not None
    assert spikes.unit_index is not None
    order = np.argsort(spikes.times_s, kind="stable")
    times, units, n = spikes.times_s[order], spikes.unit_index[order], len(spikes.unit_ids)
    together = np.zeros((n, n))
    for step in range(1, _NEIGHBOURS + 1):
        close = np.flatnonzero(times[step:] - times[:-step] <= _COINCIDENCE_S)
        np.add.at(together, (units[close], units[close + step]), 1)
    together = together + together.T
    np.fill_diagonal(together, 0)
    number = np.bincount(units, minlength=n)
    smaller = np.minimum(number[:, None], number[None])
    return (together > _COINCIDENT_SHARE * smaller) & (smaller >= _FEWEST_SPIKES)


def _same_counts(spikes: Spikes) -> np.ndarray:
    assert spikes.counts is not None
    counts = spikes.counts.astype(np.float64) - spikes.counts.mean(axis=0)
    size = np.sqrt((counts**2).sum(axis=0))
    r = counts.T @ counts / np.maximum(size[:, None] * size[None], 1e-12)
    enough = spikes.counts.sum(axis=0) >= _FEWEST_SPIKES
    return (r > _SAME_COUNTS_R) & enough[:, None] & enough[None]


def check_refractory_time(contents: Contents) -> Iterator[Finding]:
    """Units with more intervals under 1 ms than chance gives: spikes found twice, or noise."""
    spikes = contents.spikes
    if spikes is None or spikes.times_s is None:
        return
    share, twice = np.zeros(len(spikes.unit_ids)), np.zeros(len(spikes.unit_ids), bool)
    for unit in range(len(spikes.unit_ids)):
        train = spikes.train_s(unit)
        if len(train) >= _FEWEST_SPIKES:
            broken, chance = np.sum(np.diff(train) < _REFRACTORY_S), _violations_by_chance(train)
            share[unit] = broken / len(train)
            twice[unit] = broken > _TIMES_CHANCE * chance and broken - chance > _SURE * np.sqrt(chance + 1)
    if (twice := twice & (share > _VIOLATIONS)).any():
        what = (
            f"{counted(int(twice.sum()), 'unit')} with far more intervals under 1 ms than chance gives, "
            f"{100 * share[twice].max():.0f} % at most"
        )
        yield _finding("warning", what, _named(spikes.unit_ids, twice), "Spikes were found twice: merge those of a ms.")
    if (multi := (share > _VIOLATIONS) & ~twice).any():
        what = f"{counted(int(multi.sum()), 'unit')} without refractory time: several neurons, or threshold crossings"
        yield _finding("note", what, _named(spikes.unit_ids, multi), "Good for a teacher; do not call them neurons.")


def _violations_by_chance(train_s: Float[np.ndarray, " spike"]) -> float:
    """Return how many intervals under 1 ms a train without memory has whose rate follows this one's."""
    n = np.bincount(((train_s - train_s[0]) / _CHANCE_BIN_S).astype(int))
    return float(np.sum(n * (n - 1))) * _REFRACTORY_S / _CHANCE_BIN_S


def check_valid_time_of_spikes(contents: Contents) -> Iterator[Finding]:
    """Spikes where nothing is valid."""
    if contents.spikes is None:
        return
    times, _, number = contents.spikes.events()
    outside = number[~contents.inside(times)].sum() / max(number.sum(), 1)
    if outside > 0:
        severity: Severity = "warning" if outside > 0.01 else "note"
        what = f"{100 * outside:.2g} % of the spikes lie outside valid time and are left out"
        yield _finding(severity, what, (), "If there are many, check the clock and `intervals_s`.")


def check_pauses(contents: Contents) -> Iterator[Finding]:
    """Valid time without a spike of any unit, far longer than the rate allows."""
    if contents.spikes is None:
        return
    times, _, number = contents.spikes.events()
    times = np.sort(times)
    longest, where = 0.0, (0.0, 0.0)
    for start, end in contents.intervals_s:
        edges = np.concatenate([[start], times[(times >= start) & (times < end)], [end]])
        at = int(np.argmax(np.diff(edges)))
        if edges[at + 1] - edges[at] > longest:
            longest, where = edges[at + 1] - edges[at], (edges[at], edges[at + 1])
    if longest > max(_PAUSE_S, _PAUSE_SPIKES * contents.valid_s / max(number.sum(), 1)):
        yield _finding(
            "warning",
            f"no unit fires for {longest:.1f} s",
            (),
            "If recording paused there, leave that stretch out with `intervals_s`.",
            where=f"{where[0]:.2f} to {where[1]:.2f} s",
        )


def check_vanishing_units(contents: Contents) -> Iterator[Finding]:
    """Units that are there for a part of the session only."""
    if contents.spikes is None:
        return
    times, units, number = contents.spikes.events()
    part = (contents.elapsed_s(times) / contents.valid_s * _PARTS).astype(int).clip(0, _PARTS - 1)
    table = np.zeros((_PARTS, len(contents.spikes.unit_ids)))
    np.add.at(table, (part, units), number)
    active = (unit_rates_hz(contents) >= _LEAST_HZ) & (table.sum(axis=0) >= _FEWEST_SPIKES)
    occupied = table.any(axis=1)
    if (lost := active & ((table[occupied] == 0).sum(axis=0) >= _ABSENT_PARTS)).any():
        what = f"{counted(int(lost.sum()), 'unit')} silent for {10 * _ABSENT_PARTS} % of the session or more"
        yield _finding("warning", what, _named(contents.spikes.unit_ids, lost), "Lost by the sorting? Leave them out.")


def _finding(severity: Severity, what: str, names: Sequence[str], remedy: str, *, where: str = "") -> Finding:
    return Finding(severity=severity, stream="spikes", what=what, names=tuple(names), where=where, remedy=remedy)


def _named(ids: Sequence[str], marked: Bool[np.ndarray, " unit"]) -> list[str]:
    return [name for name, mark in zip(ids, marked, strict=True) if mark]


SPIKE_CHECKS = (
    check_valid_time_of_spikes,
    check_rates,
    check_duplicate_units,
    check_refractory_time,
    check_pauses,
    check_vanishing_units,
)
