"""Masked autoencoding against loops: the losses, the whole pass, what the encoder is shown, and padding."""

import math

import pytest
import torch
from objective_batches import PATCH, SMALL, alone, encoder_of, together
from torch.nn import functional

import spikefield.objectives.autoencoding as autoencoding
from spikefield.errors import InputError
from spikefield.models.encoder import bin_positions
from spikefield.models.predictor import CoSmoother
from spikefield.objectives.autoencoding import AutoencodingConfig, MaskedAutoencoder, gaussian_loss, poisson_loss
from spikefield.objectives.masking import VisibleSet, hide_tokens


@pytest.fixture(params=["spikes", "co-smoothed spikes", "lfp"])
def network(request):
    smoothed, _, modality = request.param.rpartition(" ")
    config = AutoencodingConfig(predictor=SMALL, co_smoothing=bool(smoothed))
    return MaskedAutoencoder(encoder_of(modality), config).eval()


def generator(seed=5):
    return torch.Generator().manual_seed(seed)


def loss_of_values(modality, predicted, value):
    return math.exp(predicted) - value * predicted if modality == "spikes" else (predicted - value) ** 2


@pytest.mark.parametrize(("loss", "modality"), [(poisson_loss, "spikes"), (gaussian_loss, "lfp")])
def test_losses_equal_loops(loss, modality):
    predicted, hidden = torch.randn(2, 5, 3, 4), torch.rand(2, 5, 3, 4) < 0.4
    values = torch.poisson(torch.ones(2, 5, 3, 4)) if modality == "spikes" else torch.randn(2, 5, 3, 4)
    each = [
        loss_of_values(modality, float(predicted[i]), float(values[i])) for i in map(tuple, hidden.nonzero().tolist())
    ]
    assert float(loss(predicted, values, hidden)) == pytest.approx(sum(each) / len(each), abs=1e-5)


@pytest.mark.parametrize("loss", [poisson_loss, gaussian_loss])
def test_nothing_hidden_costs_nothing(loss):
    assert float(loss(torch.randn(1, 2, 3, 4), torch.ones(1, 2, 3, 4), torch.zeros(1, 2, 3, 4, dtype=torch.bool))) == 0


def slow_prediction(predictor, encoded, space, places):
    """Fill in the hidden places with mask tokens and look at all of them."""
    guess = [encoded.get((t, p), predictor.mask_token + space[p]) for t, p in places]
    positions = torch.tensor([[t for t, _ in places]])
    return predictor.head(predictor.transformer(predictor.narrow(torch.stack(guess))[None], positions, None))[0]


def slow_co_smoothing(predictor, encoded, space, places):
    """Predict each place from the mean of its bin's visible tokens, from zeros where there are none."""
    predicted = []
    for t, p in places:
        seen = [token for (time, _), token in encoded.items() if time == t]
        mean = torch.stack(seen).mean(0) if seen else torch.zeros_like(space[p])
        predicted.append(predictor.head(functional.silu(predictor.mix(mean) + space[p])))
    return torch.stack(predicted)


def slow_losses(network, batch, visible):
    """The whole pass for one window alone, visible token by visible token; return (sum of losses, number of values)."""
    encoder, predictor = network.encoder, network.predictor
    spikes = encoder.config.modality == "spikes"
    values = (batch.counts if spikes else batch.lfp)[0].float()
    tokens = encoder.tokenize(batch)
    n_time, n_patches = tokens.valid.shape[1:]
    places = [(t, p) for t in range(n_time) for p in range(n_patches)]
    seen = [(t, p) for t, p in places if visible[t, p]]
    kept = torch.stack([tokens.values[0, t, p] for t, p in seen])[None]
    encoded = encoder.transformer(kept, torch.tensor([[t for t, _ in seen]]), None)[0]
    fill = slow_co_smoothing if isinstance(predictor, CoSmoother) else slow_prediction
    predicted = fill(predictor, dict(zip(seen, encoded, strict=True)), tokens.space[0], places)
    each = []
    for i, (t, p) in enumerate(places):
        for slot in range(PATCH):
            column = PATCH * p + slot
            if not visible[t, p] and column < values.shape[1]:
                modality = encoder.config.modality
                each.append(loss_of_values(modality, float(predicted[i, slot]), float(values[t, column])))
    return sum(each), len(each)


@torch.no_grad()
def test_the_pass_over_mixed_sessions_equals_each_window_written_out(network):
    batch = together()
    valid = network.encoder.tokenize(batch).valid
    visible = hide_tokens(valid.flatten(1), mask_ratio=0.6, generator=generator()).visible.view(valid.shape)
    total = count = 0
    for row, single in enumerate(alone()):
        n_time, n_patches = network.encoder.tokenize(single).valid.shape[1:]
        part, number = slow_losses(network, single, visible[row, :n_time, :n_patches])
        total, count = total + part, count + number
    assert float(network(batch, generator=generator())) == pytest.approx(total / count, rel=1e-5, abs=1e-5)


