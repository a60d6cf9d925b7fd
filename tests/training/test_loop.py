"""The loop on a network of one weight, whose validation losses are written beforehand."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from spikefield.errors import InputError
from spikefield.training.loop import HardwareConfig, Objective, fit, loaders
from spikefield.training.optimiser import OptimiserConfig, learning_rate_factor
from spikefield.training.stages import _quiet
from spikefield.windows.batches import Batch

CPU = HardwareConfig(accelerator="cpu")
STEPS = 3


class Scripted(Objective):
    """Pulls its weight upwards in training; its validation losses come from a list."""

    def __init__(self, script, config):
        super().__init__(nn.Linear(1, 1), config, seed=0)
        self.script, self.rates, self.weight_after, self.gradients = script, [], [], []

    def loss(self, batch, generator):
        if not self.training:
            self.weight_after.append(self.network.weight.item())
            return torch.tensor(self.script[self.current_epoch])
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        return -1000 * self.network.weight.sum() + 0 * self.network.bias.sum()

    def on_train_batch_end(self, *_):
        self.gradients.append(float(self.network.weight.grad.abs()))


def run(script, **config):
    objective = Scripted(script, OptimiserConfig(**{"epochs": len(script), "warmup_epochs": 1.0, **config}))
    batch = Batch(session_ids=("a",), time_valid=torch.ones(1, 4, dtype=torch.bool))
    train, valid = (DataLoader([batch] * n, batch_size=1, collate_fn=lambda items: items[0]) for n in (STEPS, 1))
    with _quiet(0):
        curve = fit(objective, train=train, valid=valid, hardware=CPU, label="scripted", progress=False)
    return objective, curve


@pytest.mark.parametrize(
    ("schedule", "patience", "left"),
    [("exponential", 9, 1), ("cosine", 9, 3), ("cosine", 2, 1)],
    ids=["lowest loss", "last of a whole cosine", "lowest loss where patience ran out"],
)
def test_the_weights_left_in_the_network(schedule, patience, left):
    script = [3.0, 1.0, 2.0, 1.5] if patience == 9 else [3.0, 1.0, 2.0, 1.5, 0.0]
    objective, curve = run(script, schedule=schedule, patience_epochs=patience)
    assert [record.valid_loss for record in curve] == [3.0, 1.0, 2.0, 1.5]
    assert [record.epoch for record in curve] == [0, 1, 2, 3]
    assert len(set(objective.weight_after)) == 4
    assert objective.network.weight.item() == objective.weight_after[left]
    assert not objective.network.training


def test_gradients_are_clipped():
    assert run([1.0])[0].gradients == pytest.approx([1.0] * STEPS)


def test_patience_ends_a_run_that_no_longer_improves():
    _, curve = run([3.0, 1.0, *[2.0] * 8], patience_epochs=3)
    assert len(curve) == 5


@pytest.mark.parametrize("schedule", ["cosine", "exponential"])
def test_the_learning_rate_follows_its_schedule_step_by_step(schedule):
    objective, _ = run([1.0] * 5, schedule=schedule, peak_learning_rate=0.01)
    expected = [0.01 * learning_rate_factor(objective.config, epoch=step / STEPS) for step in range(5 * STEPS)]
    assert objective.rates == pytest.approx(expected)


def test_a_loss_that_is_never_finite_is_refused():
    with pytest.raises(InputError, match="scripted: the validation loss was never finite. Lower `peak_learning_rate`"):
        run([float("nan"), float("nan")])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"accelerator": "abacus"}, "`accelerator` must be one of auto, cpu, gpu, cuda, mps, got 'abacus'"),
        ({"precision": "16"}, "`precision` must be one of 32-true, bf16-mixed, got '16'"),
        ({"devices": 0}, "`devices` and `num_nodes` must be 1 or more"),
        ({"num_nodes": 0}, "`devices` and `num_nodes` must be 1 or more"),
    ],
)
def test_impossible_hardware_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        HardwareConfig(**given)


def test_absent_hardware_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    objective = Scripted([1.0], OptimiserConfig(epochs=1))
    with pytest.raises(InputError, match="`accelerator` 'cuda' is not on this machine. Use auto or cpu"):
        fit(
            objective,
            train=DataLoader([]),
            valid=DataLoader([]),
            hardware=HardwareConfig(accelerator="cuda"),
            label="x",
            progress=False,
        )


def test_validation_reads_the_same_windows_and_training_others(sessions):
    train, valid = loaders(sessions, modalities=("lfp",), window_bins=40, batch_windows=8, seed=0)
    first, again = ([b.lfp for b in valid] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    first, again = ([b.lfp for b in train] for _ in range(2))
    assert not all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_a_batch_mixes_sessions(sessions):
    train, _ = loaders(sessions, modalities=("lfp",), window_bins=40, batch_windows=32, seed=0)
    assert len(set(next(iter(train)).session_ids)) == 3


def test_no_window_to_validate_on_is_refused(sessions, monkeypatch):
    monkeypatch.setattr("spikefield.training.loop.sequential_windows", lambda *a, **k: [])
    with pytest.raises(InputError, match="no stretch of valid time is long enough for a window"):
        loaders(sessions, modalities=("lfp",), window_bins=40, batch_windows=8, seed=0)


@pytest.mark.parametrize(("rank", "n_ranks", "expected"), [(0, 2, [1.0, 2.0]), (1, 2, [3.0, 4.0]), (0, 1, [4.0, 6.0])])
def test_each_process_takes_its_own_sums_up_again(rank, n_ranks, expected):
    objective = Scripted([], OptimiserConfig())
    objective._trainer = SimpleNamespace(world_size=n_ranks, global_rank=rank)
    objective.set_sums("train", [[1.0, 2.0], [3.0, 4.0]])
    assert objective._sums["train"].tolist() == expected
