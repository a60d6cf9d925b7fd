"""What a plan counts is what is there: weights, tokens, operations, bytes kept; and it scales as it should."""

import numpy as np
import pytest
import torch
from torch import nn

import tiny
from spikefield.config import lfp_encoder
from spikefield.errors import InputError
from spikefield.experiments.planning import Machine, Work, described, plan, plan_stages
from spikefield.experiments.step_cost import matmul_flops, measure_step, saved_bytes
from spikefield.models.encoder import Encoder
from spikefield.objectives.autoencoding import MaskedAutoencoder
from spikefield.training.loop import loaders

CONFIG = tiny.config()


def test_a_stage_has_the_steps_that_training_makes(sessions):
    work = Work(sessions, 50, len(sessions))
    stages = {s.name: s for s in plan_stages(work, CONFIG)}
    assert list(stages) == ["teacher", "ms-lfp", "ss-lfp", "distilled"] and stages["ss-lfp"].runs == 3
    for name, chosen, modality in (("teacher", sessions, "spikes"), ("ss-lfp", sessions[:1], "lfp")):
        train, _ = loaders(chosen, modalities=(modality,), window_bins=50, batch_windows=8, seed=0)
        assert stages[name].steps == len(train) * CONFIG.pretraining.epochs
    assert all(s.minutes > 0 and s.flops > 0 and s.memory_gb > 0 for s in stages.values())


def test_one_session_alone_trains_one_field_autoencoder(sessions):
    assert "ss-lfp" not in {s.name for s in plan_stages(Work(sessions[:1], 50, 1), CONFIG)}


def test_weights_and_tokens_are_those_of_the_network(sessions):
    network = MaskedAutoencoder(Encoder(lfp_encoder(CONFIG, sessions[:1])), CONFIG.autoencoding)
    step = measure_step(network, sessions[:1], window_bins=50, optimiser=CONFIG.pretraining)
    assert step.parameters == sum(p.numel() for p in network.parameters())
    assert step.tokens == 8 * 50 and step.space_bytes == 16 * 16


def test_bytes_kept_for_the_backward_pass_are_counted():
    layer, x = nn.Linear(100, 50, bias=False), torch.randn(7, 100)
    assert saved_bytes(layer, lambda: layer(x).sum()) == x.numel() * 4
    assert saved_bytes(layer, lambda: layer(x).sigmoid().sum()) == (x.numel() + 7 * 50) * 4


def test_operations_of_attention_are_counted():
    from torch.utils.flop_counter import FlopCounterMode

    from spikefield.experiments.step_cost import _ATTENTION_ON_CPU

    query, key = torch.randn(2, 3, 40, 16, requires_grad=True), torch.randn(2, 3, 50, 16)
    with FlopCounterMode(display=False, custom_mapping=_ATTENTION_ON_CPU) as counter:
        nn.functional.scaled_dot_product_attention(query, key, key).sum().backward()
    assert counter.get_total_flops() == 14 * 2 * 3 * 40 * 50 * 16


def test_described_recordings_scale_with_number_and_length():
    few = described(CONFIG, sessions=2, minutes=4.0, units=12, channels=6)
    many = described(CONFIG, sessions=20, minutes=4.0, units=12, channels=6)
    first, second = ({s.name: s for s in plan_stages(work, CONFIG)} for work in (few, many))
    assert second["teacher"].steps == pytest.approx(10 * first["teacher"].steps, rel=0.02)
    patches = -(-12 // CONFIG.spike_patch)
    rows = second["teacher"].step.parameters - first["teacher"].step.parameters
    assert rows == 18 * patches * CONFIG.transformer.dim, "every session has a space embedding"
    assert second["ss-lfp"].steps == first["ss-lfp"].steps and second["ss-lfp"].runs == 20
    assert few.sessions[0].counts.shape[1] == 12 and few.sessions[0].lfp.shape[1] == 6


def test_another_machine_takes_its_share_of_the_time():
    one = Machine(flops=1e9, memory_gb=8.0)
    stage = plan_stages(described(CONFIG, sessions=1, minutes=2.0, units=8, channels=4), CONFIG)[0]
    assert stage.minutes_on(one, share=0.5) == pytest.approx(stage.flops / 0.5e9 / 60)
    assert stage.minutes_on(Machine(1e9, 8.0, 4), share=0.5) == pytest.approx(stage.minutes_on(one, share=0.5) / 4)
    fast = stage.minutes_on(Machine(1e18, 8.0, 1000), share=0.5)
    assert fast == pytest.approx(stage.steps * stage.step.kernels * 5e-6 / 60) and stage.step.kernels > 100
    share = stage.step.flops / stage.step.seconds / 1e9
    assert stage.minutes_on(Machine(1e9, 8.0), share=share) == pytest.approx(stage.minutes), "this machine in numbers"
    assert np.isfinite(matmul_flops()) and matmul_flops() > 1e7


def test_the_plan_is_printed(tmp_path, capsys):
    plan(config=CONFIG, sessions=3, minutes=3.0, units=8, channels=4, flops=1e15, memory_gb=1e-6, devices=2)
    said = capsys.readouterr().out
    assert all(name in said for name in ("teacher", "ms-lfp", "ss-lfp", "distilled", "2 device(s) of 1000 TFLOP/s"))
    assert said.count("does NOT fit") == 4
    plan(tiny.write(tmp_path, tiny.session(0, seconds=36.0)), config=CONFIG)
    assert "this machine" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "message"),
    [({"units": 0}, "`units` must be positive, got 0"), ({"flops": -1.0}, "`flops` and `memory_gb` must be positive")],
)
def test_impossible_numbers_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        plan(config=CONFIG, **{"sessions": 1, "minutes": 2.0, "units": 8, "channels": 4, **given})
