"""Which tokens are hidden: how many, never padding, all alike; gathered tokens go back where they came from."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikefield.objectives.masking import gather_tokens, hide_tokens, scatter_tokens


def valid_of(lengths, n_tokens):
    return torch.arange(n_tokens)[None] < torch.tensor(lengths)[:, None]


@settings(max_examples=50, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    mask_ratio=st.floats(0.05, 0.95),
    seed=st.integers(0, 1000),
)
def test_visible_tokens_are_counted_listed_and_real(lengths, mask_ratio, seed):
    valid = valid_of(lengths, 40)
    chosen = hide_tokens(valid, mask_ratio=mask_ratio, generator=torch.Generator().manual_seed(seed))
    for row, n_valid in enumerate(lengths):
        visible = chosen.visible[row].nonzero().ravel().tolist()
        assert abs(len(visible) - max(1, (1 - mask_ratio) * n_valid)) <= 0.5 + 1e-4
        assert all(place < n_valid for place in visible)
        assert chosen.index[row][chosen.index_valid[row]].tolist() == visible


def test_visible_counts_round_to_the_nearest():
    chosen = hide_tokens(valid_of([10, 7, 4, 1], 10), mask_ratio=0.6)
    assert chosen.visible.sum(1).tolist() == [4, 3, 2, 1]
    assert chosen.index_valid.sum(1).tolist() == [4, 3, 2, 1]


def test_every_token_is_as_likely_to_be_visible():
    valid = valid_of([20], 26).expand(4000, -1)
    share = hide_tokens(valid, mask_ratio=0.6, generator=torch.Generator().manual_seed(0)).visible.float().mean(0)
    assert (share[:20] - 0.4).abs().max() < 5 * (0.4 * 0.6 / 4000) ** 0.5
    assert not share[20:].any()


def test_the_generator_decides():
    valid = valid_of([30, 12], 30)
    first, again, other = (
        hide_tokens(valid, mask_ratio=0.5, generator=torch.Generator().manual_seed(s)).visible for s in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_scatter_undoes_gather():
    tokens = torch.randn(3, 30, 4)
    chosen = hide_tokens(valid_of([30, 12, 1], 30), mask_ratio=0.5)
    places = scatter_tokens(gather_tokens(tokens, chosen.index), chosen)
    for b in range(3):
        for t in range(30):
            assert torch.equal(places[b, t], tokens[b, t] if chosen.visible[b, t] else torch.zeros(4))
