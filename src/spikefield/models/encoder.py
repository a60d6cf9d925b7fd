"""From a batch of windows to a representation of every time step: tokenizer, transformer, mean over patches.

channels -> patches -> tokens -> transformer -> z_t in R^dim, the mean over the step's patches (method, section 3)
"""

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from spikefield.errors import InputError
from spikefield.models.tokenizer import CausalConvolution, CountEmbedding, SpaceEmbedding, Tokens, patch_count, patchify
from spikefield.models.transformer import Transformer, TransformerConfig

MODALITIES = ("spikes", "lfp")
BOTH = "spikes+lfp"


@runtime_checkable
class Windows(Protocol):
    """What an encoder reads of a batch (`spikefield.windows.batches.Batch`)."""

    @property
    def session_ids(self) -> tuple[str, ...]:
        """Which session each window is of."""
        ...

    @property
    def time_valid(self) -> Tensor:
        """Bool (batch, time), False at padding."""
        ...

    @property
    def counts(self) -> Tensor | None:
        """Spike counts (batch, time, unit)."""
        ...

    @property
    def unit_valid(self) -> Tensor | None:
        """Bool (batch, unit), False at padding."""
        ...

    @property
    def lfp(self) -> Tensor | None:
        """Field potential (batch, time, channel)."""
        ...

    @property
    def channel_valid(self) -> Tensor | None:
        """Bool (batch, channel), False at padding."""
        ...


class Reach(NamedTuple):
    """How many bins before and after its own the representation of a bin depends on."""

    past_bins: int
    ahead_bins: int


@dataclass(frozen=True)
class EncoderConfig:
    """What an encoder reads and how large it is. `patch_size` is S, the channels of one token.

    `channel_dropout` is the share of field channels hidden, whole windows long, while training. An encoder of spikes
    and field together (`spikes+lfp`) has `patch_size` units or `lfp_patch_size` channels in a token. Without
    `space_embedding` nothing tells the network which session or patch a token is of.
    """

    modality: str
    patch_size: int
    max_count: int = 5
    channel_dropout: float = 0.0
    lfp_patch_size: int | None = None
    space_embedding: bool = True
    transformer: TransformerConfig = field(default_factory=TransformerConfig)

    def __post_init__(self) -> None:
        if self.modality not in (*MODALITIES, BOTH):
            raise InputError(
                f"`modality` must be one of {(*MODALITIES, BOTH)}, got {self.modality!r}. Choose one of them."
            )
        if (self.lfp_patch_size is not None) != (self.modality == BOTH):
            raise InputError(
                f"`lfp_patch_size` is for {BOTH}, which needs it, got {self.lfp_patch_size}. "
                "Set it for that modality and no other."
            )
        if self.patch_size < 1 or self.max_count < 1:
            raise InputError(
                f"`patch_size` and `max_count` must be 1 or more, got {self.patch_size} and {self.max_count}. "
                "Leave them out for the default."
            )
        if not 0 <= self.channel_dropout < 1:
            raise InputError(f"`channel_dropout` must be in [0, 1), got {self.channel_dropout}. Give 0 to hide none.")

    @property
    def modalities(self) -> tuple[str, ...]:
        """What the encoder reads: spikes, lfp or both."""
        return MODALITIES if self.modality == BOTH else (self.modality,)

    @property
    def slots(self) -> int:
        """Channels of the largest token."""
        return max(self.patch_size, self.lfp_patch_size or 1)


class Encoder(nn.Module):
    """Tokenizer and transformer of one modality, shared by all sessions that were added to it.

    `spikefield.models.multimodal.build_encoder` makes it, or its kind for two modalities, from a configuration.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.transformer.dim
        if config.modality != "lfp":
            self.embed_values = CountEmbedding(patch_size=config.patch_size, dim=dim, max_count=config.max_count)
        else:
            self.embed_values = CausalConvolution(
                patch_size=config.patch_size, dim=dim, channel_dropout=config.channel_dropout
            )
        self.space = SpaceEmbedding(dim, learned=config.space_embedding)
        self.transformer = Transformer(config.transformer)

    @property
    def reach(self) -> Reach | None:
        """What z_t depends on; None where that is the whole window."""
        size = self.config.transformer
        if not size.causal or size.attention_bins is None:
            return None
        embedding_bins = CausalConvolution.REACH if self.config.modality == "lfp" else 0
        return Reach(size.n_layers * (size.attention_bins - 1) + embedding_bins, size.look_ahead_bins)

    def add_session(self, session_id: str, n_channels: int, *, generator: torch.Generator | None = None) -> None:
        """Make room for a new session's space embedding."""
        self.space.add_session(session_id, patch_count(n_channels, self.config.patch_size), generator=generator)

    def n_patches(self, windows: Windows) -> int:
        """Return the number of patches of a batch's grid."""
        present = windows.unit_valid if self.config.modality == "spikes" else windows.channel_valid
        return 0 if present is None else patch_count(present.shape[1], self.config.patch_size)

    def channels(self, windows: Windows) -> tuple[Tensor, Bool[Tensor, "batch patch slot"]]:
        """Return this modality's values (batch, time, patch, slot), and which slots (batch, patch, slot) are real.

        Raises:
            InputError: the batch lacks what the encoder reads.
        """
        if self.config.modality == "spikes":
            values, valid = windows.counts, windows.unit_valid
        else:
            values, valid = windows.lfp, windows.channel_valid
        if values is None or valid is None:
            raise InputError(
                f"this batch holds no {self.config.modality}, which the encoder reads. Give sessions that hold it."
            )
        return patchify(values, self.config.patch_size), patchify(valid, self.config.patch_size)

    def tokenize(self, windows: Windows) -> Tokens:
        """Turn windows into tokens on their (time, patch) grid."""
        patches, slot_valid = self.channels(windows)
        space = self.space(windows.session_ids, patches.shape[2])
        valid = windows.time_valid[:, :, None] & slot_valid.any(-1)[:, None]
        return Tokens(self.embed_values(patches, slot_valid) + space[:, None], space, valid)

    def forward(self, windows: Windows) -> Float[Tensor, "batch time dim"]:
        """Return z_t (batch, time, dim) of every time step, from all tokens."""
        tokens = self.tokenize(windows)
        n_batch, n_time, n_patches, _ = tokens.values.shape
        positions = bin_positions(n_time, n_patches, tokens.values.device)
        valid = None if bool(tokens.valid.all()) else tokens.valid.flatten(1)
        encoded = self.transformer(tokens.values.flatten(1, 2), positions, valid)
        return pool_patches(encoded.view(n_batch, n_time, n_patches, -1), tokens.valid)


def bin_positions(n_time: int, n_patches: int, device: torch.device) -> Int[Tensor, "1 token"]:
    """Return the bin index (1, token) of every token: all patches of one bin share a position."""
    return torch.arange(n_time, device=device).repeat_interleave(n_patches)[None]


def pool_patches(
    tokens: Float[Tensor, "batch time patch dim"], valid: Bool[Tensor, "batch time patch"]
) -> Float[Tensor, "batch time dim"]:
    """Average (batch, time, patch, dim) over real patches: the sum divided by their number, never by one more."""
    weight = valid[..., None].to(tokens.dtype)
    return (tokens * weight).sum(2) / weight.sum(2).clamp(min=1)
