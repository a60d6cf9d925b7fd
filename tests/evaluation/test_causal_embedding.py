"""A causal encoder gives every bin the same representation whole, in pieces, and however long the pieces are."""

import numpy as np
import pytest
import torch
from evaluation_sessions import linear_session

from spikefield.evaluation.embedding import embed
from spikefield.models.encoder import Encoder, EncoderConfig
from spikefield.models.transformer import TransformerConfig
from spikefield.windows.batches import collate


@pytest.mark.parametrize("patch", [4, 12])
@pytest.mark.parametrize("ahead", [0, 2])
def test_pieces_equal_one_run_over_the_stretch(ahead, patch):
    torch.manual_seed(0)
    size = TransformerConfig(dim=16, n_layers=2, n_heads=2, causal=True, attention_bins=9, look_ahead_bins=ahead)
    encoder = Encoder(EncoderConfig("lfp", patch, transformer=size)).eval()
    encoder.add_session("made", 12)
    session = linear_session(n_bins=1500)
    pieces = embed(encoder, session, window_bins=10)
    for kind in ("train", "valid", "test"):
        for start, end in session.stretches(kind):
            with torch.no_grad():
                whole = encoder(collate([("made", {"lfp": torch.from_numpy(session.lfp[start:end])})]))[0]
            np.testing.assert_allclose(pieces[start:end], whole, atol=1e-5)
