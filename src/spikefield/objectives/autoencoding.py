"""Masked autoencoding: the encoder sees the visible tokens, the predictor fills in the rest (method, section 4)."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from spikefield.errors import InputError
from spikefield.models.encoder import Encoder, Windows, bin_positions
from spikefield.models.predictor import CoSmoother, Predictor
from spikefield.models.tokenizer import patch_count
from spikefield.models.transformer import TransformerConfig
from spikefield.objectives.masking import gather_tokens, hide_tokens, scatter_tokens


@dataclass(frozen=True)
class AutoencodingConfig:
    """How much is hidden, and what fills it in.

    `co_smoothing` reads hidden units from the representation of their own bin, in place of the predictor; not for a
    field potential alone, whose bin may be a single token.
    """

    mask_ratio: float = 0.6
    co_smoothing: bool = False
    predictor: TransformerConfig = field(default_factory=lambda: TransformerConfig(dim=48, n_layers=2))

    def __post_init__(self) -> None:
        if not 0 < self.mask_ratio < 1:
            raise InputError(f"`mask_ratio` must lie between 0 and 1, got {self.mask_ratio}. Give about 0.6.")


class MaskedAutoencoder(nn.Module):
    """Encoder and predictor, trained to predict what was hidden."""

    def __init__(self, encoder: Encoder, config: AutoencodingConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        dim, patch_size = encoder.config.transformer.dim, encoder.config.slots
        if config.co_smoothing and encoder.config.modality != "lfp":
            self.predictor = CoSmoother(dim=dim, patch_size=patch_size)
        else:
            self.predictor = Predictor(config.predictor, encoder_dim=dim, patch_size=patch_size)

    def forward(self, windows: Windows, *, generator: torch.Generator | None = None) -> Float[Tensor, ""]:
        """Return the loss of one batch, a scalar: mean over the hidden, real values."""
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
        return self._loss(predicted.float(), patches, hidden, self._n_spike_patches(windows))

    def rebuilt(self, windows: Windows) -> Float[Tensor, "batch time unit"]:
        """Return what the decoder gives (batch, time, unit) when nothing is hidden, padded channels included."""
        tokens = self.encoder.tokenize(windows)
        n_batch, n_time, n_patches, _ = tokens.values.shape
        positions = bin_positions(n_time, n_patches, tokens.values.device)
        valid = None if bool(tokens.valid.all()) else tokens.valid.flatten(1)
        encoded = self.encoder.transformer(tokens.values.flatten(1, 2), positions, valid)
        encoded = encoded.view(n_batch, n_time, n_patches, -1)
        return self.predictor(encoded, tokens.space, tokens.valid, tokens.valid).flatten(2)

    def _n_spike_patches(self, windows: Windows) -> int:
        """Return how many of the patches hold counts; they come before those of the field."""
        if windows.counts is None or "spikes" not in self.encoder.config.modalities:
            return 0
        return patch_count(windows.counts.shape[-1], self.encoder.config.patch_size)

    def _loss(
        self, predicted: Tensor, patches: Tensor, hidden: Bool[Tensor, "batch time patch slot"], n_spikes: int
    ) -> Float[Tensor, ""]:
        """Score counts and field each by its own likelihood; both count alike where there are both."""
        if self.encoder.config.modality == "spikes":
            return poisson_loss(predicted, patches, hidden)
        if self.encoder.config.modality == "lfp":
            return gaussian_loss(predicted, patches, hidden)
        counts, field = (..., slice(None, n_spikes), slice(None)), (..., slice(n_spikes, None), slice(None))
        spikes = poisson_loss(predicted[counts], patches[counts], hidden[counts])
        return spikes + gaussian_loss(predicted[field], patches[field], hidden[field])


def poisson_loss(
    log_rate: Float[Tensor, "batch time patch slot"],
    counts: Tensor,
    hidden: Bool[Tensor, "batch time patch slot"],
) -> Float[Tensor, ""]:
    """Poisson negative log likelihood of counts (batch, time, patch, slot), averaged over the hidden, real values.

    Up to log(count!), which no parameter moves.
    """
    nll = log_rate.exp() - counts * log_rate
    return nll.masked_fill(~hidden, 0.0).sum() / hidden.sum().clamp(min=1)


def gaussian_loss(
    predicted: Float[Tensor, "batch time patch slot"],
    values: Tensor,
    hidden: Bool[Tensor, "batch time patch slot"],
) -> Float[Tensor, ""]:
    """Squared error from values (batch, time, patch, slot), averaged over the hidden, real values."""
    error = functional.mse_loss(predicted, values, reduction="none")
    return error.masked_fill(~hidden, 0.0).sum() / hidden.sum().clamp(min=1)
