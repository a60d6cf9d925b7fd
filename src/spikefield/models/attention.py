"""The one door to attention: rotary queries and keys, PyTorch's scaled-dot-product kernel behind it."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from spikefield.errors import InputError

_ROTARY_BASE = 10_000.0


class RotaryAttention(nn.Module):
    """Multi-head self-attention over tokens whose positions are bin indices (method, sections 2 and 3)."""

    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        if dim % (2 * n_heads):
            raise InputError(f"`dim` must be a multiple of 2 x n_heads={2 * n_heads}, got {dim}.")
        self.n_heads = n_heads
        self.to_qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim, bias=False)

    def forward(
        self,
        tokens: Float[Tensor, "batch token dim"],
        rotation: Float[Tensor, "two batch_or_1 1 token half"],
        mask: Bool[Tensor, "batch 1 query_or_1 token"] | None,
    ) -> Float[Tensor, "batch token dim"]:
        """Attend; `mask` is True where a key may be seen, None where all may."""
        n_batch, n_tokens, dim = tokens.shape
        qkv = self.to_qkv(tokens).view(n_batch, n_tokens, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = qkv[0], qkv[1], qkv[2]
        mixed = functional.scaled_dot_product_attention(
            rotate(query, rotation), rotate(key, rotation), value, attn_mask=mask
        )
        return self.to_out(mixed.transpose(1, 2).reshape(n_batch, n_tokens, dim))


def rotation_of(
    positions: Int[Tensor, "batch_or_1 token"], head_dim: int
) -> Float[Tensor, "two batch_or_1 1 token half"]:
    """Return cosine and sine of every position's angles, one a pair of features."""
    exponents = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32) / head_dim
    angles = positions[:, None, :, None].float() * _ROTARY_BASE**-exponents
    return torch.stack([angles.cos(), angles.sin()])


def rotate(
    heads: Float[Tensor, "batch head token head_dim"], rotation: Float[Tensor, "two batch_or_1 1 token half"]
) -> Float[Tensor, "batch head token head_dim"]:
    """Turn each pair (first half, second half) of features by its position's angle."""
    cos, sin = rotation.to(heads.dtype)
    first, second = heads.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
