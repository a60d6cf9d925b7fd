"""The stages on tiny sessions: they learn, repeat, leave the teacher alone, and give the numbers they gave before."""

import pytest
import torch
from torch import nn

import spikefield.training.teacher_cache as teacher_cache
import tiny
from spikefield.config import lfp_encoder, spike_encoder
from spikefield.errors import InputError
from spikefield.models.encoder import Encoder
from spikefield.objectives.autoencoding import MaskedAutoencoder
from spikefield.objectives.distillation import Student
from spikefield.training.loop import HardwareConfig, loaders
from spikefield.training.optimiser import OptimiserConfig, build_optimiser
from spikefield.training.stages import RunConfig, distill, finetune, pretrain
from spikefield.training.teacher_cache import teacher_representations
from spikefield.windows.batches import WindowDataset, collate, sequential_windows
from spikefield.windows.shares import mixed_seed

CONFIG = tiny.config()
WINDOW = 50


def run_of(*, epochs=2, seed=0, precision="32-true", batch_windows=8):
    optimiser = OptimiserConfig(
        epochs=epochs, batch_windows=batch_windows, warmup_epochs=0.5, peak_learning_rate=5e-3, patience_epochs=50
    )
    hardware = HardwareConfig(accelerator="cpu", precision=precision)
    return RunConfig(optimiser, WINDOW, seed, "test", hardware, progress=False)


def teacher_of(sessions, **run):
    encoder = spike_encoder(CONFIG, sessions)
    return pretrain(sessions, encoder=encoder, autoencoding=CONFIG.autoencoding, run=run_of(**run))


def student_of(teacher, sessions, **run):
    return distill(
        sessions,
        teacher=teacher.encoder,
        student=lfp_encoder(CONFIG, sessions),
        distillation=CONFIG.distillation,
        run=run_of(**run),
    )


@pytest.fixture(scope="module")
def teacher(sessions):
    return teacher_of(sessions)[0]


