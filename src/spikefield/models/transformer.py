"""A pre-norm transformer: rotary attention and a gated MLP on a residual stream (method, section 3).

Used twice on the data's path: as the encoder of the tokens, and, smaller, as the predictor of the hidden ones.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from spikefield.errors import InputError
from spikefield.models.attention import Band, RotaryAttention, rotation_of


@dataclass(frozen=True)
class TransformerConfig:
    """Size of a transformer, and what it sees. `dim` is the width of the residual stream.

    A causal one sees `attention_bins` bins back in every layer, its own included (None = all), and in its first layer
    `look_ahead_bins` bins of the future, so that it looks ahead by just as many.
    """

    dim: int = 64
    n_layers: int = 3
    n_heads: int = 4
    dropout: float = 0.1
    causal: bool = False
    attention_bins: int | None = None
    look_ahead_bins: int = 0

    def __post_init__(self) -> None:
        if self.n_heads < 1 or self.dim < 1:
            raise InputError(
                f"`dim` and `n_heads` must be 1 or more, got {self.dim} and {self.n_heads}. "
                "Leave them out for the default."
            )
        if self.dim % (2 * self.n_heads):
            raise InputError(
                f"`dim` must be a multiple of 2 x `n_heads`={2 * self.n_heads}, got {self.dim}. "
                "Choose another size of either."
            )
        if self.n_layers < 1 or not 0 <= self.dropout < 1:
            raise InputError(
                f"`n_layers` must be 1 or more and `dropout` in [0, 1), got {self.n_layers} and {self.dropout}. "
                "Leave them out for the default."
            )
        if (self.attention_bins is not None and self.attention_bins < 1) or self.look_ahead_bins < 0:
            raise InputError(
                "`attention_bins` must be 1 or more and `look_ahead_bins` 0 or more, "
                f"got {self.attention_bins} and {self.look_ahead_bins}. "
                "Leave them out for the default."
            )
        if not self.causal and (self.attention_bins is not None or self.look_ahead_bins):
            raise InputError(
                "`attention_bins` and `look_ahead_bins` belong to causal attention, but `causal` is False. "
                "Set it, or leave them out."
            )

    def bands(self) -> list[Band | None]:
        """Return what each layer sees; None is everything."""
        if not self.causal:
            return [None] * self.n_layers
        later = [Band(self.attention_bins)] * (self.n_layers - 1)
        return [Band(self.attention_bins, self.look_ahead_bins), *later]


class GatedMLP(nn.Module):
    """SiLU-gated MLP with a hidden width of four times the stream's."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.to_hidden = nn.Linear(dim, 8 * dim, bias=False)
        self.to_out = nn.Linear(4 * dim, dim, bias=False)

    def forward(self, tokens: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch token dim"]:
        """Return the gated update of every token (batch, token, dim)."""
        gate, hidden = self.to_hidden(tokens).chunk(2, dim=-1)
        return self.to_out(functional.silu(gate) * hidden)


class RMSNorm(nn.RMSNorm):
    """Norm in the precision of its weights, also where autocast hands it bfloat16."""

    def forward(self, tokens: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch token dim"]:
        """Scale every token (batch, token, dim) to unit mean square, then by the learned weights."""
        return super().forward(tokens.to(self.weight.dtype))


class Block(nn.Module):
    """One layer: attention, then the gated MLP, each on a normalised copy of the stream."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.dim)
        self.attention = RotaryAttention(config.dim, config.n_heads)
        self.mlp_norm = RMSNorm(config.dim)
        self.mlp = GatedMLP(config.dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        tokens: Float[Tensor, "batch token dim"],
        rotation: Float[Tensor, "two batch_or_1 1 token half"],
        mask: Bool[Tensor, "batch 1 query_or_1 token"] | None,
        band: Band | None = None,
        bins: Int[Tensor, "batch_or_1 token"] | None = None,
    ) -> Float[Tensor, "batch token dim"]:
        """Return the stream (batch, token, dim) after this layer."""
        tokens = tokens + self.dropout(self.attention(self.attention_norm(tokens), rotation, mask, band, bins))
        return tokens + self.dropout(self.mlp(self.mlp_norm(tokens)))


class Transformer(nn.Module):
    """`n_layers` blocks and a final norm."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = RMSNorm(config.dim)

    def forward(
        self,
        tokens: Float[Tensor, "batch token dim"],
        positions: Int[Tensor, "batch_or_1 token"],
        valid: Bool[Tensor, "batch token"] | None,
    ) -> Float[Tensor, "batch token dim"]:
        """Encode tokens (batch, token, dim); `valid` is False at padding, None where there is none (the fast path)."""
        return self.norm(deque(self.streams(tokens, positions, valid), maxlen=1).pop())

    def streams(
        self,
        tokens: Float[Tensor, "batch token dim"],
        positions: Int[Tensor, "batch_or_1 token"],
        valid: Bool[Tensor, "batch token"] | None,
    ) -> Iterator[Float[Tensor, "batch token dim"]]:
        """Yield the residual stream (batch, token, dim) before the first layer and after each, without final norm."""
        rotation = rotation_of(positions, self.config.dim // self.config.n_heads)
        mask = None if valid is None else valid[:, None, None, :]
        yield tokens
        for block, band in zip(self.blocks, self.config.bands(), strict=True):
            tokens = block(tokens, rotation, mask, band, positions)
            yield tokens
