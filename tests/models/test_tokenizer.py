"""The tokenizer: patches, embeddings of counts and field, space embeddings, each beside a written-out twin."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikefield.errors import InputError
from spikefield.models.tokenizer import CausalConvolution, CountEmbedding, SpaceEmbedding, patch_count, patchify


def test_counts_are_embedded_slot_by_slot():
    embed = CountEmbedding(patch_size=4, dim=16, max_count=3)
    patches = torch.randint(0, 8, (2, 5, 3, 4))
    valid = torch.rand(2, 3, 4) < 0.7
    with torch.no_grad():
        fast = embed(patches, valid)
        for b, t, p, s in torch.cartesian_prod(*(torch.arange(n) for n in patches.shape)).tolist():
            piece = fast[b, t, p, 4 * s : 4 * s + 4]
            count = min(int(patches[b, t, p, s]), 3)
            expected = embed.embedding.weight[count] if valid[b, p, s] else torch.zeros(4)
            assert torch.equal(piece, expected)


def test_absent_units_learn_nothing():
    embed = CountEmbedding(patch_size=2, dim=4, max_count=3)
    valid = torch.tensor([[[True, False]]])
    embed(torch.ones(1, 3, 1, 2, dtype=torch.int64), valid).square().sum().backward()
    rows = embed.embedding.weight.grad.abs().sum(1) > 0
    assert rows.tolist() == [False, True, False, False, False]


def convolution_twin(module, patches, valid):
    """A causal dilated convolution, one product at a time."""
    n_batch, n_time, n_patches, n_slots = patches.shape
    weight, bias = module.convolution.weight, module.convolution.bias
    out = torch.zeros(n_batch, n_time, n_patches, len(bias))
    for b in range(n_batch):
        for p in range(n_patches):
            for t in range(n_time):
                out[b, t, p] = bias
                for k in range(5):
                    at = t - 2 * (4 - k)
                    for s in range(n_slots):
                        if at >= 0 and valid[b, p, s]:
                            out[b, t, p] += weight[:, s, k] * patches[b, at, p, s]
    return out


def test_field_is_embedded_by_a_causal_dilated_convolution():
    embed = CausalConvolution(patch_size=3, dim=5)
    patches, valid = torch.randn(2, 14, 2, 3), torch.rand(2, 2, 3) < 0.7
    with torch.no_grad():
        twin = convolution_twin(embed, patches, valid)
        torch.testing.assert_close(embed(patches, valid), twin, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_future_never_changes_the_past():
    embed = CausalConvolution(patch_size=3, dim=5)
    patches, valid = torch.randn(1, 30, 1, 3), torch.ones(1, 1, 3, dtype=torch.bool)
    changed = patches.clone()
    changed[:, 20:] += 1
    assert torch.equal(embed(patches, valid)[:, :20], embed(changed, valid)[:, :20])


def test_channels_are_hidden_in_training_only():
    embed = CausalConvolution(patch_size=6, dim=5, channel_dropout=0.5)
    patches, valid = torch.randn(1, 12, 1, 6), torch.ones(1, 1, 6, dtype=torch.bool)
    assert not torch.equal(embed(patches, valid), embed(patches, valid))
    embed.eval()
    plain = CausalConvolution(patch_size=6, dim=5)
    plain.load_state_dict(embed.state_dict())
    assert torch.equal(embed(patches, valid), plain(patches, valid))


@settings(max_examples=30, deadline=None)
@given(n_channels=st.integers(1, 40), patch_size=st.integers(1, 16))
def test_patches_hold_every_channel_once(n_channels, patch_size):
    channels = torch.arange(1.0, n_channels + 1).expand(2, 3, n_channels)
    patches = patchify(channels, patch_size)
    assert patches.shape == (2, 3, patch_count(n_channels, patch_size), patch_size)
    flat = patches.flatten(2)
    assert torch.equal(flat[..., :n_channels], channels)
    assert not flat[..., n_channels:].any()


def test_patch_size_must_divide_the_width():
    with pytest.raises(InputError, match="`dim` must be a multiple of `patch_size`=5 for spikes, got 16"):
        CountEmbedding(patch_size=5, dim=16, max_count=3)


@pytest.fixture
def space():
    space = SpaceEmbedding(4)
    space.add_session("a", 2)
    space.add_session("b", 3)
    return space


def test_a_new_session_keeps_the_old_rows(space):
    before = space.table.detach().clone()
    space.add_session("c", 1, generator=torch.Generator().manual_seed(1))
    assert space.rows == {"a": (0, 2), "b": (2, 3), "c": (5, 1)}
    assert torch.equal(space.table[:5], before)
    assert space.table.requires_grad and len(space.table) == 6


def test_rows_are_read_by_session_and_zero_past_the_last_patch(space):
    read = space(("b", "a"), 3)
    assert torch.equal(read[0], space.table[2:5])
    assert torch.equal(read[1, :2], space.table[:2])
    assert not read[1, 2].any()


def test_a_shared_session_reads_the_other_rows(space):
    space.share_session("d", like="b")
    assert torch.equal(space(("d",), 3), space(("b",), 3))
    assert len(space.table) == 5


def test_only_the_sessions_of_a_batch_learn(space):
    space(("a",), 2).sum().backward()
    assert space.table.grad.abs().sum(1).gt(0).tolist() == [True, True, False, False, False]


def test_an_unknown_session_is_named_with_the_remedy(space):
    with pytest.raises(InputError) as caught:
        space(("x",), 2)
    assert str(caught.value) == (
        "`session_id` 'x' is not in this model, which knows a, b. "
        "Add it with `add_session` and fine-tune, or let it share with `share_session`."
    )
    with pytest.raises(InputError, match="knows none"):
        SpaceEmbedding(4).rows_of("x")


@pytest.mark.parametrize("again", [lambda s: s.add_session("a", 2), lambda s: s.share_session("a", like="b")])
def test_a_known_session_is_not_added_again(space, again):
    with pytest.raises(InputError, match="'a' is already in this model"):
        again(space)


def test_rows_are_restored_before_weights(space):
    space.share_session("d", like="b")
    restored = SpaceEmbedding(4)
    restored.load_rows(dict(space.rows))
    restored.load_state_dict(space.state_dict())
    assert torch.equal(restored(("d", "a"), 3), space(("d", "a"), 3))
