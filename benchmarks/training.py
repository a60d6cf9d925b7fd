"""Time a step of training, the default design beside the published one at equal width, in turns, and compare their R².

    python benchmarks/training.py [DATA] --out OUT [--repeats 9] [--only simulator rat] [--rehearse]

Time: windows of 96 units and 96 channels, bins of 10 ms, width and depth of the `paper` preset for both. The published
design (`twin`) is that preset in plain eager PyTorch; ours is `quick` at that width. A step is forward, backward,
clipping and optimiser, the teacher's words given to both. One batch holds 40 s in either, 320 s on CUDA. In bf16 where
the processor has it; on CUDA as well, where there is one. `peak_share` is what a step reaches of the measured product
of matrices. Under each pair stands what the time goes to.

R²: the teacher (autoencoding) and the student (distillation) of both designs at the width of `quick`, three seeds, on
the demo's simulated sessions and on DATA/cao2021_hpc/rat, as `spikefield reproduce` of `training.yaml` beside this file
leaves them in OUT. What `make bench-sim` and `make bench-real` made beside OUT is not trained again.

Last line: JSON.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from corpora import NAMES, recordings_of

from spikefield.config import ExperimentConfig, lfp_encoder, load_preset, spike_encoder, student_encoder, window_bins
from spikefield.evaluation.statistics import seed_interval
from spikefield.experiments.planning import noise_session
from spikefield.experiments.reproduce import run_series
from spikefield.experiments.series import read_series
from spikefield.experiments.step_cost import TrainingStep, matmul_flops, now, saved_bytes
from spikefield.models.encoder import Encoder
from spikefield.objectives.autoencoding import MaskedAutoencoder
from spikefield.objectives.distillation import Student
from spikefield.windows.binned import BinnedSession

SERIES = Path(__file__).parent / "training.yaml"
WIDTH_MS, UNITS, CHANNELS, SHOWN_S = 10.0, 96, 96, 5.0
BATCH_S = {"cpu": 40.0, "cuda": 320.0}
SHOWN_OPERATIONS = 6
TASKS = {"mae": "teacher", "distill": "distilled"}
DESIGNS = ("ours", "twin")


def designs(device: str, *, rehearse: bool) -> dict[str, ExperimentConfig]:
    """Return both designs, of the same width and depth, with batches of as many seconds."""
    twin, ours = load_preset("paper"), load_preset("quick")
    ours = replace(
        ours,
        transformer=twin.transformer,
        autoencoding=replace(ours.autoencoding, predictor=twin.autoencoding.predictor),
        binning=replace(ours.binning, bin_width_ms=WIDTH_MS),
    )
    if rehearse:
        small = replace(ours.transformer, dim=64, n_layers=1)
        ours, twin = (replace(config, transformer=small) for config in (ours, twin))
    return {name: _of_one_length(config, BATCH_S[device]) for name, config in (("twin", twin), ("ours", ours))}


def _of_one_length(config: ExperimentConfig, batch_s: float) -> ExperimentConfig:
    windows = round(batch_s * 1000 / WIDTH_MS / window_bins(config, WIDTH_MS))
    return replace(
        config,
        pretraining=replace(config.pretraining, batch_windows=windows),
        distilling=replace(config.distilling, batch_windows=windows),
    )


def step_of(task: str, config: ExperimentConfig, session: BinnedSession, *, device: str, bf16: bool) -> TrainingStep:
    """Build one design's network for one task."""
    torch.manual_seed(0)
    if task == "distill":
        network: Any = Student(
            Encoder(student_encoder(config, [session])),
            config.distillation,
            n_channels=CHANNELS,
            teacher_dim=config.transformer.dim,
        )
    else:
        encoder = spike_encoder if task == "mae" else lfp_encoder
        network = MaskedAutoencoder(Encoder(encoder(config, [session])), config.autoencoding)
    bins = window_bins(config, WIDTH_MS)
    optimiser = config.distilling if task == "distill" else config.pretraining
    return TrainingStep(network, [session], window_bins=bins, optimiser=optimiser, device=device, bf16=bf16)


def measure(device: str, *, bf16: bool, repeats: int, rehearse: bool) -> dict[str, Any]:
    """Time both designs in turns, print a table, and return ratios of medians."""
    dtype = torch.bfloat16 if bf16 else torch.float32
    peak = matmul_flops(device=device, dtype=dtype, size=8192 if device == "cuda" else 2048)
    where = f"{device}, {torch.get_num_threads()} threads" if device == "cpu" else torch.cuda.get_device_name()
    print(f"{where}, {'bf16' if bf16 else 'fp32'}: {peak / 1e12:.3g} TFLOP/s in products of matrices")
    print(f"{'':<14} {'ms a 5 s window':>16} {'tokens/s':>10} {'GFLOP':>8} {'of peak':>8} {'GB':>6}")
    found: dict[str, Any] = {}
    for task in (*TASKS, "mae, field"):
        seconds, steps, flops, memory = _timed(task, device, bf16=bf16, repeats=repeats, rehearse=rehearse)
        for name, step in steps.items():
            middle = statistics.median(seconds[name])
            shown = SHOWN_S / BATCH_S[device]
            ms, gflop = 1e3 * middle * shown, flops[name] * shown / 1e9
            print(
                f"{task + ' ' + name:<14} {ms:>16.1f} {step.tokens / middle:>10.0f} {gflop:>8.1f} "
                f"{flops[name] / middle / peak:>8.2f} {memory[name]:>6.2f}"
            )
        ratios = sorted(t / o for t, o in zip(seconds["twin"], seconds["ours"], strict=True))
        middle = statistics.median(ratios)
        print(f"{task}: ours {middle:.2f} times as fast (of {repeats} pairs: {ratios[0]:.2f} to {ratios[-1]:.2f})")
        for name, step in steps.items():
            print(f"  {name}: {_where_time_goes(step)}")
        share = flops["ours"] / statistics.median(seconds["ours"]) / peak
        twin_share = flops["twin"] / statistics.median(seconds["twin"]) / peak
        found[task] = {"ratio_to_twin": round(middle, 3), "peak_share": round(share, 3)}
        found[task] |= {"peak_share_twin": round(twin_share, 3)}
    return found


