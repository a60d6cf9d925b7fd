"""CKA and retrieval equal slow twins and know their chance level."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikefield.errors import InputError
from spikefield.evaluation import alignment
from spikefield.evaluation.alignment import debiased_cka, frechet_shift, linear_cka, retrieval


def _pair(seed=0, n=60, noise=0.5, offset=3.0):
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n, 4))
    x = shared @ rng.normal(size=(4, 6)) + noise * rng.normal(size=(n, 6)) + offset
    return x, shared @ rng.normal(size=(4, 9)) + noise * rng.normal(size=(n, 9))


def _slow_cka(x, y):
    n = len(x)
    center = np.eye(n) - np.ones((n, n)) / n
    k, other = center @ x @ x.T @ center, center @ y @ y.T @ center
    return np.trace(k @ other) / np.sqrt(np.trace(k @ k) * np.trace(other @ other))


def _slow_hsic(k, other):
    n = len(k)
    k, other, one = k - np.diag(np.diag(k)), other - np.diag(np.diag(other)), np.ones(n)
    total = (one @ k @ one) * (one @ other @ one) / ((n - 1) * (n - 2))
    return (np.trace(k @ other) + total - 2 / (n - 2) * one @ k @ other @ one) / (n * (n - 3))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_cka_equals_a_slow_twin(seed):
    x, y = _pair(seed)
    assert linear_cka(x, y) == pytest.approx(_slow_cka(x, y), rel=1e-9)
    k, other = x @ x.T, y @ y.T
    expected = _slow_hsic(k, other) / np.sqrt(_slow_hsic(k, k) * _slow_hsic(other, other))
    assert debiased_cka(x, y) == pytest.approx(expected, rel=1e-6)


def test_cka_knows_no_rotation_scale_or_shift():
    x, _ = _pair()
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    for cka in (linear_cka, debiased_cka):
        assert cka(x, 3 * x @ turn + 7) == pytest.approx(1.0)


def test_unrelated_representations_score_zero_only_when_debiased():
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(size=(50, 64)), rng.normal(size=(50, 64))) for _ in range(20)]
    assert np.mean([linear_cka(x, y) for x, y in pairs]) > 0.4
    assert abs(np.mean([debiased_cka(x, y) for x, y in pairs])) < 0.03


def test_a_collapsed_representation_has_no_cka():
    assert np.isnan(linear_cka(_pair()[0], np.ones((60, 3))))
    assert np.isnan(debiased_cka(_pair()[0], np.ones((60, 3))))


def _slow_retrieval(queries, candidates, top):
    hits = 0
    for i, query in enumerate(queries):
        cosines = [q @ query / np.linalg.norm(q) / np.linalg.norm(query) for q in candidates]
        hits += i in np.argsort(cosines)[::-1][:top]
    return hits / len(queries)


@pytest.mark.parametrize("top", [1, 5, 60])
def test_retrieval_equals_a_slow_twin(top, monkeypatch):
    monkeypatch.setattr(alignment, "_ROWS_AT_ONCE", 17)
    rng = np.random.default_rng(0)
    teacher = rng.normal(size=(60, 8))
    student = 2 * teacher + 1.5 * rng.normal(size=(60, 8))
    found = retrieval(student, teacher, top=top)
    assert found.accuracy == pytest.approx(_slow_retrieval(student, teacher, top))
    assert found.chance == top / 60
    assert found.accuracy > 0.2


def test_retrieval_of_unrelated_or_collapsed_vectors_is_at_chance():
    rng = np.random.default_rng(0)
    unrelated = retrieval(rng.normal(size=(800, 16)), rng.normal(size=(800, 16)), top=40)
    assert unrelated.accuracy == pytest.approx(unrelated.chance, abs=0.02)
    collapsed = retrieval(np.ones((800, 16)), np.ones((800, 16)), top=40)
    assert collapsed.accuracy == pytest.approx(collapsed.chance)


def test_bad_input_is_refused():
    x, y = _pair()
    with pytest.raises(InputError, match="`top` must be 1 to 60"):
        retrieval(x, x, top=61)
    with pytest.raises(InputError, match="Map one space"):
        retrieval(x, y)
    with pytest.raises(InputError, match="finite"):
        linear_cka(np.where(np.arange(60)[:, None] == 3, np.nan, x), y)
    with pytest.raises(InputError, match="at least 4 bins"):
        debiased_cka(x[:3], y[:3])


def test_frechet_shift_equals_matrix_roots():
    x, y = _pair()[0], _pair(1)[0] * 1.3 + 0.5
    first, second = (np.cov(z.T, bias=True) for z in (x, y))
    values, axes = np.linalg.eigh(first)
    root = axes * np.sqrt(np.clip(values, 0, None)) @ axes.T
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root @ second @ root), 0, None)).sum()
    moved = sum((a - b) ** 2 for a, b in zip(x.mean(0), y.mean(0), strict=True))
    twin = (moved + np.trace(first) + np.trace(second) - 2 * shared) / np.trace(first)
    assert frechet_shift(x, y) == pytest.approx(twin, abs=1e-5)
    assert frechet_shift(x, x) == pytest.approx(0, abs=1e-5)
    assert frechet_shift(x, np.repeat(x.mean(0)[None], 60, 0)) == pytest.approx(1, abs=1e-5)
    assert np.isnan(frechet_shift(np.ones((9, 2)), np.ones((9, 2))))
