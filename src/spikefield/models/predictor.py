"""The small transformer that fills in hidden tokens from the visible ones (method, section 4, steps 3 and 4)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from spikefield.models.encoder import bin_positions
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
        """Predict the values of every patch; `encoded` is read only where `visible`."""
        n_batch, n_time, n_patches, _ = encoded.shape
        hidden = (self.mask_token + space)[:, None].to(encoded.dtype)
        tokens = self.narrow(torch.where(visible[..., None], encoded, hidden)).flatten(1, 2)
        positions = bin_positions(n_time, n_patches, tokens.device)
        key_valid = None if bool(valid.all()) else valid.flatten(1)
        filled = self.transformer(tokens, positions, key_valid)
        return self.head(filled).view(n_batch, n_time, n_patches, -1)
