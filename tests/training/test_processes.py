"""Two processes over gloo train as one does: the same windows, the same hidden tokens, the same losses."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import tiny
from spikefield.models.tokenizer import SpaceEmbedding
from spikefield.training.loop import loaders
from spikefield.training.optimiser import OptimiserConfig, build_optimiser
from spikefield.windows.batches import WindowSampler
from spikefield.windows.shares import WindowBatches, mixed_seed, share_of

FLAGS = [
    *("--window_s", "1.0", "--spike_patch", "8", "--student_channel_dropout", "0"),
    *(
        "--transformer.dim",
        "16",
        "--transformer.n_layers",
        "1",
        "--transformer.n_heads",
        "2",
        "--transformer.dropout",
        "0",
    ),
    *("--autoencoding.predictor.dim", "8", "--autoencoding.predictor.n_heads", "2"),
    *("--autoencoding.predictor.n_layers", "1", "--autoencoding.predictor.dropout", "0"),
    *(
        "--pretraining.epochs",
        "3",
        "--pretraining.min_steps",
        "0",
        "--distilling.epochs",
        "3",
        "--distilling.min_steps",
        "0",
    ),
    *("--hardware.accelerator", "cpu"),
]
TOLERANCE = 5e-4  # processes average the means of their windows, whose numbers of hidden values differ a little


def spikefield(folder, *flags):
    script = folder / "run.py"
    script.write_text("from spikefield.cli import main\nmain()\n")
    environment = {k: v for k, v in os.environ.items() if k not in ("LOCAL_RANK", "RANK", "WORLD_SIZE")}
    done = subprocess.run(
        [sys.executable, str(script), *map(str, flags), *FLAGS],
        env=environment | {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def losses(folder):
    return [[r["train_loss"], r["valid_loss"]] for r in json.loads((folder / "curve.json").read_text())]


def test_two_processes_have_the_losses_of_one(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    tiny.write(data, tiny.session(0, seconds=40.0), tiny.session(2, seconds=25.0))
    for n in (1, 2):
        devices = ("--hardware.devices", n)
        done = spikefield(tmp_path, "pretrain", data, "--out", tmp_path / f"teacher{n}", *devices)
        assert done.stdout.count("model:") == 1
    one, two = losses(tmp_path / "teacher1"), losses(tmp_path / "teacher2")
    assert len(one) == 3
    np.testing.assert_allclose(two, one, rtol=TOLERANCE)
    teacher = ("--teacher", tmp_path / "teacher1", "--on", "s0", "s2")
    for n in (1, 2):
        spikefield(tmp_path, "distill", data, "--out", tmp_path / f"student{n}", *teacher, "--hardware.devices", n)
    np.testing.assert_allclose(losses(tmp_path / "student2"), losses(tmp_path / "student1"), rtol=TOLERANCE)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == [".teacher-cache"]


@pytest.mark.parametrize("n_ranks", [1, 2, 3, 5])
def test_every_process_holds_its_part_of_every_batch(sessions, n_ranks):
    def batches(rank, n):
        sampler = WindowSampler(sessions, kind="train", window_bins=40, generator=torch.Generator().manual_seed(0))
        found = WindowBatches(sampler, batch_windows=7)
        found.share(rank, n)
        found.start_epoch(3)
        return found

    whole = list(batches(0, 1))
    parts = [list(batches(rank, n_ranks)) for rank in range(n_ranks)]
    shares = [batches(rank, n_ranks) for rank in range(n_ranks)]
    assert len({len(p) for p in parts}) == 1
    for i, batch in enumerate(whole):
        counts = [s.share_at(i).count for s in shares]
        assert sum(counts) == len(batch) and max(counts) - min(counts) <= 1, "no process has more work than another"
        joined = [w for part, n in zip(parts, counts, strict=True) for w in part[i][:n]]
        assert joined == batch
        assert all(part[i] for part in parts), "a process without a row holds one of no weight"


def test_long_sessions_give_more_windows_in_proportion(sessions):
    long, short = sessions[0], tiny.binned(1, seconds=20.0)
    train, _ = loaders([long, short], modalities=("lfp",), window_bins=20, batch_windows=8, seed=0)
    train.batch_sampler.start_epoch(0)
    ids = [i for batch in train for i in batch.session_ids]
    bins = [sum(end - start for start, end in s.stretches("train")) for s in (long, short)]
    assert ids.count(long.session_id) / ids.count(short.session_id) == pytest.approx(bins[0] / bins[1], rel=0.2)


def test_an_epoch_follows_from_seed_and_number(sessions):
    def epoch(number, before=()):
        sampler = WindowSampler(sessions, kind="train", window_bins=40, generator=torch.Generator().manual_seed(0))
        batches = WindowBatches(sampler, batch_windows=7)
        for other in before:
            batches.start_epoch(other)
            list(batches)
        batches.start_epoch(number)
        return list(batches)

    assert epoch(4) == epoch(4, before=(0, 1)) != epoch(5)
    assert len({mixed_seed(a, b) for a in range(30) for b in range(30)}) == 900
    assert [share_of(5, rank=r, n_ranks=2).count for r in range(2)] == [2, 3]


def test_rows_of_absent_sessions_get_no_gradient_and_no_decay():
    torch.manual_seed(0)
    space = SpaceEmbedding(8)
    for i in range(5):
        space.add_session(f"s{i}", 2)
    before = space.table.detach().clone()
    optimiser = build_optimiser(space, OptimiserConfig(peak_learning_rate=0.1, weight_decay=10.0))
    space(("s1", "s3"), 2).square().sum().backward()
    touched = space.table.grad.abs().sum(1) > 0
    assert touched.nonzero().flatten().tolist() == [2, 3, 6, 7]
    optimiser.step()
    moved = (space.table != before).any(1)
    assert moved.tolist() == touched.tolist(), "what the batch does not hold stays, whatever the weight decay"
