"""Do the streams share one clock? Spikes, field and behaviour are slid along each other where they carry movement.

At each lag, R²(lag) is the share of behaviour that the neural stream explains linearly when behaviour is taken `lag`
later. With one clock the curve peaks within the fraction of a second by which cortex leads or follows; a peak
elsewhere is an offset, and one that moves from the first to the last part of the session is a drift. Slow trends are
taken out of both sides first, so that the peak is narrow.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.fft import next_fast_len
from scipy.ndimage import gaussian_filter1d, uniform_filter1d

from spikefield.preparation.contents import Behavior, Contents, Field, Spikes
from spikefield.preparation.finding import Finding

_BIN_S = 0.02
_TREND_S = 4.0
_SMOOTH_S = 0.05
_POWER_SMOOTH_S = 0.1
_MOST_COLUMNS = 64
_COMPONENTS = 60
_BINS_A_COMPONENT = 40
_MOST_LAG_S = 20.0
_DRIFT_LAG_S = 2.5
_NEAR_S = 0.3
_LEAST_RISE, _LEAST_SNR, _LEAST_PART_SNR = 0.03, 10.0, 4.0
_OFFSET_SHARE = 0.5
_PARTS = 3
_DRIFT_S, _DRIFT_BINS = 0.1, 2.5
_FEWEST_BINS = 500


@dataclass(frozen=True)
class Peak:
    """Where the curve is highest, by how much it rises over far lags, and the share of that rise near lag 0."""

    lag_s: float
    rise: float
    snr: float
    share_at_zero: float


@dataclass(frozen=True)
class _Grid:
    """Even bins over the session, and which of them are valid."""

    start_s: float
    bin_s: float
    valid: Bool[np.ndarray, " bin"]

    def index(self, times_s: np.ndarray) -> np.ndarray:
        return np.floor((times_s - self.start_s) / self.bin_s + 1e-6).astype(int)


def check_clocks(contents: Contents) -> Iterator[Finding]:
    """Offset and drift between behaviour and each neural stream; a note where no stream carries movement."""
    if contents.behavior is None or (contents.spikes is None and contents.field is None):
        return
    grid = _grid(contents)
    if grid.valid.sum() < _FEWEST_BINS:
        return
    movement = _ready(_movement(contents.behavior, grid), grid)
    unsure = []
    for name, columns in _neural(contents, grid):
        neural = _ready(columns, grid)
        peak = find_peak(neural, movement, bin_s=grid.bin_s, around_s=0.0, reach_s=_MOST_LAG_S)
        if peak.rise < _LEAST_RISE or peak.snr < _LEAST_SNR:
            unsure.append(name)
        elif peak.share_at_zero < _OFFSET_SHARE:
            yield _offset(name, peak.lag_s)
        else:
            yield from _drift(name, neural, movement, grid, peak.lag_s)
    if unsure:
        what = f"the clock of behaviour could not be checked: too little of it can be read from {' and '.join(unsure)}"
        yield Finding(severity="note", stream="behavior", what=what, remedy="Compare an event that both recorded.")


def _offset(name: str, lag_s: float) -> Finding:
    return Finding(
        severity="warning",
        stream="behavior",
        what=f"behaviour is stamped {abs(lag_s):.2f} s {'late' if lag_s > 0 else 'early'} against {name}",
        remedy="The clocks seem offset: shift one stream, or record a common event.",
    )


def _drift(name: str, neural: np.ndarray, movement: np.ndarray, grid: _Grid, lag_s: float) -> Iterator[Finding]:
    parts = np.array_split(np.arange(len(grid.valid)), _PARTS)
    middle_s = [float(part.mean()) * grid.bin_s for part in parts]
    peaks = []
    for part in parts:
        if grid.valid[part].sum() < _FEWEST_BINS:
            return
        peaks.append(find_peak(neural[part], movement[part], bin_s=grid.bin_s, around_s=lag_s, reach_s=_DRIFT_LAG_S))
    lags = np.array([peak.lag_s for peak in peaks])
    moved_s = lags[-1] - lags[0]
    sure = all(peak.rise >= _LEAST_RISE and peak.snr >= _LEAST_PART_SNR for peak in peaks)
    steady = abs(lags[1] - (lags[0] + lags[-1]) / 2) < abs(moved_s) / 4
    if sure and steady and abs(moved_s) > max(_DRIFT_S, _DRIFT_BINS * grid.bin_s):
        per_minute = 60e3 * moved_s / (middle_s[-1] - middle_s[0])
        yield Finding(
            severity="warning",
            stream="behavior",
            what=f"behaviour drifts against {name} by {per_minute:.0f} ms a minute",
            remedy="One rate is wrong: measure it over all time stamps.",
        )


def find_peak(
    neural: Float[np.ndarray, "bin column"],
    movement: Float[np.ndarray, "bin dim"],
    *,
    bin_s: float,
    around_s: float,
    reach_s: float,
) -> Peak:
    """Return where R²(lag) of (bin, column) and (bin, dim), all of mean 0, peaks within `reach_s` of `around_s`."""
    centre = round(around_s / bin_s)
    reach = int(min(reach_s / bin_s, len(neural) // 4))
    lags = np.arange(centre - reach, centre + reach + 1)
    curve = explained_by_lag(_white(neural), movement, lags)
    best = int(np.argmax(curve))
    far = np.abs(lags - lags[best]) > min(4.0 / bin_s, reach / 2)
    base = float(np.median(curve[far]))
    spread = 1.4826 * float(np.median(np.abs(curve[far] - base)))
    rise = float(curve[best]) - base
    near = curve[np.abs(lags) <= _NEAR_S / bin_s + 0.5]
    share = (float(near.max()) - base) / max(rise, 1e-12) if near.size else 0.0
    return Peak(_refined(lags, curve, best) * bin_s, rise, rise / max(spread, 1e-12), share)


def _refined(lags: np.ndarray, curve: np.ndarray, best: int) -> float:
    """Return the top of the parabola through the best lag and its neighbours."""
    if not 0 < best < len(curve) - 1:
        return float(lags[best])
    before, top, after = curve[best - 1 : best + 2]
    bend = before - 2 * top + after
    return float(lags[best]) + (0.5 * float((before - after) / bend) if bend < 0 else 0.0)


def explained_by_lag(
    white: Float[np.ndarray, "bin component"], movement: Float[np.ndarray, "bin dim"], lags: np.ndarray
) -> Float[np.ndarray, " lag"]:
    """Return R² of a linear fit of `movement`, each of `lags` (lag,) later, by orthonormal components; mean of dims.

    Whatever slides past the end counts as 0.
    """
    size = next_fast_len(len(white) + int(np.abs(lags).max()) + 1, real=True)
    neural = np.conj(np.fft.rfft(white, size, axis=0))
    curve = np.zeros(len(lags))
    for column in (movement / np.maximum(np.linalg.norm(movement, axis=0), 1e-12)).T:
        shifted = np.fft.irfft(neural * np.fft.rfft(column, size)[:, None], size, axis=0)
        curve += (shifted[lags % size] ** 2).sum(axis=1)
    return curve / movement.shape[1]


def _white(columns: Float[np.ndarray, "bin column"]) -> Float[np.ndarray, "bin component"]:
    """Return orthonormal components, the largest ones, no more than the data can tell apart."""
    variance, axes = np.linalg.eigh(columns.T @ columns)
    most = min(_COMPONENTS, max(len(columns) // _BINS_A_COMPONENT, 1))
    keep = [i for i in np.argsort(-variance)[:most] if variance[i] > 1e-8 * variance.max()]
    return columns @ axes[:, keep] / np.sqrt(variance[keep])


def _grid(contents: Contents) -> _Grid:
    assert contents.behavior is not None
    bin_s = max(_BIN_S, contents.behavior.step_s, contents.spikes.bin_width_s if contents.spikes else 0.0)
    start_s, end_s = contents.intervals_s[0, 0], contents.intervals_s[-1, 1]
    middle_s = start_s + (np.arange(int((end_s - start_s) / bin_s)) + 0.5) * bin_s
    return _Grid(start_s, bin_s, contents.inside(middle_s))


def _ready(columns: Float[np.ndarray, "bin column"], grid: _Grid) -> Float[np.ndarray, "bin column"]:
    """Take the slow trend out, scale, cut outliers, and set what is not valid to 0."""
    trend = uniform_filter1d(columns, max(round(_TREND_S / grid.bin_s), 3), axis=0, mode="nearest")
    quick = np.where(grid.valid[:, None], columns - trend, 0.0)
    scaled = quick / np.maximum(np.sqrt((quick**2).sum(axis=0) / grid.valid.sum()), 1e-12)
    return np.clip(scaled, -5, 5)


def _neural(contents: Contents, grid: _Grid) -> Iterator[tuple[str, np.ndarray]]:
    if contents.spikes is not None:
        yield "spikes", _firing(contents.spikes, grid)
    if contents.field is not None and contents.field.pieces.size:
        yield "the field potential", _field_features(contents.field, grid)


def _firing(spikes: Spikes, grid: _Grid) -> Float[np.ndarray, "bin unit"]:
    """Return smoothed roots of spike counts of the most active units."""
    times, units, number = spikes.events()
    busy = np.sort(np.argsort(-np.bincount(units, number))[:_MOST_COLUMNS])
    column = np.full(len(spikes.unit_ids), -1)
    column[busy] = np.arange(len(busy))
    index = grid.index(times)
    used = (index >= 0) & (index < len(grid.valid)) & (column[units] >= 0)
    counts = np.zeros((len(grid.valid), len(busy)))
    np.add.at(counts, (index[used], column[units[used]]), number[used])
    return gaussian_filter1d(np.sqrt(counts), _SMOOTH_S / grid.bin_s, axis=0)


def _field_features(field: Field, grid: _Grid) -> Float[np.ndarray, "bin feature"]:
    """Return local motor potential and log power of the quick part, for channels spread over the array."""
    n = len(field.channel_ids)
    columns = np.linspace(0, n - 1, min(n, _MOST_COLUMNS // 2)).round().astype(int)
    sums, power = np.zeros((2, len(grid.valid), len(columns)))
    number = np.zeros(len(grid.valid))
    for start_s, rows in field.blocks():
        rows = rows[:, columns].astype(np.float64)
        index = grid.index(start_s + (np.arange(len(rows)) + 0.5) / field.rate_hz).clip(0, len(grid.valid) - 1)
        firsts = np.flatnonzero(np.diff(index, prepend=-1))
        steps = np.diff(rows, axis=0, prepend=rows[:1])
        sums[index[firsts]] += np.add.reduceat(rows, firsts, axis=0)
        power[index[firsts]] += np.add.reduceat(steps**2, firsts, axis=0)
        number += np.bincount(index, minlength=len(number))
    filled = _filled(sums / np.maximum(number, 1)[:, None], number > 0)
    if field.rate_hz * grid.bin_s < 2:
        return filled
    power = _filled(power / np.maximum(number, 1)[:, None], number > 0)
    smooth = gaussian_filter1d(power, _POWER_SMOOTH_S / grid.bin_s, axis=0)
    return np.hstack([filled, np.log(np.maximum(smooth, 1e-12 * power.max() + 1e-300))])


def _movement(behavior: Behavior, grid: _Grid) -> Float[np.ndarray, "bin dim"]:
    """Return the dims, circular ones as cos and sin, their distance from the middle and their speed."""
    columns = []
    for values, period in zip(behavior.values.T, behavior.periods, strict=True):
        angle = 2 * np.pi * values / period
        columns += [values] if np.isnan(period) else [np.cos(angle), np.sin(angle)]
    table, index = np.column_stack(columns), grid.index(behavior.times_s)
    known = np.isfinite(table).all(axis=1) & (index >= 0) & (index < len(grid.valid))
    number = np.bincount(index[known], minlength=len(grid.valid))
    sums = np.stack([np.bincount(index[known], c[known], len(grid.valid)) for c in table.T], axis=1)
    dims = _filled(sums / np.maximum(number, 1)[:, None], number > 0)
    dims = (dims - dims.mean(axis=0)) / np.maximum(dims.std(axis=0), 1e-12)
    speed = np.linalg.norm(np.gradient(dims, axis=0), axis=1)
    return np.column_stack([dims, np.linalg.norm(dims, axis=1), speed])


def _filled(
    columns: Float[np.ndarray, "bin column"], known: Bool[np.ndarray, " bin"]
) -> Float[np.ndarray, "bin column"]:
    """Put straight lines where nothing is known."""
    if known.all() or not known.any():
        return columns
    bins = np.arange(len(columns))
    return np.stack([np.interp(bins, bins[known], column[known]) for column in columns.T], axis=1)


CLOCK_CHECKS = (check_clocks,)
