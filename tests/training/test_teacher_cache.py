"""The teacher runs once: what it says is kept under the hash of all that determines it, and read mapped."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import spikefield.training.teacher_cache as teacher_cache
import tiny
from spikefield.config import lfp_encoder, spike_encoder
from spikefield.evaluation.embedding import embed
from spikefield.models.encoder import Encoder
from spikefield.training.loop import HardwareConfig
from spikefield.training.optimiser import OptimiserConfig
from spikefield.training.stages import RunConfig, distill
from spikefield.training.teacher_cache import teacher_representations

CONFIG = tiny.config()
WINDOW = 50


@pytest.fixture
def teacher(sessions):
    torch.manual_seed(0)
    teacher = Encoder(spike_encoder(CONFIG, sessions))
    for session in sessions:
        teacher.add_session(session.session_id, session.counts.shape[1])
    return teacher.eval()


def runs(monkeypatch):
    """Count how often the teacher runs."""
    calls = []

    def counted(*args, **kwargs):
        calls.append(args[1].session_id)
        return embed(*args, **kwargs)

    monkeypatch.setattr(teacher_cache, "embed", counted)
    return calls


def test_the_teacher_runs_once_for_a_session(teacher, sessions, tmp_path, monkeypatch):
    calls = runs(monkeypatch)
    first = teacher_representations(teacher, sessions[:2], window_bins=WINDOW, cache=tmp_path)
    again = teacher_representations(teacher, sessions, window_bins=WINDOW, cache=tmp_path)
    assert calls == ["s0", "s1", "s2"] and len(list(tmp_path.iterdir())) == 3
    assert all(np.array_equal(first[s], again[s]) for s in first)
    assert isinstance(again["s0"], np.memmap) and again["s0"].dtype == np.float16
    uncached = teacher_representations(teacher, sessions, window_bins=WINDOW)
    assert all(np.array_equal(uncached[s], again[s]) for s in uncached), "with or without a cache alike"


def test_half_precision_turns_no_direction(teacher, sessions):
    z = np.nan_to_num(embed(teacher, sessions[0], window_bins=WINDOW, kinds=("train", "valid")))
    half = teacher_representations(teacher, sessions[:1], window_bins=WINDOW)["s0"].astype(np.float64)
    inside = np.abs(z).sum(1) > 0
    cosine = (z * half).sum(1)[inside] / (np.linalg.norm(z, axis=1) * np.linalg.norm(half, axis=1))[inside]
    assert cosine.min() > 1 - 1e-6 and np.array_equal(half[~inside], z[~inside])


def test_values_too_large_for_half_precision_stay_whole(teacher, sessions, monkeypatch):
    monkeypatch.setattr(teacher_cache, "_LARGEST_HALF", 1e-9)
    assert teacher_representations(teacher, sessions[:1], window_bins=WINDOW)["s0"].dtype == np.float32


@pytest.mark.parametrize("what", ["weights", "window", "counts", "split"])
def test_whatever_determines_it_changes_its_name(teacher, sessions, tmp_path, monkeypatch, what):
    calls, session, window = runs(monkeypatch), sessions[0], WINDOW
    teacher_representations(teacher, [session], window_bins=WINDOW, cache=tmp_path)
    if what == "weights":
        with torch.no_grad():
            teacher.space.table[0, 0] += 1e-3
    elif what == "window":
        window = WINDOW + 2
    elif what == "counts":
        counts = session.counts.copy()
        counts[100, 0] += 1
        session = replace(session, counts=counts)
    else:
        train = session.split.train.copy()
        train[np.flatnonzero(train)[:40]] = False
        session = replace(session, split=replace(session.split, train=train))
    teacher_representations(teacher, [session], window_bins=window, cache=tmp_path)
    assert len(calls) == 2


@pytest.mark.parametrize(
    "content",
    [b"", b"x" * 300, b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (3,), }" + b" " * 50],
)
def test_a_spoilt_file_is_made_again(teacher, sessions, tmp_path, content):
    first = teacher_representations(teacher, sessions[:1], window_bins=WINDOW, cache=tmp_path)["s0"]
    (path,) = tmp_path.iterdir()
    expected = np.array(first)
    path.unlink()
    path.write_bytes(content)
    again = teacher_representations(teacher, sessions[:1], window_bins=WINDOW, cache=tmp_path)["s0"]
    assert np.array_equal(again, expected)


def test_students_of_all_seeds_share_it(teacher, sessions, tmp_path, monkeypatch):
    calls = runs(monkeypatch)
    for seed in range(2):
        distill(
            sessions[:1],
            teacher=teacher,
            student=lfp_encoder(CONFIG, sessions[:1]),
            distillation=CONFIG.distillation,
            run=RunConfig(
                OptimiserConfig(epochs=1),
                WINDOW,
                seed,
                "x",
                HardwareConfig("cpu"),
                progress=False,
                teacher_cache=tmp_path,
            ),
        )
    assert calls == ["s0"]
