"""What a student follows when less time, another lag, layer or teacher, or whitening is asked for: against loops."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny
from spikefield.config import lfp_encoder, spike_encoder
from spikefield.errors import InputError
from spikefield.evaluation.embedding import embed
from spikefield.models.transformer import TransformerConfig
from spikefield.objectives.alignment import ALIGNMENTS
from spikefield.objectives.distillation import DistillationConfig
from spikefield.training.guidance import AtDepths, first_minutes, guidance, shifted, whitened
from spikefield.training.loop import HardwareConfig
from spikefield.training.optimiser import OptimiserConfig
from spikefield.training.stages import RunConfig, distill, pretrain
from spikefield.windows.batches import WindowDataset, collate, sequential_windows

CONFIG = tiny.config(transformer=TransformerConfig(dim=16, n_layers=2, n_heads=2))
WINDOW = 50


def run_of(epochs=2, seed=0):
    optimiser = OptimiserConfig(epochs=epochs, warmup_epochs=0.5, peak_learning_rate=5e-3)
    return RunConfig(optimiser, WINDOW, seed, "test", HardwareConfig(accelerator="cpu"), progress=False)


@pytest.fixture(scope="module")
def teachers(sessions):
    encoder = spike_encoder(CONFIG, sessions)
    return [pretrain(sessions, encoder=encoder, autoencoding=CONFIG.autoencoding, run=run_of(1, s))[0] for s in (0, 1)]


@pytest.fixture(scope="module")
def plain(sessions, teachers):
    return student_of(sessions[:1], teachers[:1], epochs=3)[0]


def student_of(sessions, teachers, epochs=2, **asked):
    return distill(
        sessions,
        teacher=teachers[0],
        more_teachers=teachers[1:],
        student=lfp_encoder(CONFIG, sessions),
        distillation=DistillationConfig(**asked),
        run=run_of(epochs),
    )


def test_the_first_minutes_of_training_time_are_kept(sessions):
    session = sessions[0]
    cut = first_minutes(session, 0.1)
    kept = [i for i in range(session.n_bins) if session.split.train[i]][: round(0.1 * 60 / 0.02)]
    assert np.flatnonzero(cut.split.train).tolist() == kept
    assert np.array_equal(cut.split.test, session.split.test) and np.array_equal(cut.split.valid, session.split.valid)
    assert first_minutes(session, None) is session
    assert np.array_equal(first_minutes(session, 99.0).split.train, session.split.train)


@pytest.mark.parametrize("lag_bins", [-3, 2])
def test_a_lag_takes_the_vector_of_so_many_bins_before_inside_a_stretch(sessions, lag_bins):
    session = sessions[0]
    vectors = np.random.default_rng(0).normal(size=(session.n_bins, 2)).astype(np.float32)
    found = shifted(vectors, session, lag_ms=lag_bins * 20.0)
    for start, end in session.stretches("train") + session.stretches("valid"):
        for t in range(start, end):
            assert np.array_equal(found[t], vectors[min(max(t - lag_bins, start), end - 1)])
    assert not found[session.split.test].any()


def test_whitening_gives_training_time_unit_covariance_and_is_fitted_on_nothing_else(sessions):
    session = sessions[0]
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(session.n_bins, 3)) @ np.array([[2, 1, 0], [0, 1, 0.5], [0, 0, 0.4]]) + 3
    spoilt = np.where(session.split.train[:, None], vectors, 1e3)
    found, other = (whitened({"s0": v}, [session])["s0"] for v in (vectors, spoilt))
    known = found[session.split.train].astype(float)
    np.testing.assert_allclose(known.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(np.cov(known.T, bias=True), np.eye(3), atol=0.03)
    np.testing.assert_array_equal(known, other[session.split.train].astype(float))
    assert not found[session.split.test].any()
    early = whitened({"s0": vectors}, [session], 0.1)["s0"][first_minutes(session, 0.1).split.train]
    np.testing.assert_allclose(np.cov(early.astype(float).T, bias=True), np.eye(3), atol=0.03)


@torch.no_grad()
def test_depths_are_layers_of_the_encoder(sessions, teachers):
    session, encoder = sessions[0], teachers[0].encoder
    dataset = WindowDataset([session], modalities=("spikes",))
    batch = collate([dataset[i] for i in sequential_windows([session], kind="train", window_bins=WINDOW)[:2]])
    tokens = encoder.tokenize(batch)
    n_batch, n_time, n_patches, dim = tokens.values.shape
    positions = torch.arange(n_time).repeat_interleave(n_patches)[None]
    flat, twins = tokens.values.flatten(1, 2), []
    for n in range(2):
        shorter = torch.nn.ModuleList(list(encoder.transformer.blocks)[:n])
        stream = flat
        for block in shorter:
            kept = encoder.transformer.blocks, encoder.transformer.norm
            encoder.transformer.blocks, encoder.transformer.norm = torch.nn.ModuleList([block]), torch.nn.Identity()
            encoder.transformer.config = replace(CONFIG.transformer, n_layers=1)
            stream = encoder.transformer(stream, positions, None)
            encoder.transformer.blocks, encoder.transformer.norm = kept
            encoder.transformer.config = CONFIG.transformer
        scaled = stream / stream.square().mean(-1, keepdim=True).sqrt()
        twins.append(scaled.view(n_batch, n_time, n_patches, dim).mean(2))
    twins.append(encoder(batch))
    for depth, twin in zip((0.0, 0.5, 1.0), twins, strict=True):
        torch.testing.assert_close(AtDepths(encoder, [depth])(batch), twin, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(AtDepths(encoder, [0.0, 1.0])(batch), (twins[0] + twins[2]) / 2, atol=1e-5, rtol=1e-4)


def test_the_last_layer_is_the_published_target(sessions, teachers):
    asked = (DistillationConfig(), DistillationConfig(teacher_depths=(1.0,)))
    plain, deepest = (guidance(config, teachers[:1], sessions[:1], WINDOW)["s0"] for config in asked)
    np.testing.assert_allclose(plain, deepest, atol=5e-3)


def test_several_teachers_stand_side_by_side_at_equal_length(sessions, teachers):
    session = sessions[0]
    found = guidance(DistillationConfig(n_teachers=2), teachers, sessions[:1], WINDOW)["s0"]
    used = session.split.train | session.split.valid
    for i, teacher in enumerate(teachers):
        z = embed(teacher.encoder, session, window_bins=WINDOW)[used]
        part = found[used][:, 16 * i : 16 * (i + 1)]
        np.testing.assert_allclose(part, z / np.linalg.norm(z, axis=1, keepdims=True), atol=2e-3)


@pytest.mark.parametrize(
    "asked",
    [
        *({"alignments": (name,)} for name in ALIGNMENTS),
        {"alignments": ("cosine", "relational")},
        {"lag_ms": 40.0},
        {"teacher_depths": (0.5, 1.0)},
        {"n_teachers": 2},
        {"paired_minutes": 0.2},
        {"alignments": ("cka",), "supervised": True},
    ],
    ids=str,
)
def test_every_student_learns_what_it_is_asked(sessions, teachers, plain, asked):
    count = asked.get("n_teachers", 1)
    student, curve = student_of(sessions[:1], teachers[:count], epochs=3, **asked)
    assert curve[-1].train_loss < curve[0].train_loss
    assert student.config == DistillationConfig(**asked)
    same = torch.equal(student.reconstruct.weight, plain.reconstruct.weight)
    assert same == (asked == {"alignments": ("cosine",)})


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"alignments": ("euclid",)}, "`alignments` must be of cosine, cka"),
        ({"alignments": ()}, "`alignments` must be one or more"),
        ({"alignments": ("cosine", "whitened-mse")}, "whitened-mse alone"),
        ({"teacher_depths": (1.5,)}, "`teacher_depths` must be shares of the depth"),
        ({"n_teachers": 0}, "`n_teachers` must be 1 or more"),
        ({"n_teachers": 2, "align_to": "rates"}, "need `align_to` representation"),
        ({"paired_minutes": 0.0}, "`paired_minutes` must be above 0"),
        ({"lag_ms": 20.0, "teacher_learns": True}, "goes with neither `lag_ms`"),
    ],
)
def test_what_cannot_be_asked(asked, message):
    with pytest.raises(InputError, match=message):
        DistillationConfig(**asked)
