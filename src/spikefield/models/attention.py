"""The one door to attention: rotary queries and keys, PyTorch's scaled-dot-product kernel behind it.

Causal attention sees a band of bins. A short series is masked; a long one is cut into blocks, each with the keys that
its band reaches, so that cost and memory grow with its length and no faster.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from spikefield.errors import InputError

_ROTARY_BASE = 10_000.0
_BLOCKS_TO_CUT = 4


@dataclass(frozen=True)
class Band:
    """What a bin sees: its own and earlier bins, `bins` in all (None = all), and `ahead` bins of its future."""

    bins: int | None
    ahead: int = 0


class RotaryAttention(nn.Module):
    """Multi-head self-attention over tokens whose positions are bin indices (method, sections 2 and 3)."""

    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        if dim % (2 * n_heads):
            raise InputError(f"`dim` must be a multiple of 2 x n_heads={2 * n_heads}, got {dim}. Choose another size.")
        self.n_heads = n_heads
        self.to_qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim, bias=False)

    def forward(
        self,
        tokens: Float[Tensor, "batch token dim"],
        rotation: Float[Tensor, "two batch_or_1 1 token half"],
        mask: Bool[Tensor, "batch 1 query_or_1 token"] | None,
        band: Band | None = None,
        bins: Int[Tensor, "batch_or_1 token"] | None = None,
    ) -> Float[Tensor, "batch token dim"]:
        """Attend (batch, token, dim); `mask` is True where a key may be seen, None where all may; `band` narrows it."""
        n_batch, n_tokens, dim = tokens.shape
        qkv = self.to_qkv(tokens).view(n_batch, n_tokens, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = qkv[0], qkv[1], qkv[2]
        query, key = rotate(query, rotation), rotate(key, rotation)
        if band is None or bins is None:
            mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        else:
            mixed = attend_in_band(query, key, value, mask, band, bins)
        return self.to_out(mixed.transpose(1, 2).reshape(n_batch, n_tokens, dim))


def rotation_of(
    positions: Int[Tensor, "batch_or_1 token"], head_dim: int
) -> Float[Tensor, "two batch_or_1 1 token half"]:
    """Return cosine and sine (two, batch_or_1, 1, token, half) of every position's angles, one a pair of features."""
    exponents = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32) / head_dim
    angles = positions[:, None, :, None].float() * _ROTARY_BASE**-exponents
    return torch.stack([angles.cos(), angles.sin()])


def rotate(
    heads: Float[Tensor, "batch head token head_dim"], rotation: Float[Tensor, "two batch_or_1 1 token half"]
) -> Float[Tensor, "batch head token head_dim"]:
    """Turn each pair (first half, second half) of features (batch, head, token, head_dim) by its position's angle."""
    cos, sin = rotation.to(heads.dtype)
    first, second = heads.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def attend_in_band(
    query: Float[Tensor, "batch head token head_dim"],
    key: Float[Tensor, "batch head token head_dim"],
    value: Float[Tensor, "batch head token head_dim"],
    mask: Bool[Tensor, "batch 1 query_or_1 token"] | None,
    band: Band,
    bins: Int[Tensor, "batch_or_1 token"],
) -> Float[Tensor, "batch head token head_dim"]:
    """Attend to the band's bins only: (batch, head, token, head_dim), by whichever of the two twins is cheaper."""
    per_bin = _tokens_per_bin(bins)
    if band.bins is None or per_bin is None or query.shape[2] <= _BLOCKS_TO_CUT * band.bins * per_bin:
        seen = band_mask(band, bins)
        if mask is not None:
            own = torch.eye(query.shape[2], dtype=torch.bool, device=query.device)
            seen = (seen & mask) | own  # no row is empty, not even that of a padded token
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
    return _attend_in_blocks(query, key, value, mask, band.bins, band.ahead, per_bin)


def band_mask(band: Band, bins: Int[Tensor, "batch_or_1 token"]) -> Bool[Tensor, "batch_or_1 1 token token"]:
    """Return (batch_or_1, 1, token, token), true where a query sees a key, which is the last axis."""
    later = bins[:, None, :] - bins[:, :, None]
    seen = later <= band.ahead
    if band.bins is not None:
        seen &= later > -band.bins
    return seen[:, None]


def _tokens_per_bin(bins: Int[Tensor, "batch_or_1 token"]) -> int | None:
    """Return how many tokens each bin has, None where the tokens lie on no regular grid."""
    n_tokens = bins.shape[1]
    if len(bins) > 1 or not n_tokens:
        return None
    per_bin = int((bins[0] == bins[0, 0]).sum())
    regular = torch.arange(n_tokens, device=bins.device) // per_bin + bins[0, 0]
    return per_bin if torch.equal(bins[0], regular) else None


def _attend_in_blocks(
    query: Float[Tensor, "batch head token head_dim"],
    key: Float[Tensor, "batch head token head_dim"],
    value: Float[Tensor, "batch head token head_dim"],
    mask: Bool[Tensor, "batch 1 query_or_1 token"] | None,
    back: int,
    ahead: int,
    per_bin: int,
) -> Float[Tensor, "batch head token head_dim"]:
    """Cut queries into blocks of `back` bins; each gets the keys from `back` - 1 bins before it to `ahead` after."""
    n_batch, _, n_tokens, _ = query.shape
    block, before, width = back * per_bin, (back - 1) * per_bin, (2 * back - 1 + ahead) * per_bin
    n_blocks = -(-n_tokens // block)
    after = n_blocks * block - n_tokens

    def windows(series: Tensor) -> Tensor:
        padded = functional.pad(series, (0, 0, before, after + ahead * per_bin))
        return padded.unfold(2, width, block).permute(0, 2, 1, 4, 3).flatten(0, 1)

    real = query.new_ones(n_batch, 1, n_tokens, 1) if mask is None else mask.transpose(2, 3).to(query.dtype)
    known = windows(real)[..., 0][:, :, None] > 0
    offset = torch.arange(width, device=query.device) // per_bin - torch.arange(block, device=query.device)[
        :, None
    ].div(per_bin, rounding_mode="floor")
    own = torch.arange(width, device=query.device) == torch.arange(block, device=query.device)[:, None] + before
    seen = (known & (offset >= 0) & (offset < back + ahead)) | own
    cut = functional.pad(query, (0, 0, 0, after)).unflatten(2, (n_blocks, block)).transpose(1, 2).flatten(0, 1)
    mixed = functional.scaled_dot_product_attention(cut, windows(key), windows(value), attn_mask=seen)
    return mixed.unflatten(0, (n_batch, n_blocks)).transpose(1, 2).flatten(2, 3)[:, :, :n_tokens]
