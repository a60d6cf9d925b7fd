"""Hide tokens at random over time and space, and gather the visible ones (method, section 4, step 1)."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class VisibleSet:
    """Tokens the encoder sees. `index` (batch, kept) lists them in order; `index_valid` is False at its padding."""

    index: Int[Tensor, "batch kept"]
    index_valid: Bool[Tensor, "batch kept"]
    visible: Bool[Tensor, "batch token"]


def hide_tokens(
    valid: Bool[Tensor, "batch token"], *, mask_ratio: float, generator: torch.Generator | None = None
) -> VisibleSet:
    """Keep `round((1 - mask_ratio) * n)`, at least one, of each window's n real tokens (batch, token), at random."""
    n_valid = valid.sum(1)
    n_kept = ((1 - mask_ratio) * n_valid).round().long().clamp(min=1)
    noise = torch.rand(valid.shape, generator=generator).to(valid.device).masked_fill(~valid, 2.0)
    rank = noise.argsort(1).argsort(1)
    visible = (rank < n_kept[:, None]) & valid
    index = (~visible).to(torch.uint8).argsort(dim=1, stable=True)[:, : int(n_kept.max())]
    return VisibleSet(index, visible.gather(1, index), visible)


def gather_tokens(
    tokens: Float[Tensor, "batch token dim"], index: Int[Tensor, "batch kept"]
) -> Float[Tensor, "batch kept dim"]:
    """Return the tokens at `index` (batch, kept), as (batch, kept, dim)."""
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))


def scatter_tokens(kept: Float[Tensor, "batch kept dim"], chosen: VisibleSet) -> Float[Tensor, "batch token dim"]:
    """Put gathered tokens (batch, kept, dim) back at their places in (batch, token, dim); all other places are zero."""
    n_batch, n_tokens = chosen.visible.shape
    places = kept.new_zeros(n_batch, n_tokens, kept.shape[-1])
    present = kept * chosen.index_valid[..., None]
    return places.scatter_add(1, chosen.index[..., None].expand_as(present), present)
