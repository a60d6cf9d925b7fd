"""Put spikes and sampled series onto the bin grid of a session, counting bins in integers.

The grid is half open: bin k holds the times from `start_s + k * width` up to, not including, the next edge. A time on
an edge belongs to the later bin, also where floating point writes it a little early (0.29 / 0.01 = 28.999999999999996).
"""

import numpy as np
from jaxtyping import Float, Integer, UInt16

from spikefield.errors import InputError

_CHUNK_SPIKES = 1 << 17
_NEAREST_TICK_S = 1e-9


def n_bins(duration_s: float, bin_width_ms: float) -> int:
    """Return the number of whole bins in `duration_s`.

    >>> n_bins(0.29, 10.0)
    29

    Raises:
        InputError: `duration_s` is negative.
    """
    if not np.isfinite(duration_s) or duration_s < 0:
        raise InputError(f"`duration_s` must be 0 or more seconds, got {duration_s}. Check the session's domain.")
    return int(bin_index(np.array([duration_s]), start_s=0.0, bin_width_ms=bin_width_ms)[0])


def bin_index(
    times_s: Float[np.ndarray, " times"], *, start_s: float, bin_width_ms: float
) -> Integer[np.ndarray, " times"]:
    """Return the bin of each time (times,); below 0 for times before `start_s`.

    A time less than a nanosecond (or four floating-point steps of the times given, if that is more) before an edge
    counts as on it.

    >>> bin_index(np.array([0.0, 0.28, 0.29, 0.3]), start_s=0.0, bin_width_ms=10.0)
    array([ 0, 28, 29, 30])
    """
    width_s = _width_s(bin_width_ms)
    return _bins(times_s, start_s, width_s, _edge_tolerance_s(times_s, start_s))


def bin_spikes(
    times_s: Float[np.ndarray, " spikes"],
    unit_index: Integer[np.ndarray, " spikes"],
    *,
    n_units: int,
    n_bins: int,
    start_s: float,
    bin_width_ms: float,
) -> UInt16[np.ndarray, "bins units"]:
    """Count the spikes in each bin (bins, units); every spike inside the grid is counted once, others are left out.

    Raises:
        InputError: a unit index outside 0 to n_units - 1, a time that is not finite, or more than 65535 in one bin.
    """
    _check_unit_index(unit_index, n_units)
    width_s, tolerance_s = _width_s(bin_width_ms), _edge_tolerance_s(times_s, start_s)
    counts, inside = np.zeros((n_bins, n_units), np.uint16), 0
    for first in range(0, len(times_s), _CHUNK_SPIKES):
        piece = slice(first, first + _CHUNK_SPIKES)
        inside += _add_counts(counts, _bins(times_s[piece], start_s, width_s, tolerance_s), unit_index[piece])
    if (counted := int(counts.sum(dtype=np.int64))) != inside:
        raise InputError(
            "`times_s` must have at most 65535 spikes of a unit in a bin, "
            f"{inside - counted} did not fit. Use narrower bins."
        )
    return counts


def bin_means(
    values: Float[np.ndarray, "samples dims"],
    times_s: Float[np.ndarray, " samples"],
    *,
    n_bins: int,
    start_s: float,
    bin_width_ms: float,
) -> Float[np.ndarray, "bins dims"]:
    """Bring a sampled series (samples, dims) onto the grid, (bins, dims); NaN where nothing was measured.

    A series at least as fast as the bins is averaged over the samples in each bin. A slower one is interpolated
    linearly at the bin centres, only between neighbours less than 1.5 sample periods apart. NaN samples do not count.

    Raises:
        InputError: `times_s` do not increase, or are not as many as the values.
    """
    if len(times_s) != len(values) or (np.diff(times_s) <= 0).any():
        raise InputError(f"`times_s` must be {len(values)} increasing seconds, got {len(times_s)}. Sort the samples.")
    result = np.full((n_bins, values.shape[1]), np.nan)
    if len(times_s) < 2:
        return result
    period_s, width_s = float(np.median(np.diff(times_s))), _width_s(bin_width_ms)
    centres_s = start_s + (np.arange(n_bins) + 0.5) * width_s
    index = bin_index(times_s, start_s=start_s, bin_width_ms=bin_width_ms)
    for dim, column in enumerate(np.asarray(values, np.float64).T):
        valid = np.isfinite(column)
        result[:, dim] = _between_neighbours(column[valid], times_s[valid], centres_s, 1.5 * period_s)
        if period_s <= width_s * (1 + 1e-6):
            inside = valid & (index >= 0) & (index < n_bins)
            _mean_into(result[:, dim], column[inside], index[inside])
    return result


