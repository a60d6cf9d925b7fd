"""A run that was cut short anywhere goes on and ends as an undisturbed one, bit for bit."""

import math
import os
import signal

import pytest
import safetensors.torch
import torch

import spikefield.training.checkpoint as checkpoint
import spikefield.training.losses as losses
import spikefield.training.progress as progress
import spikefield.training.stages as stages
import tiny
from spikefield.config import lfp_encoder, spike_encoder, student_encoder
from spikefield.errors import InputError
from spikefield.models.transformer import TransformerConfig
from spikefield.training.checkpoint import Checkpoint
from spikefield.training.loop import HardwareConfig
from spikefield.training.optimiser import OptimiserConfig
from spikefield.training.progress import Stopped

CONFIG = tiny.config(transformer=TransformerConfig(dim=16, n_layers=1, n_heads=2, dropout=0.2))
STEPS = 4  # an epoch
EPOCHS = 3


class Killed(BaseException):
    """Stands for the end of the process."""


def run_of(folder, **optimiser):
    given = {"epochs": EPOCHS, "batch_windows": 7, "warmup_epochs": 0.5, "peak_learning_rate": 5e-3, **optimiser}
    return stages.RunConfig(
        OptimiserConfig(**given), 50, 3, "test", HardwareConfig("cpu"), progress=False, checkpoints=folder
    )


def pretrained(sessions, folder, **optimiser):
    encoder = spike_encoder(CONFIG, sessions)
    return stages.pretrain(sessions, encoder=encoder, autoencoding=CONFIG.autoencoding, run=run_of(folder, **optimiser))


def distilled(sessions, folder, teacher, **optimiser):
    return stages.distill(
        sessions,
        teacher=teacher.encoder,
        student=student_encoder(CONFIG, sessions),
        distillation=CONFIG.distillation,
        run=run_of(folder, **optimiser),
    )


@pytest.fixture(scope="module")
def one(sessions):
    return sessions[:1]


@pytest.fixture(scope="module")
def undisturbed(one):
    return pretrained(one, None)


@pytest.fixture(scope="module")
def undisturbed_student(one, undisturbed):
    return distilled(one, None, undisturbed[0])


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(progress, "CHECKPOINT_EVERY_S", 0.0)


def ends_alike(first, second):
    (network, curve), (other, other_curve) = first, second
    assert curve == other_curve and len(curve) == EPOCHS
    one, two = network.state_dict(), other.state_dict()
    assert one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def disturb(monkeypatch, kind, at, act):
    """Let `act` happen in the loss of the at-th call."""
    calls = []
    loss = kind.loss

    def disturbed(self, batch, generator):
        calls.append(0)
        if len(calls) == at + 1:
            act()
        return loss(self, batch, generator)

    monkeypatch.setattr(kind, "loss", disturbed)


def die():
    raise Killed


@pytest.mark.parametrize("at", [0, 1, 3, 4, 5, 9, 10, 14])
def test_an_autoencoder_goes_on_from_any_step(one, undisturbed, tmp_path, monkeypatch, often, at):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        disturb(patch, losses.Autoencoding, at, die)
        pretrained(one, tmp_path / "c")
    torch.manual_seed(99)
    ends_alike(pretrained(one, tmp_path / "c"), undisturbed)


@pytest.mark.parametrize("at", [2, 4, 13])
def test_a_student_goes_on_from_any_step(one, undisturbed, undisturbed_student, tmp_path, monkeypatch, often, at):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        disturb(patch, losses.Distillation, at, die)
        distilled(one, tmp_path / "c", undisturbed[0])
    ends_alike(distilled(one, tmp_path / "c", undisturbed[0]), undisturbed_student)


def test_a_run_cut_short_again_and_again_ends_alike(one, undisturbed, tmp_path, monkeypatch, often):
    for _ in range(4):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            disturb(patch, losses.Autoencoding, 3, die)
            pretrained(one, tmp_path / "c")
    ends_alike(pretrained(one, tmp_path / "c"), undisturbed)


def test_a_finished_run_is_not_run_again(one, undisturbed, tmp_path, monkeypatch):
    pretrained(one, tmp_path / "c")
    disturb(monkeypatch, losses.Autoencoding, 0, die)
    ends_alike(pretrained(one, tmp_path / "c"), undisturbed)


