"""Is the field potential sound? Channels, mains, the converter's limits, units of measure, axes, lost samples."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float

from spikefield.preparation.contents import Contents, Field
from spikefield.preparation.finding import Finding, Severity, counted, some, spans
from spikefield.signals.notch import detect_mains_hz

_FEWEST_TO_COMPARE = 4
_FLAT_RATIO, _NOISY_RATIO = 1 / 50, 5.0
_STILL_SHARE = 0.5
_DUPLICATE_R = 1 - 1e-6
_CLIPPED_SHARE, _CLIPPED_RUN = 5e-4, 3
_MAINS_SHARE = 0.5
_LOST_S, _LOST_SAMPLES = 0.05, 20
_AXES_RATIO = 0.5
_UNITS_V = {"V": 1.0, "volt": 1.0, "mV": 1e-3, "millivolt": 1e-3, "uV": 1e-6, "µV": 1e-6, "microvolt": 1e-6}
_LEAST_V, _MOST_V = 5e-7, 2e-2


def check_flat_channels(contents: Contents) -> Iterator[Finding]:
    """Channels that hardly move, or that stand still for a part of the time."""
    if contents.field is None or not contents.field.pieces.size:
        return
    field, seen = contents.field, contents.field.statistics
    still = seen.still > _STILL_SHARE
    flat = (seen.rms < _FLAT_RATIO * np.median(seen.rms)) & (len(seen.rms) >= _FEWEST_TO_COMPARE)
    if (flat | still).any():
        yield _channels(
            field, flat | still, "hardly move", "Leave dead channels out (`channel_ids`, or the reader's `--lfp`)."
        )


def check_noisy_channels(contents: Contents) -> Iterator[Finding]:
    """Channels much larger or much rougher than the others."""
    if contents.field is None or not contents.field.pieces.size:
        return
    field = contents.field
    size, roughness = field.statistics.rms, field.statistics.roughness
    if len(size) < _FEWEST_TO_COMPARE:
        return
    noisy = (size > _NOISY_RATIO * np.median(size)) | (roughness > _NOISY_RATIO * np.median(roughness))
    if noisy.any():
        what = f"are over {_NOISY_RATIO:g} times as large or as rough as the others"
        yield _channels(field, noisy, what, "Leave them out: a common average would spread their noise.")


def check_duplicate_channels(contents: Contents) -> Iterator[Finding]:
    """Channels that carry the very same signal, perhaps at another gain."""
    if contents.field is None or not contents.field.pieces.size:
        return
    ids, r = contents.field.channel_ids, contents.field.statistics.correlation
    same = np.argwhere(np.triu(np.abs(r) > _DUPLICATE_R, k=1))
    if len(same):
        yield Finding(
            severity="warning",
            stream="lfp",
            what=f"{counted(len(same), 'pair')} of channels with the same signal",
            where=some([f"{ids[i]} = {ids[j]}" for i, j in same]),
            remedy="Check the channel map; leave all but one out.",
        )


def check_mains(contents: Contents) -> Iterator[Finding]:
    """Mains at 50 or 60 Hz: a note where it is small, a warning where it rules the rest of the band."""
    field = contents.field
    if field is None or not field.pieces.size:
        return
    mains_hz = detect_mains_hz(field.pieces.reshape(-1, len(field.channel_ids)), field.rate_hz)
    if mains_hz is None:
        return
    share = _share_of_mains(field, mains_hz)
    loud = share > _MAINS_SHARE
    severity: Severity = "warning" if loud.any() else "note"
    what = f"mains hum at {mains_hz:g} Hz is {100 * share.max():.0f} % of the power above 2 Hz in the worst channel"
    names = tuple(_ids(field, loud))
    remedy = "The signal chain takes it out (step notch)."
    if loud.any():
        remedy += " Look at grounding and leave out channels that hold little else."
    yield Finding(severity=severity, stream="lfp", what=what, names=names, remedy=remedy)


def _share_of_mains(field: Field, mains_hz: float) -> Float[np.ndarray, " channel"]:
    frequency_hz, power = field.statistics.frequency_hz, field.statistics.power
    line = np.zeros(len(frequency_hz), bool)
    for harmonic_hz in np.arange(mains_hz, field.rate_hz / 2, mains_hz):
        line |= np.abs(frequency_hz - harmonic_hz) <= 1
    total = power[frequency_hz >= 2].sum(axis=0)
    return np.divide(power[line].sum(axis=0), total, out=np.zeros(power.shape[1]), where=total > 0)


def check_saturation(contents: Contents) -> Iterator[Finding]:
    """Samples that stay at a channel's highest or lowest value, as they do at the limit of a converter."""
    field = contents.field
    if field is None or not field.pieces.size:
        return
    share = _clipped_share(field)
    counted = contents.provenance.get("prepared", {}).get("clipped", {})
    share = np.maximum(share, [counted.get(name, 0.0) for name in field.channel_ids])
    if (clipped := share > _CLIPPED_SHARE).any():
        what = f"stay at their highest or lowest value, {100 * share.max():.2g} % of the time in the worst"
        yield _channels(field, clipped, what, "The amplifier was saturated: leave these channels or stretches out.")


def _clipped_share(field: Field) -> Float[np.ndarray, " channel"]:
    """Count only samples in runs at the extreme: a single peak is no saturation."""
    pieces, count = field.pieces, np.zeros(len(field.channel_ids))
    for extreme in (pieces.max(axis=(0, 1)), pieces.min(axis=(0, 1))):
        at = (pieces == extreme).reshape(-1, pieces.shape[2])
        if len(at) >= _CLIPPED_RUN:
            middle = at[2:] & at[1:-1] & at[:-2]
            edge = np.zeros((2, middle.shape[1]), bool)
            before, after = np.concatenate([middle, edge]), np.concatenate([edge, middle])
            around = np.concatenate([edge[:1], middle, edge[:1]])
            count += (before | around | after).sum(axis=0)
    return count / (pieces.shape[0] * pieces.shape[1]) * (field.statistics.std > 0)


