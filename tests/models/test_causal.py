"""Causal attention: the blocks equal the mask, no bin sees past its band, and the weights are those of any encoder."""

import pytest
import torch
from batches_of_windows import SHAPES, add_all, together, windows

import spikefield.models.attention as attention
from spikefield.errors import InputError
from spikefield.models.attention import Band, attend_in_band, band_mask
from spikefield.models.encoder import Encoder, EncoderConfig, Reach
from spikefield.models.transformer import TransformerConfig
from spikefield.windows.batches import collate


def causal_encoder(*, bins=5, ahead=0, layers=3, patch=4):
    torch.manual_seed(0)
    size = TransformerConfig(
        dim=16, n_layers=layers, n_heads=2, causal=True, attention_bins=bins, look_ahead_bins=ahead
    )
    return add_all(Encoder(EncoderConfig("lfp", patch, transformer=size))).eval()


@torch.no_grad()
def sees(encoder, n_bins=60, at=30):
    """Return the bins that change when the field of bin `at` does."""
    values = torch.randn(1, n_bins, 6)
    changed = values.clone()
    changed[:, at] += 1
    first, second = (encoder(collate([("a", {"lfp": v[0]})])) for v in (values, changed))
    return torch.nonzero((first - second)[0].abs().amax(-1)).ravel().tolist()


@pytest.mark.parametrize("per_bin", [1, 3])
@pytest.mark.parametrize("ahead", [0, 2])
@pytest.mark.parametrize("padded", [False, True])
def test_blocks_equal_the_mask(per_bin, ahead, padded, monkeypatch):
    n_tokens = 61 * per_bin
    query, key, value = torch.randn(3, 2, 2, n_tokens, 8)
    bins = (torch.arange(n_tokens) // per_bin)[None] + 4
    mask = (torch.arange(n_tokens) < torch.tensor([[n_tokens], [20 * per_bin + 1]]))[:, None, None] if padded else None
    fast = attend_in_band(query, key, value, mask, Band(7, ahead), bins)
    monkeypatch.setattr(attention, "_BLOCKS_TO_CUT", 1000)
    torch.testing.assert_close(fast, attend_in_band(query, key, value, mask, Band(7, ahead), bins))


def test_the_mask_equals_its_definition():
    bins = torch.tensor([[0, 0, 1, 2, 2, 5]])
    for band in (Band(2), Band(3, 1), Band(None), Band(None, 1)):
        seen = band_mask(band, bins)[0, 0]
        for q, at in enumerate(bins[0].tolist()):
            for k, other in enumerate(bins[0].tolist()):
                back = band.bins is None or other > at - band.bins
                assert bool(seen[q, k]) == (back and other <= at + band.ahead)


@pytest.mark.parametrize("ahead", [0, 3])
def test_a_bin_reaches_exactly_as_far_as_stated(ahead):
    encoder = causal_encoder(ahead=ahead)
    assert encoder.reach == Reach(past_bins=3 * 4 + 8, ahead_bins=ahead)
    assert sees(encoder) == list(range(30 - ahead, 30 + encoder.reach.past_bins + 1))


def test_without_a_limit_all_the_past_is_seen():
    encoder = causal_encoder(bins=None)
    assert encoder.reach is None
    assert sees(encoder) == list(range(30, 60))


def test_mixed_sessions_and_padding_stay_finite_and_equal_to_each_alone():
    encoder = causal_encoder(bins=3, ahead=1)
    z = encoder(together())
    for row, window in enumerate(windows()):
        alone = encoder(collate([window]))[0]
        torch.testing.assert_close(z[row, : len(alone)], alone, atol=1e-5, rtol=1e-4)
    z.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())


def test_causal_and_bidirectional_share_their_weights():
    causal = causal_encoder(bins=max(n for n, _, _ in SHAPES.values()) + 1, ahead=40, layers=1)
    size = TransformerConfig(dim=16, n_layers=1, n_heads=2)
    plain = add_all(Encoder(EncoderConfig("lfp", 4, transformer=size))).eval()
    plain.load_state_dict(causal.state_dict())
    torch.testing.assert_close(causal(together()), plain(together()))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"causal": True, "attention_bins": 0}, "`attention_bins` must be 1 or more"),
        ({"causal": True, "look_ahead_bins": -1}, "`look_ahead_bins` 0 or more"),
        ({"attention_bins": 10}, "belong to causal attention"),
        ({"look_ahead_bins": 1}, "belong to causal attention"),
    ],
)
def test_what_cannot_be_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        TransformerConfig(**given)
