"""Attention equals a written-out softmax and depends on relative position only."""

import math

import pytest
import torch

from spikefield.errors import InputError
from spikefield.models.attention import RotaryAttention, rotate, rotation_of


def softmax_twin(attention, tokens, positions, mask):
    """Rotary attention, one query, key and pair of features at a time."""
    n_batch, n_tokens, dim = tokens.shape
    n_heads, width = attention.n_heads, dim // attention.n_heads
    q_weight, k_weight, v_weight = attention.to_qkv.weight.chunk(3)
    mixed = torch.zeros_like(tokens)
    for b in range(n_batch):
        for h in range(n_heads):
            rows = slice(h * width, (h + 1) * width)
            query, key, value = (tokens[b] @ w[rows].T for w in (q_weight, k_weight, v_weight))
            for i in range(n_tokens):
                scores = []
                for j in range(n_tokens):
                    score = torch.dot(turned(query[i], positions[b, i]), turned(key[j], positions[b, j]))
                    seen = mask is None or bool(mask[b, 0, 0, j])
                    scores.append(score / math.sqrt(width) if seen else torch.tensor(-math.inf))
                weights = torch.stack(scores).exp() / torch.stack(scores).exp().sum()
                mixed[b, i, rows] = sum(w * v for w, v in zip(weights, value, strict=True))
    return mixed @ attention.to_out.weight.T


def turned(vector, position):
    half = len(vector) // 2
    out = torch.zeros_like(vector)
    for k in range(half):
        angle = float(position) * 10_000 ** (-2 * k / len(vector))
        out[k] = vector[k] * math.cos(angle) - vector[half + k] * math.sin(angle)
        out[half + k] = vector[half + k] * math.cos(angle) + vector[k] * math.sin(angle)
    return out


@pytest.fixture
def attention():
    torch.manual_seed(0)
    return RotaryAttention(16, 2)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_equals_softmax(attention, masked):
    tokens = torch.randn(2, 7, 16)
    positions = torch.randint(0, 300, (2, 7))
    mask = torch.rand(2, 1, 1, 7) < 0.6 if masked else None
    if mask is not None:
        mask[..., 0] = True
    with torch.no_grad():
        fast = attention(tokens, rotation_of(positions, 8), mask)
        torch.testing.assert_close(fast, softmax_twin(attention, tokens, positions, mask), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_attention_depends_on_relative_position_only(attention):
    tokens = torch.randn(1, 9, 16)
    positions = torch.arange(9)[None]
    here = attention(tokens, rotation_of(positions, 8), None)
    later = attention(tokens, rotation_of(positions + 137, 8), None)
    torch.testing.assert_close(here, later, atol=1e-5, rtol=1e-4)
    apart = attention(tokens, rotation_of(3 * positions, 8), None)
    assert (here - apart).abs().max() > 1e-3


def test_rotation_keeps_lengths_and_leaves_position_zero_alone():
    heads = torch.randn(2, 3, 5, 8)
    turned_heads = rotate(heads, rotation_of(torch.tensor([[0, 1, 5, 70, 900]]), 8))
    torch.testing.assert_close(turned_heads.norm(dim=-1), heads.norm(dim=-1))
    torch.testing.assert_close(turned_heads[:, :, 0], heads[:, :, 0])


def test_masked_keys_are_never_seen(attention):
    tokens = torch.randn(1, 6, 16)
    mask = torch.tensor([True, True, True, True, False, False]).view(1, 1, 1, 6)
    rotation = rotation_of(torch.arange(6)[None], 8)
    changed = tokens.clone()
    changed[:, 4:] += 100
    with torch.no_grad():
        torch.testing.assert_close(
            attention(tokens, rotation, mask)[:, :4], attention(changed, rotation, mask)[:, :4], atol=0, rtol=0
        )


def test_odd_head_width_is_refused():
    with pytest.raises(InputError, match="multiple of 2 x n_heads=6"):
        RotaryAttention(16, 3)