@torch.no_grad()
def test_a_window_costs_the_same_alone_and_beside_others(network, monkeypatch):
    batch = together()
    valid = network.encoder.tokenize(batch).valid
    visible = hide_tokens(valid.flatten(1), mask_ratio=0.6, generator=generator()).visible.view(valid.shape)
    seen = {}

    def chosen_before(tokens_valid, *, mask_ratio, generator):
        shown = seen["visible"].flatten(1)
        index = (~shown).to(torch.uint8).argsort(dim=1, stable=True)[:, : int(shown.sum(1).max())]
        return VisibleSet(index, shown.gather(1, index), shown)

    def per_window(predicted, values, hidden):
        return torch.stack([plain(p, v, h) for p, v, h in zip(predicted, values, hidden, strict=True)]).sum()

    name = "poisson_loss" if network.encoder.config.modality == "spikes" else "gaussian_loss"
    original = getattr(autoencoding, name)

    def plain(predicted, values, hidden):
        return original(predicted[None], values[None], hidden[None])

    monkeypatch.setattr(autoencoding, "hide_tokens", chosen_before)
    monkeypatch.setattr(autoencoding, name, per_window)
    seen["visible"] = visible
    mixed = float(network(batch))
    single = 0.0
    for row, window in enumerate(alone()):
        n_time, n_patches = network.encoder.tokenize(window).valid.shape[1:]
        seen["visible"] = visible[row : row + 1, :n_time, :n_patches]
        single += float(network(window))
    assert mixed == pytest.approx(single, rel=1e-5, abs=1e-5)


def test_padding_costs_nothing(network):
    batch = together()
    with torch.no_grad():
        before = network(batch, generator=generator())
        batch.counts[~batch.time_valid] = 3
        batch.lfp[~batch.time_valid] = 50.0
        batch.counts.swapaxes(1, 2)[~batch.unit_valid] = 3
        batch.lfp.swapaxes(1, 2)[~batch.channel_valid] = 50.0
        assert torch.equal(network(batch, generator=generator()), before)


def shown_to_predictor(network, batch):
    """Return what enters the predictor, and the loss."""
    seen = []
    handle = network.predictor.register_forward_pre_hook(lambda module, inputs: seen.extend(inputs))
    with torch.no_grad():
        loss = float(network(batch, generator=generator()))
    handle.remove()
    return seen, loss


def test_the_encoder_never_sees_a_hidden_count():
    network = MaskedAutoencoder(encoder_of("spikes"), AutoencodingConfig(predictor=SMALL)).eval()
    batch = alone()[1]
    before, loss = shown_to_predictor(network, batch)
    hidden = (~before[2][0]).nonzero()
    t, p = hidden[len(hidden) // 2].tolist()
    batch.counts[0, t, PATCH * p] += 2
    after, changed = shown_to_predictor(network, batch)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert changed != loss
    visible = before[2][0].nonzero()
    t, p = visible[len(visible) // 2].tolist()
    batch.counts[0, t, PATCH * p] = (batch.counts[0, t, PATCH * p] + 1) % 4
    assert not torch.equal(shown_to_predictor(network, batch)[0][0], before[0])


def test_hidden_tokens_reach_the_predictor_as_the_mask_token_only(network, monkeypatch):
    batch = alone()[1]
    before, loss = shown_to_predictor(network, batch)
    tokenize = network.encoder.tokenize

    def spoilt(windows):
        tokens = tokenize(windows)
        tokens.values[~before[2]] += 100.0
        return tokens

    monkeypatch.setattr(network.encoder, "tokenize", spoilt)
    after, same = shown_to_predictor(network, batch)
    assert torch.equal(after[0], before[0]) and same == loss


def test_positions_are_the_bins_of_the_visible_tokens(network, monkeypatch):
    batch = alone()[0]
    seen = []
    transformer = network.encoder.transformer
    handle = transformer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1]))
    network(batch, generator=generator())
    handle.remove()
    valid = network.encoder.tokenize(batch).valid
    visible = hide_tokens(valid.flatten(1), mask_ratio=0.6, generator=generator()).visible
    positions = bin_positions(valid.shape[1], valid.shape[2], torch.device("cpu"))
    assert torch.equal(seen[0], positions[visible][None])


def test_every_weight_learns(network):
    network.train()(together(), generator=generator()).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_eval_repeats_with_the_same_generator(network):
    batch = together()
    with torch.no_grad():
        first, again, other = (network(batch, generator=generator(s)) for s in (5, 5, 6))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.1])
def test_impossible_ratios_are_refused(ratio):
    with pytest.raises(InputError, match="`mask_ratio` must lie between 0 and 1"):
        AutoencodingConfig(mask_ratio=ratio)