def test_patience_is_remembered(one, tmp_path, monkeypatch, often):
    short = {"epochs": 12, "patience_epochs": 1, "peak_learning_rate": 1.0, "warmup_epochs": 1.0}
    _, expected = pretrained(one, None, **short)
    assert 2 <= len(expected) < 12
    with monkeypatch.context() as patch, pytest.raises(Killed):
        disturb(patch, losses.Autoencoding, 5 * (len(expected) - 1) + 1, die)
        pretrained(one, tmp_path / "c", **short)
    assert pretrained(one, tmp_path / "c", **short)[1] == expected


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
@pytest.mark.parametrize("at", [1, STEPS])
def test_a_signal_ends_the_run_after_its_step(one, undisturbed, tmp_path, monkeypatch, number, at):
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    with monkeypatch.context() as patch, pytest.raises(Stopped) as stopped:
        disturb(patch, losses.Autoencoding, at, lambda: os.kill(os.getpid(), number))
        pretrained(one, tmp_path / "c")
    assert stopped.value.number == number and checkpoint.load(tmp_path / "c").state["batch"] == min(at + 1, STEPS)
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == before
    ends_alike(pretrained(one, tmp_path / "c"), undisturbed)


def test_signals_mean_afterwards_what_they_meant_before(one):
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = [signal.getsignal(n) for n in numbers]
    pretrained(one, None, epochs=1)
    assert [signal.getsignal(n) for n in numbers] == before


def test_a_full_disk_does_not_end_the_run(one, undisturbed, tmp_path, monkeypatch, often, caplog):
    def full(*_):
        raise InputError("cannot write x: No space left on device.")

    monkeypatch.setattr(checkpoint, "save", full)
    ends_alike(pretrained(one, tmp_path / "c"), undisturbed)
    assert "no checkpoint was kept, training goes on: cannot write x: No space left" in caplog.text


def test_checkpoints_of_another_run_are_refused(one, tmp_path):
    pretrained(one, tmp_path / "c")
    with pytest.raises(InputError, match="does not fit this run .it was written with another length or pace"):
        pretrained(one, tmp_path / "c", epochs=4)
    kept = checkpoint.load(tmp_path / "c")
    checkpoint.save(tmp_path / "c", Checkpoint({**kept.tensors, "network.odd": torch.zeros(1)}, kept.state))
    with pytest.raises(InputError, match="does not fit this run"):
        pretrained(one, tmp_path / "c")


def test_of_two_checkpoints_the_last_whole_one_counts(tmp_path, caplog):
    for i in range(3):
        checkpoint.save(tmp_path / "c", Checkpoint({"a": torch.full((3,), float(i))}, {"epoch": i, "loss": math.pi}))
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["last.safetensors", "previous.safetensors"]
    found = checkpoint.load(tmp_path / "c")
    assert found.state == {"epoch": 2, "loss": math.pi} and found.tensors["a"].tolist() == [2.0] * 3
    last = tmp_path / "c/last.safetensors"
    last.write_bytes(last.read_bytes()[:-1] + b"\x7f")
    assert checkpoint.load(tmp_path / "c").state["epoch"] == 1
    assert "not a whole checkpoint (its contents differ from its hash)" in caplog.text
    (tmp_path / "c/previous.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="holds no whole checkpoint. Remove the folder to start from the beginning"):
        checkpoint.load(tmp_path / "c")
    assert checkpoint.load(tmp_path / "none") is None


def test_a_state_that_was_altered_is_not_used(tmp_path):
    checkpoint.save(tmp_path, Checkpoint({"a": torch.ones(2)}, {"epoch": 1}))
    with safetensors.safe_open(tmp_path / "last.safetensors", "pt") as file:
        metadata = file.metadata()
    metadata["state"] = metadata["state"].replace("1", "2")
    safetensors.torch.save_file({"a": torch.ones(2)}, tmp_path / "last.safetensors", metadata=metadata)
    with pytest.raises(InputError, match="holds no whole checkpoint"):
        checkpoint.load(tmp_path)


def test_the_previous_is_there_while_the_last_is_written(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, Checkpoint({"a": torch.ones(2)}, {"epoch": 1}))
    monkeypatch.setattr(checkpoint.files, "_replace", lambda *_: die())
    with pytest.raises(Killed):
        checkpoint.save(tmp_path, Checkpoint({"a": torch.ones(2)}, {"epoch": 2}))
    assert checkpoint.load(tmp_path).state["epoch"] == 1


def test_lfp_autoencoders_resume_too(one, tmp_path, monkeypatch, often):
    def run(folder):
        encoder = lfp_encoder(CONFIG, one)
        return stages.pretrain(one, encoder=encoder, autoencoding=CONFIG.autoencoding, run=run_of(folder))

    with monkeypatch.context() as patch, pytest.raises(Killed):
        disturb(patch, losses.Autoencoding, 6, die)
        run(tmp_path / "c")
    ends_alike(run(tmp_path / "c"), run(None))
