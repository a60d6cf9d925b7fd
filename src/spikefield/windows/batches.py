"""Cut windows out of binned sessions and stack them into batches, whatever their numbers of units and channels.

Windows come from torch_brain's samplers, whose time unit here is the bin. A stretch shorter than a window (a trial)
is one window of its own, padded at its end and marked so.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch_brain.data import Interval
from torch_brain.datasets import DatasetIndex
from torch_brain.samplers import RandomFixedWindowSampler, TrialSampler

from spikefield.errors import InputError
from spikefield.windows.binned import BinnedSession


@dataclass(frozen=True)
class Batch:
    """Windows of several sessions, (batch, time, unit) and so on. Padded places are 0, and False in the masks beside.

    `targets` are per-bin vectors to align with (the frozen teacher's), where a stage asks for them.
    """

    session_ids: tuple[str, ...]
    time_valid: Bool[Tensor, "batch time"]
    counts: Int[Tensor, "batch time unit"] | None = None
    unit_valid: Bool[Tensor, "batch unit"] | None = None
    lfp: Float[Tensor, "batch time channel"] | None = None
    channel_valid: Bool[Tensor, "batch channel"] | None = None
    targets: Float[Tensor, "batch time dim"] | None = None
    behavior: Float[Tensor, "batch time behavior"] | None = None

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch on another device."""
        tensors = {f.name: v for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}
        return replace(self, **{name: tensor.to(device) for name, tensor in tensors.items()})


class WindowDataset(torch.utils.data.Dataset):
    """Windows of binned sessions by (session, start bin, end bin)."""

    def __init__(
        self,
        sessions: Sequence[BinnedSession],
        *,
        modalities: tuple[str, ...],
        targets: dict[str, Float[np.ndarray, "bin dim"]] | None = None,
    ) -> None:
        self.modalities = modalities
        self._targets = targets or {}
        self._arrays = {s.session_id: {name: s.require(name) for name in modalities} for s in sessions}

    def __getitem__(self, index: DatasetIndex) -> tuple[str, dict[str, Tensor]]:
        """Return the session id and copies of the window's arrays, each (time, …); all else may stay on disk."""
        start, end = round(index.start), round(index.end)
        window = {
            name: torch.from_numpy(np.array(array[start:end], np.int32 if name == "spikes" else np.float32))
            for name, array in self._arrays[index.recording_id].items()
        }
        if index.recording_id in self._targets:  # often mapped from disk in half precision
            window["targets"] = torch.from_numpy(self._targets[index.recording_id][start:end].astype(np.float32))
        return index.recording_id, window


class WindowSampler(torch.utils.data.Sampler[DatasetIndex]):
    """Random windows of `window_bins` from long stretches, whole stretches where they are shorter (trials)."""

    def __init__(
        self,
        sessions: Sequence[BinnedSession],
        *,
        kind: str,
        window_bins: int,
        generator: torch.Generator,
        min_bins: int = 4,
    ) -> None:
        self.generator = generator
        self.seed = generator.initial_seed()
        long, short = {}, {}
        for session in sessions:
            stretches = session.stretches(kind)
            long[session.session_id] = [(s, e) for s, e in stretches if e - s >= window_bins]
            short[session.session_id] = [(s, e) for s, e in stretches if min_bins <= e - s < window_bins]
        self._samplers = []
        if any(long.values()):
            self._samplers.append(
                RandomFixedWindowSampler(
                    sampling_intervals=_as_intervals(long), window_length=float(window_bins), generator=generator
                )
            )
        if any(short.values()):
            self._samplers.append(TrialSampler(sampling_intervals=_as_intervals(short), generator=generator))
        if not self._samplers:
            raise InputError(f"no stretch of {kind} time is {min_bins} bins long. Bring longer recordings or trials.")

    def start_epoch(self, seed: int) -> None:
        """Let `seed` alone decide the next pass, whatever was drawn before."""
        self.generator.manual_seed(seed)

    def __len__(self) -> int:
        return sum(len(s) for s in self._samplers)

    def __iter__(self) -> Iterator[DatasetIndex]:
        windows = [index for sampler in self._samplers for index in sampler]
        for i in torch.randperm(len(windows), generator=self.generator):
            yield windows[i]


def sequential_windows(
    sessions: Sequence[BinnedSession], *, kind: str, window_bins: int, min_bins: int = 4
) -> list[DatasetIndex]:
    """Return windows that cover the stretches of `kind` once, in order; the last of a stretch ends at its end."""
    windows = []
    for session in sessions:
        for start, end in session.stretches(kind):
            if end - start < min_bins:
                continue
            firsts = range(start, max(end - window_bins, start) + 1, window_bins)
            bounds = [(f, min(f + window_bins, end)) for f in firsts]
            if bounds[-1][1] < end:
                bounds.append((end - window_bins, end))
            windows += [DatasetIndex(session.session_id, s, e) for s, e in bounds]
    return windows


def collate(items: Sequence[tuple[str, dict[str, Tensor]]]) -> Batch:
    """Stack windows of (time, …) into a batch of (batch, time, …), padding time, units and channels at their ends."""
    windows = [window for _, window in items]
    lengths = [len(next(iter(w.values()))) for w in windows]
    time_valid = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    parts: dict[str, Tensor] = {}
    for name, field_name, mask_name in (("spikes", "counts", "unit_valid"), ("lfp", "lfp", "channel_valid")):
        if name in windows[0]:
            parts[field_name], parts[mask_name] = _stack([w[name] for w in windows])
    for name in ("targets", "behavior"):
        if name in windows[0]:
            parts[name] = _stack([w[name] for w in windows])[0]
    return Batch(session_ids=tuple(session_id for session_id, _ in items), time_valid=time_valid, **parts)


def _stack(arrays: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Stack (time, column) arrays of different shapes; return them and which columns are real."""
    n_time, n_columns = max(a.shape[0] for a in arrays), max(a.shape[1] for a in arrays)
    stacked = arrays[0].new_zeros(len(arrays), n_time, n_columns)
    for row, array in zip(stacked, arrays, strict=True):
        row[: array.shape[0], : array.shape[1]] = array
    valid = torch.arange(n_columns)[None] < torch.tensor([a.shape[1] for a in arrays])[:, None]
    return stacked, valid


def _as_intervals(stretches: dict[str, list[tuple[int, int]]]) -> dict[str, Interval]:
    return {
        session_id: Interval(np.array([s for s, _ in pairs], float), np.array([e for _, e in pairs], float))
        for session_id, pairs in stretches.items()
        if pairs
    }
