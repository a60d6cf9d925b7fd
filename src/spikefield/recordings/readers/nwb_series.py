"""The series of an NWB 2 file by their paths: which are field potential, which behaviour, on what clock."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from spikefield.errors import InputError
from spikefield.recordings import clock
from spikefield.recordings.readers import hdf5

MAX_BEHAVIOR_DIMS = 64
_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class NwbSeries:
    """One pynwb TimeSeries of the file; nothing is read until it is asked for."""

    where: str
    path: str
    series: Any

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the data as it lies in the file."""
        return tuple(int(n) for n in np.shape(self.series.data))

    @property
    def dtype(self) -> np.dtype:
        """Type of the data in the file."""
        return np.asarray(self.series.data[:0]).dtype

    @property
    def is_field_potential(self) -> bool:
        """Tell whether the series is sampled voltage of electrodes, and not snippets around spikes."""
        from pynwb.ecephys import ElectricalSeries, SpikeEventSeries

        return isinstance(self.series, ElectricalSeries) and not isinstance(self.series, SpikeEventSeries)

    @property
    def is_behavior(self) -> bool:
        """Tell whether the series may be behaviour: a few columns of numbers that are not of electrodes or images."""
        from pynwb.ecephys import ElectricalSeries
        from pynwb.image import ImageSeries

        if isinstance(self.series, ElectricalSeries | ImageSeries) or self.dtype.kind not in "fiu":
            return False
        return len(self.shape) in (1, 2) and self.shape[0] > 1 and (*self.shape, 1)[1] <= MAX_BEHAVIOR_DIMS

    @cached_property
    def electrodes(self) -> int | None:
        """Rows of the electrode table that the series refers to."""
        region = getattr(self.series, "electrodes", None)
        return None if region is None else len(region.data)

    @cached_property
    def turned(self) -> bool:
        """Tell whether the data lie as (channels, samples), by the number of electrodes and of time stamps.

        Raises:
            InputError: neither shape fits.
        """
        shape, stamps = self.shape, self.series.timestamps
        if len(shape) != 2:
            return False
        samples = {len(stamps)} if stamps is not None else set(shape)
        channels = {self.electrodes} if self.electrodes is not None else set(shape)
        if shape[0] in samples and shape[1] in channels:
            return False
        if shape[1] in samples and shape[0] in channels:
            return True
        raise InputError(
            f"{self.where}: data must be (samples, channels) with {sorted(samples)} samples and {sorted(channels)} "
            f"channels, as its time stamps and electrodes say, got shape {shape}. Write or fetch the file again."
        )

    @property
    def samples(self) -> int:
        """Number of samples."""
        return self.shape[1 if self.turned else 0]

    @property
    def channels(self) -> int:
        """Number of channels or dims."""
        return (*self.shape, 1)[0 if self.turned else 1]

    @cached_property
    def clock(self) -> clock.Clock:
        """The measured clock, or the stated one where the file holds a rate.

        Raises:
            InputError: neither time stamps nor a positive rate.
        """
        rate, stamps = self.series.rate, self.series.timestamps
        if stamps is not None:
            return clock.measure(self._stamp_blocks(), f"{self.where}: timestamps")
        if rate is None or not np.isfinite(rate) or rate <= 0:
            raise InputError(f"{self.where}: must have timestamps or a positive rate, got rate {rate}. Mend the file.")
        start = float(self.series.starting_time or 0.0)
        return clock.Clock(rate_hz=float(rate), stretches=(clock.Stretch(first=0, count=self.samples, start_s=start),))

    def times_s(self) -> np.ndarray:
        """Return the time (sample,) of every sample, in seconds.

        Raises:
            InputError: another number of time stamps than of samples.
        """
        stamps = self.series.timestamps
        if stamps is None:
            return self.clock.stretches[0].start_s + np.arange(self.samples) / self.clock.rate_hz
        times = np.asarray(hdf5.whole(stamps)[:], np.float64)
        clock.check_increasing(times, f"{self.where}: timestamps")
        if len(times) != self.samples:
            raise InputError(f"{self.where}: {self.samples} samples, but {len(times)} timestamps. Mend the file.")
        return times

    def _stamp_blocks(self) -> Iterator[np.ndarray]:
        stamps = hdf5.whole(self.series.timestamps)
        for start in range(0, self.samples, _BLOCK):
            yield np.asarray(stamps[start : start + _BLOCK])

    def values(self) -> np.ndarray:
        """Return the data in the unit of the series, (samples, dims)."""
        values = np.asarray(hdf5.whole(self.series.data)[:], np.float64)
        values = values[:, None] if values.ndim == 1 else values
        return values * (self.series.conversion or 1.0) + (self.series.offset or 0.0)

    def labels(self) -> list[str]:
        """Return a name for every dim."""
        axes = "xyz" if self.channels in (2, 3) else [str(i) for i in range(self.channels)]
        return (
            [self.name]
            if self.channels == 1
            else [f"{self.name}_{axis}" for axis, _ in zip(axes, range(self.channels), strict=False)]
        )


def every(file: str, nwb: Any) -> dict[str, NwbSeries]:
    """Return all series of the file with numbers in them, by path, in the order of the paths."""
    from pynwb import TimeSeries

    found = {}
    for item in nwb.objects.values():
        if isinstance(item, TimeSeries) and item.data is not None and np.ndim(item.data):
            path = _path(item, nwb)
            found[path] = NwbSeries(where=f"{file}: /{path}", path=path, series=item)
    return dict(sorted(found.items()))


def _path(item: Any, nwb: Any) -> str:
    from pynwb import ProcessingModule

    parts: list[str] = []
    while item is not None and item is not nwb:
        parts.insert(0, f"processing/{item.name}" if isinstance(item, ProcessingModule) else item.name)
        item = item.parent
    if parts and not parts[0].startswith("processing/"):
        parts.insert(
            0, "acquisition" if parts[0] in nwb.acquisition else "stimulus" if parts[0] in nwb.stimulus else ""
        )
    return "/".join(part for part in parts if part)


def full_names(wanted: tuple[str, ...] | None, series: Mapping[str, NwbSeries]) -> tuple[str, ...] | None:
    """Return wanted names as paths: a last part alone will do where it is the only one."""
    if wanted is None:
        return None
    ends = [[path for path in series if path == name or path.endswith(f"/{name}")] for name in wanted]
    return tuple(end[0] if len(end) == 1 else name for end, name in zip(ends, wanted, strict=True))


def propose_lfp(series: Mapping[str, NwbSeries]) -> list[str]:
    """Propose a field potential: one that is called so, else the first of the lowest rate that still holds it."""
    fields = [s for s in series.values() if s.is_field_potential]
    called = [s.path for s in fields if "lfp" in s.path.lower()]
    if called or not fields:
        return called[:1]
    rates = {s.path: float(s.series.rate) if s.series.rate else s.clock.rate_hz for s in fields}
    return [min(rates, key=lambda path: (rates[path] < 200, rates[path]))]


def propose_behavior(series: Mapping[str, NwbSeries]) -> list[str]:
    """Propose behaviour: a velocity of 2 or 3 dims, else a position, else the first in processing/behavior."""
    moved = [s for s in series.values() if s.is_behavior]
    for sign in ("vel", "pos"):
        if named := [s.path for s in moved if sign in s.name.lower() and s.channels in (2, 3)]:
            return named[:1]
    return [s.path for s in moved if s.path.startswith("processing/behavior/")][:1]
