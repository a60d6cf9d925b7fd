"""Distillation against Equation 1 written out, with padding that costs nothing and a student of another width."""

import math

import pytest
import torch
from objective_batches import SHAPES, alone, encoder_of, together

from spikefield.errors import InputError
from spikefield.objectives.distillation import (
    DistillationConfig,
    Student,
    alignment_loss,
    reconstruction_loss,
)


def cosine(a, b):
    dot, first, second = (sum(x * y for x, y in zip(u, v, strict=True)) for u, v in ((a, b), (a, a), (b, b)))
    return dot / math.sqrt(first * second)


def student_of(teacher_dim=16):
    torch.manual_seed(1)
    channels = max(channels for _, _, channels in SHAPES.values())
    return Student(encoder_of("lfp"), DistillationConfig(), n_channels=channels, teacher_dim=teacher_dim).eval()


def test_alignment_equals_a_loop():
    student, teacher, valid = torch.randn(2, 6, 5), torch.randn(2, 6, 5), torch.rand(2, 6) < 0.7
    each = [1 - cosine(student[i].tolist(), teacher[i].tolist()) for i in map(tuple, valid.nonzero().tolist())]
    assert float(alignment_loss(student, teacher, valid)) == pytest.approx(sum(each) / len(each), abs=1e-5)


def test_reconstruction_equals_a_loop():
    rebuilt, lfp, present = torch.randn(2, 6, 5), torch.randn(2, 6, 5), torch.rand(2, 6, 5) < 0.7
    each = [float(rebuilt[i] - lfp[i]) ** 2 for i in map(tuple, present.nonzero().tolist())]
    assert float(reconstruction_loss(rebuilt, lfp, present)) == pytest.approx(sum(each) / len(each), abs=1e-5)


@torch.no_grad()
def test_a_student_costs_what_equation_1_says():
    student = student_of()
    batch = together()
    squares, distances = [], []
    for single in alone():
        z = student.encoder(single)[0]
        for t in range(len(z)):
            rebuilt = student.reconstruct.weight @ z[t] + student.reconstruct.bias
            squares += [float(y - f) ** 2 for y, f in zip(single.lfp[0, t], rebuilt, strict=False)]
            distances.append(1 - cosine(z[t].tolist(), single.targets[0, t].tolist()))
    reconstruction, alignment = student(batch, batch.targets)
    assert float(reconstruction) == pytest.approx(sum(squares) / len(squares), abs=1e-5)
    assert float(alignment) == pytest.approx(sum(distances) / len(distances), abs=1e-5)


@torch.no_grad()
def test_padding_costs_nothing():
    student, batch = student_of(), together()
    before = student(batch, batch.targets)
    batch.lfp[~batch.time_valid] = 50.0
    batch.lfp.swapaxes(1, 2)[~batch.channel_valid] = 50.0
    batch.targets[~batch.time_valid] = 50.0
    assert all(torch.equal(a, b) for a, b in zip(before, student(batch, batch.targets), strict=True))


def test_the_length_of_the_teacher_does_not_matter():
    student, teacher, valid = torch.randn(1, 6, 5), torch.randn(1, 6, 5), torch.ones(1, 6, dtype=torch.bool)
    plain, long = alignment_loss(student, teacher, valid), alignment_loss(student, 30 * teacher, valid)
    torch.testing.assert_close(plain, long)
    assert float(alignment_loss(teacher, 3 * teacher, valid)) == pytest.approx(0, abs=1e-6)


def test_a_teacher_of_another_width_is_reached_by_a_linear_map():
    student = student_of(teacher_dim=24)
    batch = together()
    with torch.no_grad():
        reconstruction, alignment = student(batch, torch.randn(*batch.targets.shape[:2], 24))
    assert reconstruction.isfinite() and alignment.isfinite()
    assert student.to_teacher.weight.shape == (24, 16)


def test_every_weight_learns():
    student = student_of().train()
    batch = together()
    sum(student(batch, batch.targets)).backward()
    assert [name for name, p in student.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_batch_without_field_is_refused():
    batch = together()
    with pytest.raises(InputError, match="holds no lfp"):
        student_of()(type(batch)(**{**vars(batch), "lfp": None}), batch.targets)


def test_a_negative_weight_is_refused():
    with pytest.raises(InputError, match="`alignment_weight` must be 0 or more, got -1"):
        DistillationConfig(alignment_weight=-1.0)
