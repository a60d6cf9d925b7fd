"""Windows of three sessions of different shape, together and alone, and encoders that know them."""

import torch

from spikefield.models.encoder import Encoder, EncoderConfig
from spikefield.models.transformer import TransformerConfig
from spikefield.windows.batches import collate

SIZE = TransformerConfig(dim=16, n_layers=1, n_heads=2)
SMALL = TransformerConfig(dim=8, n_layers=1, n_heads=2)
SHAPES = {"a": (12, 10, 6), "b": (17, 9, 8), "c": (15, 3, 2)}  # bins, units, channels
PATCH = 4


def windows(seed=0):
    """Return (session id, arrays) of one window of each session."""
    generator = torch.Generator().manual_seed(seed)
    return [
        (
            session_id,
            {
                "spikes": torch.randint(0, 4, (bins, units), generator=generator, dtype=torch.int32),
                "lfp": torch.randn(bins, channels, generator=generator),
                "targets": torch.randn(bins, 16, generator=generator),
            },
        )
        for session_id, (bins, units, channels) in SHAPES.items()
    ]


def together():
    """Return all windows in one batch."""
    return collate(windows())


def alone():
    """Return each window in a batch of its own."""
    return [collate([window]) for window in windows()]


def encoder_of(modality):
    """Return an encoder that knows all sessions."""
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig(modality, PATCH, transformer=SIZE))
    for session_id, (_, units, channels) in SHAPES.items():
        encoder.add_session(session_id, units if modality == "spikes" else channels)
    torch.nn.init.normal_(encoder.space.table)
    return encoder
