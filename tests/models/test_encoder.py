"""The encoder: pooling against a loop, padding that never changes a valid output, and an eval mode without chance."""

import pytest
import torch
from batches_of_windows import add_all, alone, together

from spikefield.errors import InputError
from spikefield.models.encoder import Encoder, EncoderConfig, bin_positions, pool_patches
from spikefield.models.transformer import TransformerConfig

SIZE = TransformerConfig(dim=16, n_layers=2, n_heads=2)


@pytest.fixture(params=["spikes", "lfp"])
def encoder(request):
    torch.manual_seed(0)
    return add_all(Encoder(EncoderConfig(request.param, 4, transformer=SIZE)))


def test_pooling_is_the_mean_over_real_patches():
    tokens, valid = torch.randn(2, 5, 4, 3), torch.rand(2, 5, 4) < 0.6
    pooled = pool_patches(tokens, valid)
    for b in range(2):
        for t in range(5):
            real = [tokens[b, t, p] for p in range(4) if valid[b, t, p]]
            expected = sum(real) / len(real) if real else torch.zeros(3)
            torch.testing.assert_close(pooled[b, t], expected, atol=1e-6, rtol=1e-5)


def test_all_patches_of_a_bin_share_its_position():
    assert bin_positions(3, 2, torch.device("cpu")).tolist() == [[0, 0, 1, 1, 2, 2]]


@torch.no_grad()
def test_mixed_sessions_give_each_window_what_it_gives_alone(encoder):
    encoder.eval()
    batch = together()
    z = encoder(batch)
    for row, single in enumerate(alone()):
        expected = encoder(single)[0]
        torch.testing.assert_close(z[row, : len(expected)], expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_padding_holds_nothing_that_matters(encoder):
    encoder.eval()
    batch = together()
    z = encoder(batch)[batch.time_valid]
    batch.counts[~batch.time_valid] = 7
    batch.lfp[~batch.time_valid] = 1e3
    batch.counts.swapaxes(1, 2)[~batch.unit_valid] = 7
    batch.lfp.swapaxes(1, 2)[~batch.channel_valid] = 1e3
    torch.testing.assert_close(encoder(batch)[batch.time_valid], z, atol=0, rtol=0)


def test_eval_is_deterministic_and_training_is_not(encoder):
    batch = together()
    assert not torch.equal(encoder(batch), encoder(batch))
    encoder.eval()
    assert torch.equal(encoder(batch), encoder(batch))


def test_every_weight_learns(encoder):
    encoder(together()).square().sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_bfloat16_stays_close(encoder):
    encoder.eval()
    batch = together()
    with torch.no_grad():
        full = encoder(batch)
        with torch.autocast("cpu", torch.bfloat16):
            half = encoder(batch)
    assert (half - full)[batch.time_valid].abs().max() < 0.2


def test_the_space_embedding_tells_sessions_apart(encoder):
    encoder.eval()
    encoder.space.share_session("d", like="a")
    first = alone()[0]
    with torch.no_grad():
        own, shared = encoder(first), encoder(type(first)(**{**vars(first), "session_ids": ("d",)}))
        assert torch.equal(own, shared)
        encoder.space.table[0] += 1
        assert not torch.equal(encoder(first), own)


def test_a_batch_without_the_modality_is_refused(encoder):
    batch = alone()[0]
    missing = "counts" if encoder.config.modality == "spikes" else "lfp"
    with pytest.raises(InputError, match=f"this batch holds no {encoder.config.modality}, which the encoder reads"):
        encoder(type(batch)(**{**vars(batch), missing: None}))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"modality": "eeg", "patch_size": 4},
            r"`modality` must be one of .*'spikes\+lfp'\), got 'eeg'",
        ),
        ({"modality": "lfp", "patch_size": 0}, "`patch_size`"),
        ({"modality": "spikes", "patch_size": 4, "max_count": 0}, "`max_count`"),
        ({"modality": "lfp", "patch_size": 4, "channel_dropout": 1.0}, "`channel_dropout`"),
    ],
)
def test_impossible_encoders_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        EncoderConfig(**given)
