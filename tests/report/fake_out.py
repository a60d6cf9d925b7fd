"""Writes a plausible output folder of an experiment, without running one: 20 ms bins, four simulated sessions."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

SESSIONS = ("sim-0", "sim-1", "sim-2", "sim-3")
MEANS = {
    "teacher": (0.70, 0.63),
    "ss-lfp": (0.38, 0.40),
    "ms-lfp": (0.47, 0.45),
    "distilled": (0.82, 0.76),
    "ridge-lfp": (0.68, 0.66),
    "ridge-spikes": (0.90, 0.89),
    "null": (-0.01, -0.01),
}
DIMS = ("hand vx", "hand vy")


def results_table(*, seeds=(0, 1, 2), sessions=SESSIONS, means=MEANS, spread=0.008):
    generator = np.random.default_rng(7)
    rows = []
    for model, (own, other) in means.items():
        for i, session in enumerate(sessions):
            trained = {"teacher": sessions, "ms-lfp": sessions, "distilled": sessions[:1]}.get(model, (session,))
            offset = 0.02 * (i - 2) if i else 0.0
            for seed in seeds:
                noise = 0.0 if model.startswith("ridge") else generator.normal(0, spread)
                value = (own if i == 0 else other) + offset + noise
                common = {
                    "model": model,
                    "regime": "linear" if model.startswith("ridge") or model == "null" else "unsupervised",
                    "trained_on": ";".join(trained),
                    "session": session,
                    "seed": seed,
                    "n_test": 2410,
                }
                rows.append({**common, "metric": "r2", "value": value})
                rows.extend(
                    {**common, "metric": f"r2:{d}", "value": value + s}
                    for d, s in zip(DIMS, (0.02, -0.02), strict=True)
                )
    columns = ["model", "regime", "trained_on", "session", "seed", "metric", "value", "n_test"]
    return pd.DataFrame(rows)[columns]


def run_record(*, seeds=(0, 1, 2), sessions=SESSIONS, leaks=False, caution=None):
    described = [
        {
            "session": s,
            "subject": f"monkey-{'ab'[i % 2]}",
            "minutes": 5.0,
            "units": 60 + 7 * i,
            "channels": 96 - 16 * (i % 2),
            "behavior": list(DIMS),
            "bin_width_ms": 20,
            "window_s": 2.0,
            "caution": caution,
        }
        for i, s in enumerate(sessions)
    ]
    stages = [
        {"stage": stage, "model": model, "seed": seed, "seconds": seconds + seed, "peak_memory_mb": memory}
        for seed in seeds
        for stage, model, seconds, memory in (
            ("pretrain", "teacher", 92.4, 812.0),
            ("pretrain", "ms-lfp", 61.0, 702.5),
            ("distill", "distilled", 48.2, 655.1),
            ("evaluate", "all", 12.9, 540.0),
        )
    ]
    return {
        "spikefield": "0.1.0",
        "command": "spikefield experiment data/sim --out out --preset quick --seeds " + " ".join(map(str, seeds)),
        "seeds": list(seeds),
        "protocol": "paper" if leaks else "blocked",
        "leaks": leaks,
        "data": {"folder": "data/sim", "sessions": described},
        "chosen": ["bins of 20 ms, windows of 2 s: behaviour is sampled at 100 Hz", "student distilled on sim-0"],
        "hardware": {"cpu": "8-core x86-64", "cores": 2, "memory_gb": 24, "gpu": None},
        "versions": {"python": "3.11.7", "torch": "2.8.0", "numpy": "2.4.6"},
        "stages": stages,
        "ceiling_r2": dict.fromkeys(sessions, 0.93),
    }


def split_record(session, *, minutes=5.0):
    blocks = {"train": [], "valid": [], "test": []}
    edges = np.linspace(0, minutes * 60, 11)
    kinds = ["train", "train", "test", "train", "valid", "train", "train", "test", "train", "valid"]
    for kind, start, end in zip(kinds, edges[:-1], edges[1:], strict=True):
        blocks[kind].append([round(float(start) + 0.5, 3), round(float(end) - 0.5, 3)])
    return {"session": session, "bin_width_ms": 20, "guard_bins": 25, **blocks}


def curve_table(*, seeds=(0, 1, 2), epochs=30):
    generator = np.random.default_rng(3)
    rows = []
    for model, floor, height in (("teacher", 0.21, 0.25), ("ms-lfp", 0.72, 0.3), ("distilled", 1.4, 3.9)):
        for seed in seeds:
            for epoch in range(epochs):
                loss = floor + height * np.exp(-epoch / 7) + generator.normal(0, height * 0.01)
                r2 = (0.9 - 0.25 * floor) * (1 - np.exp(-epoch / 8)) if epoch % 5 == 4 else np.nan
                rows.append((model, seed, epoch, loss, loss * 1.03 + 0.02 * height, r2))
    return pd.DataFrame(rows, columns=["model", "seed", "epoch", "train_loss", "valid_loss", "r2"])


def prediction_arrays(*, width_s=0.02, split=None):
    generator = np.random.default_rng(5)
    blocks = (split or split_record("sim-0"))["test"]
    time_s = np.concatenate([np.arange(start, end, width_s) for start, end in blocks])
    phase = np.cumsum(generator.normal(0.05, 0.03, len(time_s)))
    speed = np.abs(np.sin(np.pi * time_s / 1.3)) ** 2
    true = np.stack([np.cos(phase) * speed, np.sin(phase) * speed], axis=1) * 20
    arrays = {"time_s": time_s, "true": true, "names": np.array(DIMS)}
    for model, noise in (("teacher", 5.0), ("distilled", 2.5), ("ridge-lfp", 6.0), ("ms-lfp", 8.0)):
        rough = np.apply_along_axis(np.convolve, 0, generator.normal(size=true.shape), np.ones(9) / 3, "same")
        arrays[f"pred_{model}"] = true * 0.95 + noise * rough * 0.7
    return arrays


def representation_arrays(*, count=400):
    generator = np.random.default_rng(11)
    direction = generator.uniform(-np.pi, np.pi, count)
    speed = generator.gamma(2.0, 6.0, count)
    ring = np.stack([np.cos(direction), np.sin(direction)], axis=1) * np.sqrt(speed)[:, None]
    arrays = {"direction_rad": direction, "speed": speed, "color_name": np.array("movement direction")}
    for model, noise in (("teacher", 0.9), ("distilled", 0.5), ("ms-lfp", 3.5)):
        mixed = ring @ generator.normal(size=(2, 24)) + noise * generator.normal(size=(count, 24))
        arrays[f"z_{model}"] = mixed
    return arrays


def write_fake(out: Path, *, seeds=(0, 1, 2), sessions=SESSIONS, leaks=False, caution=None, means=MEANS, maps=400):
    """Write a whole output folder under `out` and return it."""
    for folder in ("splits", "predictions", "representations"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    results_table(seeds=seeds, sessions=sessions, means=means).to_csv(out / "results.csv", index=False)
    run = run_record(seeds=seeds, sessions=sessions, leaks=leaks, caution=caution)
    (out / "run.json").write_text(json.dumps(run), encoding="utf-8")
    for session in sessions:
        (out / "splits" / f"{session}.json").write_text(json.dumps(split_record(session)), encoding="utf-8")
    curve_table(seeds=seeds).to_csv(out / "curves.csv", index=False)
    np.savez(out / "predictions" / f"{sessions[0]}.npz", **prediction_arrays())
    np.savez(out / "representations" / f"{sessions[0]}.npz", **representation_arrays(count=maps))
    return out
