"""What a student may be aligned to, and the stages beside the published ones: each trains and does what it says."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

import tiny
from spikefield.config import lfp_encoder, spike_encoder
from spikefield.errors import InputError
from spikefield.models.encoder import BOTH, EncoderConfig
from spikefield.objectives.distillation import TARGETS, DistillationConfig
from spikefield.training.loop import HardwareConfig
from spikefield.training.losses import behavior_head
from spikefield.training.optimiser import OptimiserConfig
from spikefield.training.stages import RunConfig, distill, finetune_supervised, pretrain
from spikefield.training.targets import alignment_targets, smoothed_counts
from spikefield.windows.batches import WindowDataset, collate

CONFIG = tiny.config()
WINDOW = 50


def run_of(epochs=2):
    optimiser = OptimiserConfig(epochs=epochs, warmup_epochs=0.5, peak_learning_rate=5e-3)
    return RunConfig(optimiser, WINDOW, 0, "test", HardwareConfig(accelerator="cpu"), progress=False)


@pytest.fixture(scope="module")
def teacher(sessions):
    encoder = spike_encoder(CONFIG, sessions)
    return pretrain(sessions, encoder=encoder, autoencoding=CONFIG.autoencoding, run=run_of())[0]


def weights(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def student_of(sessions, teacher, epochs=2, **distillation):
    return distill(
        sessions,
        teacher=teacher,
        student=lfp_encoder(CONFIG, sessions),
        distillation=DistillationConfig(**distillation),
        run=run_of(epochs),
    )


@pytest.mark.parametrize("align_to", TARGETS)
def test_targets_are_of_training_and_validation_time(sessions, teacher, align_to):
    session = sessions[0]
    found = alignment_targets(align_to, teacher, [session], WINDOW)[session.session_id]
    assert found.shape == (session.n_bins, {"representation": 16, "factors": 10}.get(align_to, 10))
    assert not teacher.training and np.isfinite(found).all() and not found[session.split.test].any()
    assert found[session.split.train].std() > 0 and found[session.split.valid].any()
    if align_to != "representation":
        np.testing.assert_allclose(found[session.split.train].mean(0), 0, atol=1e-4)


def test_targets_do_not_look_at_test_time(sessions, teacher):
    session = sessions[0]
    spoilt = np.where(session.split.test[:, None], 7, session.counts).astype(np.int32)
    for align_to in TARGETS:
        one, other = (
            alignment_targets(align_to, teacher, [s], WINDOW)["s0"] for s in (session, replace(session, counts=spoilt))
        )
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_counts_are_smoothed_inside_a_stretch(sessions):
    session = sessions[0]
    found = smoothed_counts(session)
    start, end = session.stretches("train")[0]
    twin = gaussian_filter1d(np.sqrt(session.counts[start:end, 2].astype(float)), 3.0, mode="nearest")
    np.testing.assert_allclose(found[start:end, 2], twin)
    assert np.isnan(found[session.split.test]).all()


def test_rates_are_those_of_the_decoder(sessions, teacher):
    session = sessions[0]
    start, end = session.stretches("train")[0]
    assert end - start > WINDOW
    batch = collate([(session.session_id, WindowDataset([session], modalities=("spikes",))[_index(start)][1])])
    with torch.inference_mode():
        tokens = teacher.encoder.tokenize(batch)
        n_time, n_patches = tokens.values.shape[1:3]
        encoded = teacher.encoder.transformer(
            tokens.values.flatten(1, 2), torch.arange(n_time).repeat_interleave(n_patches)[None], None
        ).view(1, n_time, n_patches, -1)
        twin = teacher.predictor(encoded, tokens.space, tokens.valid, tokens.valid).flatten(2)
        torch.testing.assert_close(teacher.rebuilt(batch), twin)


def _index(start):
    from torch_brain.datasets import DatasetIndex

    return DatasetIndex("s0", start, start + WINDOW)


def test_what_differs_by_session_is_for_one_session(sessions, teacher):
    with pytest.raises(InputError, match="`align_to` spikes differs by session"):
        alignment_targets("spikes", teacher, sessions[:2], WINDOW)
    with pytest.raises(InputError, match="`align_to` rates needs the teacher with its decoder"):
        alignment_targets("rates", teacher.encoder, sessions[:1], WINDOW)
    with pytest.raises(InputError, match="`align_to` must be one of representation, rates"):
        DistillationConfig(align_to="nothing")
    with pytest.raises(InputError, match="`teacher_learns` goes with"):
        DistillationConfig(teacher_learns=True, supervised=True)


@pytest.mark.parametrize(
    "change",
    [
        {"align_to": "rates"},
        {"align_to": "spikes"},
        {"align_to": "factors"},
        {"supervised": True},
        {"reconstruction_weight": 0.0},
        {"teacher_learns": True},
    ],
    ids=str,
)
def test_every_student_learns_and_leaves_the_teacher_alone(sessions, teacher, change):
    before = weights(teacher)
    student, curve = student_of(sessions[:1], teacher, epochs=6, **change)
    assert curve[-1].train_loss < curve[0].train_loss
    assert all(torch.equal(before[k], v) for k, v in teacher.state_dict().items())
    assert student.config.align_to == change.get("align_to", "representation")
    assert not any(name.startswith(("head", "network", "teacher")) for name in student.state_dict())


def test_a_zero_weight_removes_its_term(sessions, teacher):
    student, _ = student_of(sessions[:1], teacher, reconstruction_weight=0.0)
    with_term, _ = student_of(sessions[:1], teacher)
    assert not torch.allclose(student.reconstruct.weight, with_term.reconstruct.weight)


def test_supervised_fine_tuning_moves_the_network_and_needs_labels(sessions):
    encoder = lfp_encoder(CONFIG, sessions[:2])
    network, _ = pretrain(sessions[:1], encoder=encoder, autoencoding=CONFIG.autoencoding, run=run_of())
    before = weights(network)
    curve = finetune_supervised(network, sessions[:2], run=run_of(6))
    assert curve[-1].train_loss < curve[0].train_loss and set(network.encoder.space.rows) == {"s0", "s1"}
    assert not torch.equal(
        before["encoder.embed_values.convolution.weight"], network.encoder.embed_values.convolution.weight
    )
    with pytest.raises(InputError, match="has no behavior"):
        finetune_supervised(network, [replace(sessions[0], behavior=None)], run=run_of())


def test_labels_are_scaled_by_training_time(sessions):
    session = sessions[0]
    spoilt = np.where(session.split.train[:, None], session.behavior, 1e6)
    spoilt[np.flatnonzero(session.split.train)[:5], 1] = np.nan
    center, spread = behavior_head(16, [replace(session, behavior=spoilt)]).scales[:, 0].numpy()
    known = spoilt[session.split.train]
    np.testing.assert_allclose(center, np.nanmean(known, 0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(spread, np.nanstd(known, 0), rtol=1e-4)


def test_spikes_and_field_learn_together(sessions):
    encoder = EncoderConfig(BOTH, 4, lfp_patch_size=6, transformer=CONFIG.transformer)
    network, curve = pretrain(sessions[:1], encoder=encoder, autoencoding=CONFIG.autoencoding, run=run_of(6))
    assert curve[-1].train_loss < curve[0].train_loss and network.encoder.field_space.rows == {"s0": (0, 1)}
