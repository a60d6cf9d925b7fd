"""Batches of windows of different sessions and lengths, and the same windows alone."""

import torch

from spikefield.windows.batches import collate

SHAPES = {"a": (21, 10, 6), "b": (34, 17, 9), "c": (27, 3, 2)}  # bins, units, channels


def windows(seed=0, shapes=SHAPES):
    """Return (session id, arrays) of one window of each session."""
    generator = torch.Generator().manual_seed(seed)
    return [
        (
            session_id,
            {
                "spikes": torch.randint(0, 9, (bins, units), generator=generator, dtype=torch.int32),
                "lfp": torch.randn(bins, channels, generator=generator),
                "targets": torch.randn(bins, 16, generator=generator),
            },
        )
        for session_id, (bins, units, channels) in shapes.items()
    ]


def together(seed=0):
    """Return all windows in one batch."""
    return collate(windows(seed))


def alone(seed=0):
    """Return each window in a batch of its own."""
    return [collate([window]) for window in windows(seed)]


def add_all(encoder, shapes=SHAPES):
    """Add every session to an encoder, with space embeddings large enough to matter."""
    for session_id, (_, units, channels) in shapes.items():
        encoder.add_session(session_id, units if encoder.config.modality == "spikes" else channels)
    torch.nn.init.normal_(encoder.space.table)
    return encoder
