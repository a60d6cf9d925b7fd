"""The representation of every bin equals that of one window at a time, taken where the bin lies most centrally."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from evaluation_sessions import linear_session, session_of
from torch import nn
from torch_brain.datasets import DatasetIndex

from spikefield.errors import InputError
from spikefield.evaluation.embedding import embed
from spikefield.models.encoder import Encoder, EncoderConfig
from spikefield.models.transformer import TransformerConfig
from spikefield.windows.batches import WindowDataset, collate


def _encoder(modality="lfp"):
    torch.manual_seed(0)
    config = EncoderConfig(
        modality=modality, patch_size=4, transformer=TransformerConfig(dim=16, n_layers=2, n_heads=2, dropout=0.3)
    )
    encoder = Encoder(config)
    encoder.add_session("made", 12, generator=torch.Generator().manual_seed(0))
    return encoder


def _trials_of_all_lengths():
    rng = np.random.default_rng(0)
    segment = np.repeat(np.arange(40), rng.integers(6, 60, 40))
    n_bins = len(segment)
    segment[::97] = -1
    return session_of(
        rng.normal(size=(n_bins, 1)), lfp=rng.normal(size=(n_bins, 12)).astype("f4"), segment=segment, has_trials=True
    )


def _slow_embed(encoder, session, window_bins):
    """Run every window on its own, then look for the most central one, bin by bin."""
    dataset = WindowDataset([session], modalities=(encoder.config.modality,))
    result = np.full((session.n_bins, 16), np.nan, np.float32)
    encoder.eval()
    for kind in ("train", "valid", "test"):
        for start, end in session.stretches(kind):
            width = min(window_bins, end - start)
            firsts = [*range(start, end - width, max(1, window_bins // 2)), end - width]
            with torch.no_grad():
                runs = [encoder(collate([dataset[DatasetIndex("made", f, f + width)]]))[0].numpy() for f in firsts]
            for t in range(start, end):
                off_centre = [abs(t - (f + (width - 1) / 2)) for f in firsts]
                best = int(np.argmin(off_centre))
                result[t] = runs[best][t - firsts[best]]
    return result


@pytest.mark.parametrize("modality", ["lfp", "spikes"])
@pytest.mark.parametrize("window_bins", [40, 33])
def test_equals_one_window_at_a_time(modality, window_bins):
    session, encoder = linear_session(n_bins=700), _encoder(modality)
    fast = embed(encoder, session, window_bins=window_bins, batch_windows=7)
    assert fast.dtype == np.float32
    np.testing.assert_allclose(fast, _slow_embed(encoder, session, window_bins), atol=2e-6)
    inside = session.split.train | session.split.valid | session.split.test
    np.testing.assert_array_equal(np.isfinite(fast).all(1), inside)


def test_trials_and_gaps_equal_one_window_at_a_time():
    session, encoder = _trials_of_all_lengths(), _encoder()
    fast = embed(encoder, session, window_bins=24, batch_windows=5)
    np.testing.assert_allclose(fast, _slow_embed(encoder, session, 24), atol=2e-6)


def test_nothing_outside_a_stretch_changes_it():
    session, encoder = linear_session(n_bins=700), _encoder()
    lfp = np.where(session.split.train[:, None], session.lfp, np.float32(50))
    train = embed(encoder, session, window_bins=32, kinds=("train",))
    np.testing.assert_array_equal(train, embed(encoder, replace(session, lfp=lfp), window_bins=32, kinds=("train",)))
    np.testing.assert_array_equal(np.isfinite(train).all(1), session.split.train)


def test_the_mode_of_the_encoder_is_restored():
    session, encoder = linear_session(n_bins=700), _encoder()
    for training in (True, False):
        encoder.train(training)
        embed(encoder, session, window_bins=32)
        assert encoder.training is training
    encoder.train()
    np.testing.assert_array_equal(embed(encoder, session, window_bins=32), embed(encoder, session, window_bins=32))


def test_bad_input_is_refused():
    session = linear_session(n_bins=700)
    with pytest.raises(InputError, match="holds no lfp"):
        embed(_encoder(), replace(session, lfp=None), window_bins=32)
    gone = replace(session, segment=np.full(session.n_bins, -1))
    with pytest.raises(InputError, match="no stretch of train"):
        embed(_encoder(), gone, window_bins=32, kinds=("train",))


def test_an_encoder_needs_only_to_map_windows():
    class Sum(nn.Module):
        def forward(self, windows):
            return torch.cat([windows.lfp.sum(2, keepdim=True), windows.counts.sum(2, keepdim=True)], dim=2)

    session = linear_session(n_bins=700)
    result = embed(Sum(), session, window_bins=50)
    expected = np.stack([session.lfp.sum(1), session.counts.sum(1)], axis=1)
    np.testing.assert_allclose(result[session.split.test], expected[session.split.test], rtol=1e-4, atol=1e-4)
