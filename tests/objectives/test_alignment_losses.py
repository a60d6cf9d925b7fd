"""Every distance that a student can be aligned by, against loops over bins and plain linear algebra."""

import math

import pytest
import torch

from spikefield.objectives import alignment
from spikefield.objectives.alignment import ALIGNMENTS

NAMES = sorted(ALIGNMENTS)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(3, 9, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    valid = torch.rand(3, 9, generator=generator) < 0.8
    return student + 0.7 * teacher, teacher, valid


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def cos(a, b):
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def real(batch):
    student, teacher, valid = batch
    return student[valid].tolist(), teacher[valid].tolist()


def test_cosine_equals_a_loop(batch):
    each = [1 - cos(x, y) for x, y in zip(*real(batch), strict=True)]
    assert float(alignment.cosine(*batch)) == pytest.approx(sum(each) / len(each), abs=1e-5)


def test_cka_equals_kernels_of_all_pairs_of_bins(batch):
    x, y = (torch.tensor(z, dtype=torch.float64) for z in real(batch))
    centre = torch.eye(len(x), dtype=torch.float64) - 1 / len(x)
    k, m = (centre @ z @ z.T @ centre for z in (x, y))
    twin = 1 - float((k * m).sum() / torch.sqrt((k * k).sum() * (m * m).sum()))
    assert float(alignment.cka(*batch)) == pytest.approx(twin, abs=1e-5)


def test_contrastive_equals_a_loop(batch):
    x, y = real(batch)
    total, n = 0.0, len(x)
    for i in range(n):
        for others in ([cos(x[i], y[j]) for j in range(n)], [cos(x[j], y[i]) for j in range(n)]):
            total -= math.log(math.exp(others[i] / 0.1) / sum(math.exp(c / 0.1) for c in others))
    assert float(alignment.contrastive(*batch)) == pytest.approx(total / (2 * n * math.log(n)), abs=1e-5)


def test_whitened_mse_equals_a_loop(batch):
    each = [(a - b) ** 2 for x, y in zip(*real(batch), strict=True) for a, b in zip(x, y, strict=True)]
    assert float(alignment.whitened_mse(*batch)) == pytest.approx(sum(each) / len(each), abs=1e-5)


def test_relational_equals_a_loop(batch):
    x, y = real(batch)
    pairs = [(cos(x[i], x[j]), cos(y[i], y[j])) for i in range(len(x)) for j in range(len(x))]
    mean = sum(b for _, b in pairs) / len(pairs)
    twin = sum((a - b) ** 2 for a, b in pairs) / sum((b - mean) ** 2 for _, b in pairs)
    assert float(alignment.relational(*batch)) == pytest.approx(twin, abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_lower_than_the_teacher_itself_and_padding_costs_nothing(batch, name):
    student, teacher, valid = batch
    cost = ALIGNMENTS[name]
    assert float(cost(teacher, teacher, valid)) < float(cost(student, teacher, valid))
    spoilt = torch.where(valid[..., None], student, 50.0)
    assert float(cost(spoilt, teacher, valid)) == pytest.approx(float(cost(student, teacher, valid)), abs=1e-9)


@pytest.mark.parametrize("name", ["cosine", "cka", "relational"])
def test_what_shares_nothing_costs_about_one(name):
    generator = torch.Generator().manual_seed(1)
    student, teacher = (torch.randn(2, 400, 16, generator=generator) for _ in range(2))
    valid = torch.ones(2, 400, dtype=torch.bool)
    assert float(ALIGNMENTS[name](student, teacher, valid)) == pytest.approx(1, abs=0.1) or name == "relational"
    assert float(ALIGNMENTS[name](student, teacher, valid)) > 0.8


@pytest.mark.parametrize("name", NAMES)
def test_a_step_along_the_gradient_comes_closer(batch, name):
    student, teacher, valid = batch
    moving = student.clone().requires_grad_()
    ALIGNMENTS[name](moving, teacher, valid).backward()
    closer = student - 1e-3 * moving.grad / moving.grad.norm()
    assert float(ALIGNMENTS[name](closer, teacher, valid)) < float(ALIGNMENTS[name](student, teacher, valid))
    assert not moving.grad[~valid].any()


@pytest.mark.parametrize("name", ["contrastive", "relational"])
def test_a_large_batch_is_thinned(name, monkeypatch, batch):
    student, teacher, valid = batch
    monkeypatch.setattr(alignment, "_MOST_BINS", 7)
    bins = valid.flatten().nonzero()[:, 0]
    kept = bins[torch.linspace(0, len(bins) - 1, 7).round().long()]
    thinned = torch.zeros(valid.numel(), dtype=torch.bool)
    thinned[kept] = True
    full = ALIGNMENTS[name](student, teacher, valid)
    monkeypatch.setattr(alignment, "_MOST_BINS", 100)
    torch.testing.assert_close(full, ALIGNMENTS[name](student, teacher, thinned.view(valid.shape)))