def _bins(times_s: np.ndarray, start_s: float, width_s: float, tolerance_s: float) -> np.ndarray:
    position = times_s.astype(np.float64)
    position -= start_s - tolerance_s
    position /= width_s
    return np.floor(position, out=position).astype(np.int64)


def _width_s(bin_width_ms: float) -> float:
    if not np.isfinite(bin_width_ms) or bin_width_ms <= 0:
        raise InputError(f"`bin_width_ms` must be a positive number, got {bin_width_ms}. Use 2 to 100 ms.")
    return bin_width_ms / 1000


def _edge_tolerance_s(times_s: np.ndarray, start_s: float) -> float:
    first, last = float(np.min(times_s, initial=start_s)), float(np.max(times_s, initial=start_s))
    if not (np.isfinite(first) and np.isfinite(last)):
        raise InputError("`times_s` must be finite seconds, got NaN or infinity. Remove those times.")
    return max(_NEAREST_TICK_S, 4 * float(np.spacing(times_s.dtype.type(max(abs(first), abs(last))))))


def _check_unit_index(unit_index: np.ndarray, n_units: int) -> None:
    if len(unit_index) and (unit_index.min() < 0 or unit_index.max() >= n_units):
        raise InputError(
            f"`unit_index` must be from 0 to {n_units - 1}, got {unit_index.min()} to {unit_index.max()}. "
            "Give `n_units` as the number of rows of the units table."
        )


def _add_counts(counts: np.ndarray, bins: np.ndarray, units: np.ndarray) -> int:
    """Add one piece of spikes to the counts and return how many lay inside the grid."""
    n_bins, n_units = counts.shape
    if len(bins) and (bins.min() < 0 or bins.max() >= n_bins):
        inside = (bins >= 0) & (bins < n_bins)
        bins, units = bins[inside], units[inside]
    bins *= n_units
    bins += units.astype(np.int64, copy=False)
    np.add.at(counts.reshape(-1), bins, np.uint16(1))
    return len(bins)


def _between_neighbours(
    values: np.ndarray, times_s: np.ndarray, centres_s: np.ndarray, max_apart_s: float
) -> np.ndarray:
    if not len(values):
        return np.full(len(centres_s), np.nan)
    after = np.searchsorted(times_s, centres_s - 1e-9)
    inside = (after < len(times_s)) & (after > 0)
    after = np.clip(after, 1, max(len(times_s) - 1, 1))
    if len(times_s) > 1:
        inside &= times_s[after] - times_s[after - 1] < max_apart_s
    nearest = np.clip(np.searchsorted(times_s, centres_s - 1e-9), 0, len(times_s) - 1)
    on_sample = np.abs(times_s[nearest] - centres_s) <= 1e-9
    result = np.where(inside, np.interp(centres_s, times_s, values), np.nan)
    return np.where(on_sample, values[nearest], result)


def _mean_into(target: np.ndarray, values: np.ndarray, index: np.ndarray) -> None:
    count = np.bincount(index, minlength=len(target))
    total = np.bincount(index, weights=values, minlength=len(target))
    np.divide(total, count, out=target, where=count > 0)
