"""Batches of windows in an order that seed and epoch alone decide, shared by any number of processes.

Every process goes through the same global batches and takes its own consecutive part of each, so that one process and
many see the same windows in the same steps. An epoch may start in its midst, where an interrupted run goes on.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch.utils.data import Sampler
from torch_brain.datasets import DatasetIndex

from spikefield.windows.batches import WindowSampler


@dataclass(frozen=True)
class Share:
    """The rows [first, first + count) of a global batch of `total` rows; `count` 0 is a stand-in of no weight."""

    first: int
    count: int
    total: int


def share_of(total: int, *, rank: int, n_ranks: int) -> Share:
    """Return the part of a batch that belongs to a process; parts differ by one row at most."""
    first, last = (total * r // n_ranks for r in (rank, rank + 1))
    return Share(first, last - first, total)


def mixed_seed(*parts: int) -> int:
    """Return a seed of 32 bits that neighbouring parts do not make alike."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=4).digest(), "little")


class WindowBatches(Sampler[list[DatasetIndex]]):
    """The batches of every epoch. What was passed over (`skip`) comes as an empty batch, so that numbering stays."""

    def __init__(self, windows: WindowSampler | Sequence[DatasetIndex], *, batch_windows: int) -> None:
        self.windows = windows
        self.batch_windows = batch_windows
        self.rank, self.n_ranks = 0, 1
        self._skip = 0

    def share(self, rank: int, n_ranks: int) -> None:
        """Give out the part of process `rank` only."""
        self.rank, self.n_ranks = rank, n_ranks

    def start_epoch(self, epoch: int, *, skip: int = 0) -> None:
        """Let the next pass be that of `epoch`, without its first `skip` batches."""
        self._skip = skip
        if isinstance(self.windows, WindowSampler):
            self.windows.start_epoch(mixed_seed(self.windows.seed, epoch))

    def share_at(self, batch: int) -> Share:
        """Return which rows of a global batch this process holds."""
        total = min(self.batch_windows, len(self.windows) - batch * self.batch_windows)
        return share_of(total, rank=self.rank, n_ranks=self.n_ranks)

    def __len__(self) -> int:
        return -(-len(self.windows) // self.batch_windows)

    def __iter__(self) -> Iterator[list[DatasetIndex]]:
        skip, self._skip = self._skip, 0
        windows = list(self.windows)
        for i in range(len(self)):
            share = self.share_at(i)
            first = i * self.batch_windows + share.first
            yield [] if i < skip else windows[first : first + max(share.count, 1)]