def check_unit_of_measure(contents: Contents) -> Iterator[Finding]:
    """Values that cannot be volts, milli- or microvolts; raw counts; what was standardised before."""
    field = contents.field
    if field is None or not field.pieces.size or field.pieces.min() >= 0:
        return  # amplitude or power is not a voltage
    rms, declared = float(np.median(field.statistics.rms)), contents.provenance.get("lfp_unit")
    if declared in _UNITS_V:
        if not _LEAST_V <= rms * _UNITS_V[declared] <= _MOST_V:
            yield _unit(f"an rms of {rms:.3g} {declared} is no field potential", "Check gain and unit of the file.")
        return
    if _standardised(field):
        remedy = "Give it as recorded: statistics of all the time let test time leak into training."
        yield _unit("every channel has mean 0 and standard deviation 1: it was standardised before", remedy)
    elif all((piece == np.rint(piece)).all() for piece in field.pieces):
        yield _unit("all values are whole numbers: counts of a converter, not volts", "Multiply by the gain.")
    elif not _LEAST_V <= rms <= _MOST_V / 1e-6:
        yield _unit(
            f"an rms of {rms:.3g} cannot be volts, milli- or microvolts", "Check the gain: give volts or microvolts."
        )


def _standardised(field: Field) -> bool:
    mean, std = field.statistics.mean, field.statistics.std
    return bool(np.abs(std - 1).max() < 0.1 and np.abs(mean).max() < 0.1 and len(std) > 1)


def _unit(what: str, remedy: str) -> Finding:
    return Finding(severity="warning", stream="lfp", what=what, remedy=remedy)


def check_axes(contents: Contents) -> Iterator[Finding]:
    """Time and channels mixed up: more channels than samples, or a block reshaped where it should be transposed.

    After such a reshape the last value of a row runs on smoothly into the first of the next, while a column jumps.
    """
    field = contents.field
    if field is None or not field.pieces.size:
        return
    if len(field.channel_ids) > len(field.signal):
        what = f"there are more channels ({len(field.channel_ids)}) than samples ({len(field.signal)})"
        yield Finding(severity="problem", stream="lfp", what=what, remedy="Transpose the array.")
    first, last = field.pieces[:, :, 0].astype(np.float64), field.pieces[:, :, -1].astype(np.float64)
    if len(field.channel_ids) < _FEWEST_TO_COMPARE or first.shape[1] < 2:
        return
    in_time = min(np.mean(np.diff(first, axis=1) ** 2), np.mean(np.diff(last, axis=1) ** 2))
    if np.mean((first[:, 1:] - last[:, :-1]) ** 2) < _AXES_RATIO * in_time:
        what = "each row runs on smoothly into the next, while channels jump: time and channels were mixed up"
        remedy = "Transpose the array where it was reshaped."
        yield Finding(severity="warning", stream="lfp", what=what, remedy=remedy)


def check_lost_samples(contents: Contents) -> Iterator[Finding]:
    """Stretches in which no channel moves: lost samples that were filled and not marked as a gap."""
    if contents.field is None:
        return
    field, found = contents.field, []
    least = max(round(_LOST_S * field.rate_hz), _LOST_SAMPLES)
    for start_s, rows in field.blocks():
        for first, stop in _runs((np.diff(rows, axis=0) == 0).all(axis=1)):
            if stop - first + 1 >= least:
                found.append((start_s + first / field.rate_hz, start_s + (stop + 1) / field.rate_hz))
    if found:
        yield Finding(
            severity="warning",
            stream="lfp",
            what=f"no channel moves during {sum(b - a for a, b in found):.2f} s: lost samples that were filled",
            where=spans(found),
            remedy="Leave these stretches out with `intervals_s`.",
        )


def check_lfp_coverage(contents: Contents) -> Iterator[Finding]:
    """Valid time for which there is no field potential."""
    if contents.field is None:
        return
    covered_s = sum(stop - first for first, stop in contents.field.stretches) / contents.field.rate_hz
    missing_s = contents.valid_s - covered_s
    if covered_s == 0:
        what = "no sample of the field potential lies in valid time"
        yield Finding(severity="problem", stream="lfp", what=what, remedy="Check `lfp_start_s` and `intervals_s`.")
    elif missing_s > max(1.0, 0.01 * contents.valid_s):
        what = f"the field potential covers {covered_s:.1f} of {contents.valid_s:.1f} s of valid time"
        yield Finding(severity="warning", stream="lfp", what=what, remedy="Cut `intervals_s` to what was recorded.")


def _ids(field: Field, marked: Bool[np.ndarray, " channel"]) -> list[str]:
    return [name for name, mark in zip(field.channel_ids, marked, strict=True) if mark]


def _channels(field: Field, marked: Bool[np.ndarray, " channel"], what: str, remedy: str) -> Finding:
    ids = _ids(field, marked)
    how_many = f"channels that {what}: {len(ids)} of {len(field.channel_ids)}"
    return Finding(severity="warning", stream="lfp", what=how_many, names=tuple(ids), remedy=remedy)


def _runs(marked: Bool[np.ndarray, " row"]) -> Iterator[tuple[int, int]]:
    """Yield first and end of every run of marked rows."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


FIELD_CHECKS = (
    check_axes,
    check_flat_channels,
    check_noisy_channels,
    check_duplicate_channels,
    check_mains,
    check_saturation,
    check_unit_of_measure,
    check_lost_samples,
    check_lfp_coverage,
)
