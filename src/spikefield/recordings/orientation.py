"""Samples in rows, channels in columns: an array that lies the other way is refused before it becomes a session."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spikefield.errors import InputError


def known_duration_s(
    *, stamps_s: Sequence[ArrayLike | None], sampled: Sequence[tuple[ArrayLike | None, float | None]]
) -> float | None:
    """Return how long the recording lasts by its time stamps (sample,) and its sampled arrays taller than wide."""
    found = [float(np.ptp(finite)) for stamps in stamps_s if (finite := _finite(stamps)).size]
    for array, rate_hz in sampled:
        n_samples, n_columns = _shape(array)
        if rate_hz and n_samples >= n_columns > 0:
            found.append(n_samples / rate_hz)
    return max(found, default=None)


def check_orientation(
    name: str,
    shape: tuple[int, int],
    *,
    columns: ArrayLike | Sequence[Any] | None = None,
    rows: ArrayLike | None = None,
    rate_hz: float | None = None,
    duration_s: float | None = None,
) -> None:
    """Refuse an array wider than tall, unless its names, its time stamps or its duration say that it is so.

    Args:
        name: the argument, for the message.
        shape: (samples, columns) as given.
        columns: one entry a column, such as the channels' names.
        rows: one entry a sample, such as the time stamps.
        rate_hz: rate of the samples.
        duration_s: how long the recording lasts by its other streams.

    Raises:
        InputError: nothing says that the samples are fewer than the columns.
    """
    n_samples, n_columns = shape
    if n_columns <= n_samples:
        return
    if columns is not None or rows is not None:
        if _is_as_long(columns, n_columns) and _is_as_long(rows, n_samples):
            return
    elif rate_hz and duration_s is not None and duration_s > 0:
        as_given, transposed = (abs(np.log(n / rate_hz / duration_s)) for n in shape)
        if as_given < transposed:
            return
    raise InputError(
        f"`{name}` must be (samples, columns), got {shape}: more columns than samples. Transpose it; if so few "
        "samples are right, name the columns."
    )


def _is_as_long(entries: Any, count: int) -> bool:
    return entries is None or len(entries) == count


def _finite(stamps: ArrayLike | None) -> np.ndarray:
    try:
        numbers = np.asarray([] if stamps is None else stamps, np.float64)
    except (TypeError, ValueError):
        return np.empty(0)  # refused where it is read
    return numbers[np.isfinite(numbers)]


def _shape(array: ArrayLike | None) -> tuple[int, int]:
    """Return samples and columns, (0, 0) for what is no table; that is refused where it is read."""
    try:
        shape: tuple[int, ...] = np.shape(array if array is not None else ())
    except ValueError:
        return 0, 0
    return (shape[0], shape[1]) if len(shape) == 2 else (shape[0], 1) if len(shape) == 1 else (0, 0)
