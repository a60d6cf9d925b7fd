"""One encoder for spikes and field together: the tokens of both modalities of a bin, side by side, in one transformer.

    units -> patches -> tokens \\
                                transformer -> z_t, the mean over the patches of both
    channels -> patches -> tokens /

The paper's SS-MM (method, section 5).
"""

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn import functional

from spikefield.errors import InputError
from spikefield.models.encoder import BOTH, Encoder, EncoderConfig, Windows
from spikefield.models.tokenizer import CausalConvolution, SpaceEmbedding, Tokens, patch_count, patchify


class MultimodalEncoder(Encoder):
    """Tokenizers of both modalities and the transformer that they share; spike patches come first."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        dim = config.transformer.dim
        self.field_patch = config.lfp_patch_size or 1
        self.embed_field = CausalConvolution(
            patch_size=self.field_patch, dim=dim, channel_dropout=config.channel_dropout
        )
        self.field_space = SpaceEmbedding(dim, learned=config.space_embedding)

    def add_session(
        self,
        session_id: str,
        n_channels: int,
        n_field_channels: int = 0,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        """Make room for a new session's space embeddings: of its units, then of its channels.

        Raises:
            InputError: no number of field channels.
        """
        if n_field_channels < 1:
            raise InputError(
                f"`n_field_channels` must be 1 or more here, got {n_field_channels}. Give spikes and field."
            )
        super().add_session(session_id, n_channels, generator=generator)
        self.field_space.add_session(session_id, patch_count(n_field_channels, self.field_patch), generator=generator)

    def n_patches(self, windows: Windows) -> int:
        """Return the number of patches of both kinds."""
        (counts, _), (lfp, _) = self._patches(windows)
        return counts.shape[2] + lfp.shape[2]

    def channels(self, windows: Windows) -> tuple[Tensor, Bool[Tensor, "batch patch slot"]]:
        """Return the values of both (batch, time, patch, slot), and which slots (batch, patch, slot) are real."""
        (counts, unit_valid), (lfp, channel_valid) = self._patches(windows)
        values = torch.cat([self._widened(counts.float()), self._widened(lfp)], dim=2)
        return values, torch.cat([self._widened(unit_valid), self._widened(channel_valid)], dim=1)

    def tokenize(self, windows: Windows) -> Tokens:
        """Turn windows into tokens on their (time, patch) grid, spike patches first."""
        (counts, unit_valid), (lfp, channel_valid) = self._patches(windows)
        spaces = [
            self.space(windows.session_ids, counts.shape[2]),
            self.field_space(windows.session_ids, lfp.shape[2]),
        ]
        values = [self.embed_values(counts, unit_valid), self.embed_field(lfp, channel_valid)]
        present = torch.cat([unit_valid.any(-1), channel_valid.any(-1)], dim=1)
        space = torch.cat(spaces, dim=1)
        valid = windows.time_valid[:, :, None] & present[:, None]
        return Tokens(torch.cat(values, dim=2) + space[:, None], space, valid)

    def _patches(self, windows: Windows) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        counts, unit_valid, lfp, channel_valid = (
            windows.counts,
            windows.unit_valid,
            windows.lfp,
            windows.channel_valid,
        )
        if counts is None or unit_valid is None or lfp is None or channel_valid is None:
            raise InputError("this batch lacks spikes or lfp, both of which the encoder reads. Give paired sessions.")
        size = self.config.patch_size
        spikes = patchify(counts, size), patchify(unit_valid, size)
        return spikes, (patchify(lfp, self.field_patch), patchify(channel_valid, self.field_patch))

    def _widened(self, patches: Tensor) -> Tensor:
        return functional.pad(patches, (0, self.config.slots - patches.shape[-1]))


def build_encoder(config: EncoderConfig) -> Encoder:
    """Return the encoder of a configuration, for one modality or for both."""
    return MultimodalEncoder(config) if config.modality == BOTH else Encoder(config)


def add_session(encoder: Encoder, session_id: str, n_channels: dict[str, int]) -> None:
    """Make room for a session with so many units (`spikes`) and channels (`lfp`)."""
    counts = [n_channels[modality] for modality in encoder.config.modalities]
    encoder.add_session(session_id, *counts)