def weights(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def batch_of(sessions, modality, targets=None):
    dataset = WindowDataset(sessions, modalities=(modality,), targets=targets)
    return collate([dataset[i] for i in sequential_windows(sessions, kind="train", window_bins=25)[:4]])


def descend(network, loss, steps):
    optimiser = build_optimiser(network, OptimiserConfig(peak_learning_rate=1e-2, weight_decay=0.0))
    network.eval()
    first = loss().item()
    for _ in range(steps):
        optimiser.zero_grad()
        value = loss()
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
    return first, loss().item()


@pytest.mark.parametrize("modality", ["spikes", "lfp"])
def test_an_autoencoder_overfits_one_batch(sessions, modality):
    torch.manual_seed(0)
    encoder = (spike_encoder if modality == "spikes" else lfp_encoder)(CONFIG, sessions[:1])
    network = MaskedAutoencoder(Encoder(encoder), CONFIG.autoencoding)
    network.encoder.add_session("s0", sessions[0].require(modality).shape[1])
    batch = batch_of(sessions[:1], modality)
    first, last = descend(network, lambda: network(batch, generator=torch.Generator().manual_seed(3)), 80)
    floor = 0.0
    if modality == "spikes":  # the loss of a model that knows every count
        counts = batch.counts[batch.time_valid].float()
        floor = float((counts - torch.xlogy(counts, counts)).mean())
    assert last - floor < 0.5 * (first - floor)


def test_a_student_overfits_one_batch(sessions, teacher):
    torch.manual_seed(0)
    network = Student(Encoder(lfp_encoder(CONFIG, sessions[:1])), CONFIG.distillation, n_channels=6, teacher_dim=16)
    network.encoder.add_session("s0", 6)
    targets = teacher_representations(teacher.encoder, sessions[:1], window_bins=WINDOW)
    batch = batch_of(sessions[:1], "lfp", targets)
    first, last = descend(network, lambda: sum(network(batch, batch.targets)), 80)
    assert last < 0.4 * first


def test_the_same_seed_repeats_everything_and_another_does_not(sessions, teacher):
    for train in (lambda s: teacher_of(sessions[:1], seed=s), lambda s: student_of(teacher, sessions[:1], seed=s)):
        (first, curve), (again, same_curve), (other, _) = train(1), train(1), train(2)
        assert same(weights(first), weights(again)) and curve == same_curve
        assert not same(weights(first), weights(other))


def test_training_lowers_the_validation_loss(sessions):
    network, curve = teacher_of(sessions[:2], epochs=4)
    assert len(curve) == 4 and curve[-1].valid_loss < curve[0].valid_loss
    assert not network.training


def test_the_validation_loss_is_that_of_the_weights_left(sessions):
    network, curve = teacher_of(sessions[:1], epochs=3)
    _, valid = loaders(sessions[:1], modalities=("spikes",), window_bins=WINDOW, batch_windows=8, seed=0)
    hidden = [torch.Generator().manual_seed(mixed_seed(1234, i)) for i in range(len(valid))]
    with torch.no_grad():
        total = [(float(network(b, generator=g)), len(b.session_ids)) for b, g in zip(valid, hidden, strict=True)]
    mean = sum(v * n for v, n in total) / sum(n for _, n in total)
    assert mean == pytest.approx(min(record.valid_loss for record in curve), rel=1e-5)


def test_a_teacher_is_read_once_and_left_as_it_was(sessions, teacher, monkeypatch):
    before, calls, embed = weights(teacher), [], teacher_cache.embed
    monkeypatch.setattr(teacher_cache, "embed", lambda *a, **k: calls.append(1) or embed(*a, **k))
    student, _ = student_of(teacher, [sessions[0], sessions[2]], epochs=3)
    assert same(before, weights(teacher)) and len(calls) == 2
    assert set(student.encoder.space.rows) == {"s0", "s2"}
    assert not any(p is q for p in student.parameters() for q in teacher.parameters())


def test_teacher_representations_are_those_of_training_and_validation_time(sessions, teacher):
    session = sessions[0]
    z = teacher_representations(teacher.encoder, [session], window_bins=WINDOW)["s0"]
    used = session.split.train | session.split.valid
    assert z.shape == (session.n_bins, 16)
    assert (z[used] != 0).any(axis=1).all() and not z[~used].any()


def test_sessions_of_different_shape_teach_one_student(sessions, teacher):
    student, curve = student_of(teacher, sessions)
    assert student.reconstruct.out_features == 8
    assert curve[-1].valid_loss < curve[0].valid_loss


def test_fine_tuning_makes_room_for_a_new_session_and_keeps_the_old(sessions):
    network, _ = teacher_of(sessions[:2])
    old = network.encoder.space.table.detach().clone()
    before = weights(network)
    curve = finetune(network, [sessions[2]], run=run_of())
    assert len(curve) == 2
    assert set(network.encoder.space.rows) == {"s0", "s1", "s2"}
    assert torch.equal(network.encoder.space.table[: len(old)], old), "rows of sessions that were not trained on"
    assert not same({k: v for k, v in weights(network).items() if "space" not in k}, before)


def test_fine_tuning_uses_dropout_though_the_network_was_loaded_for_inference(sessions, monkeypatch):
    network, _ = teacher_of(sessions[:1], epochs=1)
    assert not network.training
    seen, forward = set(), MaskedAutoencoder.forward
    monkeypatch.setattr(
        MaskedAutoencoder,
        "forward",
        lambda self, *a, **k: seen.add((self.training, torch.is_grad_enabled())) or forward(self, *a, **k),
    )
    finetune(network, sessions[:1], run=run_of(epochs=1))
    assert seen == {(True, True), (False, False)}
    assert not network.training


def test_bfloat16_trains(sessions):
    full, half = (teacher_of(sessions[:1], precision=p)[1][-1].valid_loss for p in ("32-true", "bf16-mixed"))
    assert half == pytest.approx(full, abs=0.05)


def test_a_session_without_the_modality_is_refused(sessions, teacher):
    silent, fieldless = tiny.binned(0, without=("spike",)), tiny.binned(0, without=("lfp",))
    with pytest.raises(InputError, match="session 's0' has no spikes, which this stage needs"):
        teacher_of([silent])
    with pytest.raises(InputError, match="session 's0' has no lfp"):
        student_of(teacher, [fieldless])
    with pytest.raises(InputError, match="no spikes"):
        student_of(teacher, [silent])


def test_a_teacher_that_does_not_know_the_session_is_refused(sessions):
    teacher, _ = teacher_of(sessions[:1], epochs=1)
    with pytest.raises(InputError, match="`session_id` 's1' is not in this model, which knows s0"):
        student_of(teacher, [sessions[1]])


def test_twenty_steps_give_the_numbers_they_gave_before(sessions):
    train, _ = loaders(sessions[:1], modalities=("spikes",), window_bins=WINDOW, batch_windows=7, seed=0)
    assert len(train) * 5 == 20
    teacher, curve = teacher_of(sessions[:1], epochs=5, batch_windows=7)
    assert [r.train_loss for r in curve] == pytest.approx(GOLDEN["teacher"][0], abs=1e-3)
    assert [r.valid_loss for r in curve] == pytest.approx(GOLDEN["teacher"][1], abs=1e-3)
    _, curve = student_of(teacher, sessions[:1], epochs=5, batch_windows=7)
    assert [r.train_loss for r in curve] == pytest.approx(GOLDEN["student"][0], abs=1e-3)
    assert [r.valid_loss for r in curve] == pytest.approx(GOLDEN["student"][1], abs=1e-3)


GOLDEN = {  # training and validation loss of every epoch
    "teacher": ([1.35105, 1.0178, 0.9457, 0.91642, 0.90216], [1.05238, 0.94269, 0.91333, 0.90328, 0.90167]),
    "student": ([6.15229, 4.88863, 3.84501, 3.28371, 3.07021], [5.56524, 4.3281, 3.55023, 3.23409, 3.18083]),
}
