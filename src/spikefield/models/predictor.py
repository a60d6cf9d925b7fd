"""How hidden tokens are filled in from the visible ones: a small transformer, or each bin's representation alone.

`Predictor` is the published one (method, section 4, steps 3 and 4): it looks at other bins itself, so a bin's own
representation need not hold them. `CoSmoother` sees nothing but the bin's representation, as every readout does.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from spikefield.models.encoder import bin_positions, pool_patches
from spikefield.models.transformer import Transformer, TransformerConfig


class Predictor(nn.Module):
    """Mask tokens and visible tokens -> the S values of every patch."""

    def __init__(self, config: TransformerConfig, *, encoder_dim: int, patch_size: int) -> None:
        super().__init__()
        self.mask_token = nn.Parameter(0.02 * torch.randn(encoder_dim))
        self.narrow = nn.Linear(encoder_dim, config.dim)
        self.transformer = Transformer(config)
        self.head = nn.Linear(config.dim, patch_size)

    def forward(
        self,
        encoded: Float[Tensor, "batch time patch dim"],
        space: Float[Tensor, "batch patch dim"],
        visible: Bool[Tensor, "batch time patch"],
        valid: Bool[Tensor, "batch time patch"],
    ) -> Float[Tensor, "batch time patch slot"]:
        """Predict the values of every patch (batch, time, patch, slot); `encoded` is read only where `visible`."""
        n_batch, n_time, n_patches, _ = encoded.shape
        hidden = (self.mask_token + space)[:, None].to(encoded.dtype)
        tokens = self.narrow(torch.where(visible[..., None], encoded, hidden)).flatten(1, 2)
        positions = bin_positions(n_time, n_patches, tokens.device)
        key_valid = None if bool(valid.all()) else valid.flatten(1)
        filled = self.transformer(tokens, positions, key_valid)
        return self.head(filled).view(n_batch, n_time, n_patches, -1)


class CoSmoother(nn.Module):
    """A bin's visible patches, averaged as for a readout, and a patch's space embedding -> the patch's S values.

    Same call as `Predictor`. A bin without a visible patch is represented by zeros: only its mean can be predicted.
    """

    def __init__(self, *, dim: int, patch_size: int) -> None:
        super().__init__()
        self.mix = nn.Linear(dim, dim)
        self.head = nn.Linear(dim, patch_size)

    def forward(
        self,
        encoded: Float[Tensor, "batch time patch dim"],
        space: Float[Tensor, "batch patch dim"],
        visible: Bool[Tensor, "batch time patch"],
        valid: Bool[Tensor, "batch time patch"],
    ) -> Float[Tensor, "batch time patch slot"]:
        """Predict (batch, time, patch, slot) from the visible patches of the same bin; `valid` holds `visible`."""
        bins = self.mix(pool_patches(encoded, visible))
        return self.head(functional.silu(bins[:, :, None] + space[:, None]))
