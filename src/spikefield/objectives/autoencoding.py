"""Masked autoencoding: the encoder sees the visible tokens, the predictor fills in the rest (method, section 4)."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from spikefield.errors import InputError
from spikefield.models.encoder import Encoder, Windows, bin_positions
from spikefield.models.predictor import CoSmoother, Predictor
from spikefield.models.transformer import TransformerConfig
from spikefield.objectives.masking import gather_tokens, hide_tokens, scatter_tokens


@dataclass(frozen=True)
class AutoencodingConfig:
    """How much is hidden, and what fills it in.

    `co_smoothing` reads hidden units from the representation of their own bin, in place of the predictor; for spikes
    alone, since a field potential's bin may be a single token.
    """

    mask_ratio: float = 0.6
    co_smoothing: bool = False
    predictor: TransformerConfig = field(default_factory=lambda: TransformerConfig(dim=48, n_layers=2))

    def __post_init__(self) -> None:
        if not 0 < self.mask_ratio < 1:
            raise InputError(f"`mask_ratio` must lie between 0 and 1, got {self.mask_ratio}.")


class MaskedAutoencoder(nn.Module):
    """Encoder and predictor, trained to predict what was hidden."""

    def __init__(self, encoder: Encoder, config: AutoencodingConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        dim, patch_size = encoder.config.transformer.dim, encoder.config.patch_size
        if config.co_smoothing and encoder.config.modality == "spikes":
            self.predictor = CoSmoother(dim=dim, patch_size=patch_size)
        else:
            self.predictor = Predictor(config.predictor, encoder_dim=dim, patch_size=patch_size)

    def forward(self, windows: Windows, *, generator: torch.Generator | None = None) -> Float[Tensor, ""]:
        """Return the loss of one batch: mean over the hidden, real values."""
        tokens = self.encoder.tokenize(windows)
        shape = tokens.valid.shape
        chosen = hide_tokens(tokens.valid.flatten(1), mask_ratio=self.config.mask_ratio, generator=generator)
        positions = bin_positions(shape[1], shape[2], tokens.values.device).expand(shape[0], -1)
        kept = self.encoder.transformer(
            gather_tokens(tokens.values.flatten(1, 2), chosen.index),
            positions.gather(1, chosen.index),
            None if bool(chosen.index_valid.all()) else chosen.index_valid,
        )
        encoded = scatter_tokens(kept, chosen).view(*shape, -1)
        visible = chosen.visible.view(shape)
        predicted = self.predictor(encoded, tokens.space, visible, tokens.valid)
        patches, slot_valid = self.encoder.channels(windows)
        hidden = (tokens.valid & ~visible)[..., None] & slot_valid[:, None]
        loss = poisson_loss if self.encoder.config.modality == "spikes" else gaussian_loss
        return loss(predicted.float(), patches, hidden)


def poisson_loss(
    log_rate: Float[Tensor, "batch time patch slot"],
    counts: Tensor,
    hidden: Bool[Tensor, "batch time patch slot"],
) -> Float[Tensor, ""]:
    """Poisson negative log likelihood, up to log(count!), averaged over the hidden, real values."""
    nll = log_rate.exp() - counts * log_rate
    return nll.masked_fill(~hidden, 0.0).sum() / hidden.sum().clamp(min=1)


def gaussian_loss(
    predicted: Float[Tensor, "batch time patch slot"],
    values: Tensor,
    hidden: Bool[Tensor, "batch time patch slot"],
) -> Float[Tensor, ""]:
    """Squared error, averaged over the hidden, real values."""
    error = functional.mse_loss(predicted, values, reduction="none")
    return error.masked_fill(~hidden, 0.0).sum() / hidden.sum().clamp(min=1)
