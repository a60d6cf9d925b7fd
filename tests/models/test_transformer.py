"""Sizes that cannot be, the gated MLP against its formula, and padding that changes nothing."""

import pytest
import torch

from spikefield.errors import InputError
from spikefield.models.transformer import GatedMLP, RMSNorm, Transformer, TransformerConfig

SIZE = TransformerConfig(dim=16, n_layers=2, n_heads=2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dim": 10, "n_heads": 4}, "multiple of 2 x `n_heads`=8"),
        ({"n_heads": 0}, "1 or more"),
        ({"dim": 0}, "1 or more"),
        ({"n_layers": 0}, "`n_layers` must be 1 or more"),
        ({"dropout": 1.0}, "`dropout`"),
    ],
)
def test_impossible_sizes_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        TransformerConfig(**given)


def test_gated_mlp_equals_its_formula():
    mlp = GatedMLP(4)
    token = torch.randn(4)
    gate, hidden = mlp.to_hidden.weight[:16] @ token, mlp.to_hidden.weight[16:] @ token
    expected = mlp.to_out.weight @ (gate * torch.sigmoid(gate) * hidden)
    torch.testing.assert_close(mlp(token.view(1, 1, 4))[0, 0], expected)


def test_norm_gives_unit_mean_square():
    normed = RMSNorm(16)(5 * torch.randn(2, 3, 16))
    torch.testing.assert_close(normed.square().mean(-1), torch.ones(2, 3), atol=1e-4, rtol=0)


def test_padding_tokens_change_nothing():
    transformer = Transformer(SIZE).eval()
    tokens = torch.randn(1, 9, 16)
    positions = torch.arange(9)[None]
    valid = torch.arange(9)[None] < 6
    with torch.no_grad():
        alone = transformer(tokens[:, :6], positions[:, :6], None)
        padded = transformer(tokens, positions, valid)[:, :6]
    torch.testing.assert_close(alone, padded, atol=1e-5, rtol=1e-5)


def test_dropout_in_training_only():
    transformer = Transformer(SIZE)
    tokens, positions = torch.randn(1, 9, 16), torch.arange(9)[None]
    assert not torch.equal(transformer(tokens, positions, None), transformer(tokens, positions, None))
    transformer.eval()
    assert torch.equal(transformer(tokens, positions, None), transformer(tokens, positions, None))
