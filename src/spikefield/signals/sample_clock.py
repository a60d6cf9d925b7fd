"""Where each sample of a file lies on the regular grid of its measured clock, gaps kept to a sample.

Time of regular index i is start + i / rate. A file may leave samples out; its unbroken stretches then lie at the
regular index that their own start gives, so none is stretched and nothing after a gap shifts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from spikefield.errors import InputError
from spikefield.recordings import clock as measured


class Run(NamedTuple):
    """An unbroken stretch: where it starts in the file, how long it is, and its regular index."""

    first_sample: int
    n_samples: int
    first_index: int


@dataclass(frozen=True)
class SampleClock:
    """The regular index of a recording's samples and its tie to seconds."""

    rate_hz: float
    start_s: float
    runs: tuple[Run, ...]

    @classmethod
    def regular(cls, *, rate_hz: float, start_s: float, n_samples: int) -> "SampleClock":
        """Return the clock of a recording without gaps whose rate is known."""
        return cls(rate_hz=rate_hz, start_s=start_s, runs=(Run(0, n_samples, 0),))

    @classmethod
    def of_stretches(cls, *, rate_hz: float, starts_s: Sequence[float], n_samples: Sequence[int]) -> "SampleClock":
        """Return the clock of unbroken stretches in order of time, each at the regular sample nearest to its start.

        Raises:
            InputError: a stretch starts before the one before it ends.
        """
        runs: list[Run] = []
        for start_s, n in zip(starts_s, n_samples, strict=True):
            free = runs[-1].first_index + runs[-1].n_samples if runs else 0
            index = round((start_s - starts_s[0]) * rate_hz)
            if index < free - 1:
                raise InputError(
                    f"`starts_s` must not overlap, but the stretch at {start_s:.3f} s starts before the last one ends. "
                    "Prepare the parts one by one."
                )
            runs.append(Run(sum(run.n_samples for run in runs), n, max(index, free)))
        return cls(rate_hz=rate_hz, start_s=starts_s[0], runs=tuple(runs))

    @classmethod
    def of_stamps(cls, timestamps_s: Iterable[Float[np.ndarray, " samples"]]) -> "SampleClock":
        """Return the clock of a recording from all its time stamps, given in pieces (samples,) (`recordings.clock`).

        Raises:
            InputError: stamps that do not increase or are not finite, fewer than two, or gaps everywhere.
        """
        clock = measured.measure(timestamps_s, "`timestamps_s`")
        return cls.of_stretches(
            rate_hz=clock.rate_hz,
            starts_s=[stretch.start_s for stretch in clock.stretches],
            n_samples=[stretch.count for stretch in clock.stretches],
        )

    @property
    def n_samples(self) -> int:
        """Samples in the file."""
        return sum(run.n_samples for run in self.runs)

    @property
    def n_indices(self) -> int:
        """Regular samples from the first to the last, gaps included."""
        return self.runs[-1].first_index + self.runs[-1].n_samples

    def times_s(self, samples: Integer[np.ndarray, " events"]) -> Float[np.ndarray, " events"]:
        """Return the time in seconds of samples of the file, by their numbers (events,)."""
        first = np.array([run.first_sample for run in self.runs])
        shift = np.array([run.first_index - run.first_sample for run in self.runs])
        return self.start_s + (samples + shift[np.searchsorted(first, samples, side="right") - 1]) / self.rate_hz
