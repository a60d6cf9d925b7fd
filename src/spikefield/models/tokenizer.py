"""Session-specific tokenization: spatial patches of units or channels become tokens (method, section 2).

A session's channels are cut into patches of `patch_size`; every (time step, patch) pair is one token: the embedding of
its values plus the space embedding of its (session, patch), which is what adapts the shared network to the session.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from spikefield.errors import InputError


@dataclass(frozen=True)
class Tokens:
    """Tokens (batch, time, patch, dim). `valid` is False at padding; `space` is the embedding already added."""

    values: Float[Tensor, "batch time patch dim"]
    space: Float[Tensor, "batch patch dim"]
    valid: Bool[Tensor, "batch time patch"]


class CountEmbedding(nn.Module):
    """A learned vector in R^(dim/slots) for each count 0..k, concatenated over a patch's units (T, R in method.md).

    Counts above k clamp to k. Absent units have the fixed zero vector of the padding index.
    """

    def __init__(self, *, patch_size: int, dim: int, max_count: int) -> None:
        super().__init__()
        if dim % patch_size:
            raise InputError(
                f"`dim` must be a multiple of `patch_size`={patch_size} for spikes, got {dim}. "
                "Choose another size of either."
            )
        self.max_count = max_count
        self.embedding = nn.Embedding(max_count + 2, dim // patch_size, padding_idx=max_count + 1)

    def forward(
        self, patches: Int[Tensor, "batch time patch slot"], slot_valid: Bool[Tensor, "batch patch slot"]
    ) -> Float[Tensor, "batch time patch dim"]:
        """Embed spike counts (batch, time, patch, slot) as (batch, time, patch, dim)."""
        index = patches.clamp(0, self.max_count).masked_fill(~slot_valid[:, None], self.max_count + 1)
        return self.embedding(index).flatten(-2)


class CausalConvolution(nn.Module):
    """A causal dilated convolution over time from a patch's channels to R^dim: kernel 5, dilation 2 (R, T)."""

    KERNEL = 5
    DILATION = 2
    REACH = (KERNEL - 1) * DILATION

    def __init__(self, *, patch_size: int, dim: int, channel_dropout: float = 0.0) -> None:
        super().__init__()
        self.hide_channels = nn.Dropout1d(channel_dropout)
        self.convolution = nn.Conv1d(patch_size, dim, self.KERNEL, dilation=self.DILATION)

    def forward(
        self, patches: Float[Tensor, "batch time patch slot"], slot_valid: Bool[Tensor, "batch patch slot"]
    ) -> Float[Tensor, "batch time patch dim"]:
        """Embed a field (batch, time, patch, slot) as (batch, time, patch, dim); absent channels contribute nothing."""
        n_batch, n_time, n_patches, _ = patches.shape
        present = patches.masked_fill(~slot_valid[:, None], 0.0)
        series = self.hide_channels(present.permute(0, 2, 3, 1).flatten(0, 1))
        embedded = self.convolution(functional.pad(series, (self.REACH, 0)))
        return embedded.view(n_batch, n_patches, -1, n_time).permute(0, 3, 1, 2)


class SpaceEmbedding(nn.Module):
    """One learned vector for each (session, patch), in one table that grows by `add_session`; zero if not `learned`."""

    def __init__(self, dim: int, *, learned: bool = True) -> None:
        super().__init__()
        self.learned = learned
        self.table = nn.Parameter(torch.zeros(0, dim), requires_grad=learned)
        self.rows: dict[str, tuple[int, int]] = {}

    def add_session(self, session_id: str, n_patches: int, *, generator: torch.Generator | None = None) -> None:
        """Give a new session rows of its own, drawn near zero.

        Raises:
            InputError: the session is already known.
        """
        if session_id in self.rows:
            raise InputError(f"`session_id` {session_id!r} is already in this model. Use it as it is.")
        fresh = 0.02 * self.learned * torch.randn(n_patches, self.table.shape[1], generator=generator)
        self.rows[session_id] = (len(self.table), n_patches)
        self.table = nn.Parameter(torch.cat([self.table.data, fresh.to(self.table)]), requires_grad=self.learned)

    def share_session(self, session_id: str, *, like: str) -> None:
        """Let `session_id` use the rows of the known session `like` (generalisation without training, Fig. 5).

        Raises:
            InputError: `session_id` is already known, or `like` is not.
        """
        if session_id in self.rows:
            raise InputError(f"`session_id` {session_id!r} is already in this model. Use it as it is.")
        self.rows[session_id] = self.rows_of(like)

    def rows_of(self, session_id: str) -> tuple[int, int]:
        """Return (first row, number of patches) of a session.

        Raises:
            InputError: the session is not in this model.
        """
        if session_id not in self.rows:
            known = ", ".join(sorted(self.rows)) or "none"
            raise InputError(
                f"`session_id` {session_id!r} is not in this model, which knows {known}. "
                "Add it with `add_session` and fine-tune, or let it share with `share_session`."
            )
        return self.rows[session_id]

    def load_rows(self, rows: Mapping[str, tuple[int, int]]) -> None:
        """Restore the table's shape and directory before its weights are loaded."""
        self.rows = {session_id: (int(first), int(count)) for session_id, (first, count) in rows.items()}
        n_rows = max((first + count for first, count in self.rows.values()), default=0)
        self.table = nn.Parameter(self.table.new_zeros(n_rows, self.table.shape[1]), requires_grad=self.learned)

    def forward(self, session_ids: tuple[str, ...], n_patches: int) -> Float[Tensor, "batch patch dim"]:
        """Return the space embeddings of a batch (batch, patch, dim); rows past a session's last patch are zero."""
        spans = [self.rows_of(session_id) for session_id in session_ids]
        index = torch.tensor([[f + min(p, n - 1) for p in range(n_patches)] for f, n in spans])
        own = torch.tensor([[p < n for p in range(n_patches)] for _, n in spans])
        device = self.table.device
        return self.table[index.to(device)] * own.to(device)[..., None]


def patchify(channels: Tensor, patch_size: int) -> Tensor:
    """Cut (batch, …, channel) into (batch, …, patch, slot), the last patch padded with zeros at its end."""
    missing = -channels.shape[-1] % patch_size
    return functional.pad(channels, (0, missing)).unflatten(-1, (-1, patch_size))


def patch_count(n_channels: int, patch_size: int) -> int:
    """Return P = ceil(N / S)."""
    return -(-n_channels // patch_size)