def _timed(
    task: str, device: str, *, bf16: bool, repeats: int, rehearse: bool
) -> tuple[dict[str, list[float]], dict[str, TrainingStep], dict[str, float], dict[str, float]]:
    """Return the seconds of every step, the steps, their operations and their peak memory in GB."""
    seconds: dict[str, list[float]] = {}
    steps, flops, memory = {}, {}, {}
    session = noise_session(2 * BATCH_S[device], units=UNITS, channels=CHANNELS, bin_width_ms=WIDTH_MS)
    for name, config in designs(device, rehearse=rehearse).items():
        steps[name] = step_of(task, config, session, device=device, bf16=bf16)
        flops[name], _ = steps[name].count()
        memory[name] = _peak_gb(steps[name], device)
        seconds[name] = []
    for _ in range(repeats):
        for name, step in steps.items():
            start = now(device)
            step()
            seconds[name].append(now(device) - start)
    return seconds, steps, flops, memory


def _where_time_goes(step: TrainingStep) -> str:
    """Name the operations that most of a step's time goes to, with their shares."""
    with torch.profiler.profile(acc_events=True) as profiled:
        step()
    cost = {e.key: e.self_device_time_total or e.self_cpu_time_total for e in profiled.key_averages()}
    total = sum(cost.values())
    most = sorted(cost, key=lambda name: -cost[name])[:SHOWN_OPERATIONS]
    return ", ".join(f"{name.removeprefix('aten::')} {cost[name] / total:.0%}" for name in most)


def _peak_gb(step: TrainingStep, device: str) -> float:
    """Return what a step needs at once: measured on CUDA, weights and what is kept for the backward pass elsewhere."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated() / 1e9
    weights = 16 * sum(p.numel() for p in step.network.parameters())
    return (weights + saved_bytes(step.network, step.loss)) / 1e9


def r2(names: Sequence[str], data: Path | None, out: Path, *, seeds: Sequence[int]) -> dict[str, dict[str, Any]]:
    """Train both designs on every corpus, print R² with its interval over seeds, and return the means."""
    found: dict[str, dict[str, list[float]]] = {task: {"r2_ours": [], "r2_twin": []} for task in TASKS}
    for name in names:
        if (there := recordings_of(name, data, out)) is None:
            continue
        recordings, made = there
        series = read_series(str(SERIES))
        reuse = [made.parent] if made.is_dir() else []
        results = run_series(series, recordings, out / name, config=load_preset("quick"), seeds=seeds, reuse=reuse)
        scores = pd.read_csv(results, keep_default_na=False)
        for task, model in TASKS.items():
            by_design = {}
            for variant in DESIGNS:
                chosen = (scores.metric == "r2") & (scores.model == model) & (scores.variant == variant)
                by_seed = scores[chosen].groupby("seed").value.mean().to_numpy()
                by_design[variant] = by_seed
                found[task][f"r2_{variant}"].append(by_seed.mean())
            by_design["difference"] = by_design["ours"] - by_design["twin"]
            for variant, values in by_design.items():
                mean, low, high, n = seed_interval(values)
                print(f"{name}, {model}, {variant}: R² {mean:.3f} [{low:.3f}, {high:.3f}], {n} seeds")
    return {
        task: {k: round(statistics.mean(v), 3) if v else None for k, v in each.items()} for task, each in found.items()
    }


def main() -> None:
    """Measure, then train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="*", choices=NAMES, default=NAMES)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rehearse", action="store_true", help="one small layer, to see that all of it runs")
    given = parser.parse_args()
    start = time.perf_counter()
    bf16 = "avx512_bf16" in _cpu_flags() or "amx_bf16" in _cpu_flags()
    found: dict[str, Any] = {"cpu": measure("cpu", bf16=bf16, repeats=given.repeats, rehearse=given.rehearse)}
    cuda = torch.cuda.is_available()
    found["cuda"] = measure("cuda", bf16=True, repeats=given.repeats, rehearse=given.rehearse) if cuda else None
    print(f"timed in {time.perf_counter() - start:.0f} s", flush=True)
    scores = r2([] if given.rehearse else given.only, given.data, given.out, seeds=given.seeds)
    for device in ("cpu", "cuda"):
        for task in TASKS:
            if found[device] is not None:
                found[device][task] |= scores[task]
    print(json.dumps(found))


def _cpu_flags() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""


if __name__ == "__main__":
    main()
