"""Short names that the readers' tests share."""

from pathlib import Path

import numpy as np

from spikefield.recordings.readers import RawSession, SeriesChoice, find_reader


def read(path: Path | str, *, name: str | None = None, **choice: tuple[str, ...]) -> list[RawSession]:
    """Every recording of a file, by the reader that is found for it."""
    return list(find_reader(path, name).read(Path(path), SeriesChoice(**choice)))


def by_unit(raw: RawSession) -> dict[str, np.ndarray]:
    """Spike times by unit name, sorted."""
    times, units = raw.arrays["spike_times"], raw.arrays["spike_units"]
    return {name: np.sort(times[units == i]) for i, name in enumerate(raw.arrays["unit_ids"])}


def left_out(raw: RawSession) -> dict:
    """What the session lists as left out."""
    return raw.arrays["source"]["left_out"]


def r2(truth: np.ndarray, read_back: np.ndarray) -> float:
    """Least R² over the columns."""
    residual = ((truth - read_back) ** 2).sum(axis=0)
    return float((1 - residual / ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)).min())
