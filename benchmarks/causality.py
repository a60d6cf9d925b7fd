"""What causality costs: students of one teacher, with and without a view of the future, three seeds each.

    python benchmarks/causality.py [DATA] --out OUT [--seeds 0 1 2] [--only simulator rat] [--rehearse]

Simulator: the four sessions of `spikefield demo`; rat: DATA/cao2021_hpc/rat, left out where it is not here. Teachers
and recordings that `make bench-sim` and `make bench-real` made beside OUT are used again; otherwise each is made once.
Every student is kept as a model folder, so the same command goes on where it was cut short. Writes causality.md, and
for each of the two a CSV and a figure of latency against R², into OUT. Last line: JSON.

The simulator's field comes at 500 Hz, where a chain can look ahead: its zero-phase counterpart takes the same mains out
and keeps what is below half the bin rate, on the same split. (`paper` filters from 0.05 Hz, whose guards leave sessions
of five minutes no test time.) The rat's field comes once a bin, so that nothing is left for a chain to filter.
"""

import argparse
import csv
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from corpora import NAMES, recordings_of
from matplotlib.figure import Figure

import spikefield.artifact as artifact
import spikefield.files as files
from spikefield.config import ExperimentConfig, load_preset, spike_encoder, student_encoder
from spikefield.errors import InputError
from spikefield.evaluation.statistics import seed_interval
from spikefield.experiments import scoring
from spikefield.experiments.corpus import Corpus, check_as_learned, read_corpus, same_channels
from spikefield.experiments.experiment import paired_sessions
from spikefield.experiments.fanout import fan_out
from spikefield.experiments.planning import Work, plan_stages
from spikefield.experiments.workspace import Workspace, content_key
from spikefield.recordings import session as layout
from spikefield.report.drawing import write_png
from spikefield.training.optimiser import OptimiserConfig
from spikefield.training.stages import RunConfig, distill, pretrain
from spikefield.windows.binned import bin_session

SIDE_BY_SIDE = 2
AHEAD = (1, 2, 5)
ZERO_PHASE = {
    "steps": [
        {"step": "notch", "form": "zero_phase"},
        {"step": "reference"},
        {"step": "anti_alias", "form": "zero_phase"},
        {"step": "bins", "method": "center"},
        {"step": "zscore"},
    ]
}


@dataclass(frozen=True)
class Row:
    """One kind of student: what it is called, whether its chain may look ahead, and its configuration."""

    name: str
    zero_phase: bool
    changes: dict[str, Any]

    @property
    def folder(self) -> str:
        """Name of its model folders, but for the seed."""
        return self.name.replace(",", "").replace(" ", "-").replace("+", "plus")


BIDIRECTIONAL, CAUSAL = "bidirectional", "causal"
ROWS = (
    Row(BIDIRECTIONAL + ", zero-phase chain", True, {}),
    Row("causal attention alone", True, {"causal": True}),
    Row(BIDIRECTIONAL, False, {}),
    Row(CAUSAL, False, {"causal": True}),
    *(
        Row(f"causal, +{n} bins" if n > 1 else "causal, +1 bin", False, {"causal": True, "look_ahead_bins": n})
        for n in AHEAD
    ),
    Row("causal, attention of 2 s", False, {"causal": True, "attention_s": 2.0}),
)


@dataclass(frozen=True)
class Price:
    """The students of one corpus, sent whole to every worker; `zero_phase` is None where no chain can look ahead."""

    corpus: Corpus
    zero_phase: Corpus | None
    config: ExperimentConfig
    out: Path
    made: Path

    def rows(self) -> list[Row]:
        """Return the kinds of students that this corpus allows."""
        return [row for row in ROWS if not row.zero_phase or self.zero_phase is not None]

    def __call__(self, name: str, seed: int) -> Path:
        """Train the teacher of a seed (no name), or one student, unless it is there."""
        if not name:
            return self.teacher(seed)
        row = next(row for row in ROWS if row.name == name)
        corpus = self.zero_phase if row.zero_phase else self.corpus
        assert corpus is not None
        return self.student(row, corpus, seed)

    def teacher(self, seed: int) -> Path:
        """Return the folder of the teacher: the one that the experiment made, or else an own."""
        for folder in sorted((self.made / "models").glob("teacher*")):
            if _fits(folder, self.corpus, seed):
                return folder
        spiking, config = self.corpus.having("spikes"), self.config
        encoder = spike_encoder(config, spiking)
        key = content_key("teacher", seed, encoder, config.autoencoding, config.pretraining, _inputs(self.corpus))
        run = self._run(config.pretraining, seed, "teacher", key)

        def train() -> artifact.Model:
            network, _ = pretrain(spiking, encoder=encoder, autoencoding=config.autoencoding, run=run)
            return _model("teacher", network, self.corpus, [s.session_id for s in spiking], seed, {})

        return self._keep("teacher", seed, key, train, spiking)

    def student(self, row: Row, corpus: Corpus, seed: int) -> Path:
        """Distil one student."""
        teacher = artifact.load(self.teacher(seed))
        config, paired = replace(self.config, **row.changes), list(paired_sessions(corpus, None))
        others = [s for s in same_channels(corpus, paired[0]) if s not in paired]
        encoder, lineage = student_encoder(config, paired), artifact.weights_hash(teacher.network)
        key = content_key(row.name, seed, lineage, encoder, config.distillation, config.distilling, _inputs(corpus))
        run = self._run(config.distilling, seed, row.folder, key)

        def train() -> artifact.Model:
            network, _ = distill(
                paired, teacher=teacher.encoder, student=encoder, distillation=config.distillation, run=run
            )
            for session in others:
                network.encoder.space.share_session(session.session_id, like=paired[0].session_id)
            return _model(row.name, network, corpus, [s.session_id for s in paired], seed, {"teacher": lineage})

        return self._keep(row.folder, seed, key, train, [*paired, *others])

    def _keep(self, name: str, seed: int, key: str, train: Any, scored: Sequence[Any]) -> Path:
        def run(folder: Path) -> None:
            model = train()
            scoring.score_model(model, scored)
            artifact.save(model, folder)

        return Workspace(self.out).stage(f"models/{name}-seed{seed}", key=key, label=("train", name, seed), run=run)

    def _run(self, optimiser: OptimiserConfig, seed: int, name: str, key: str) -> RunConfig:
        checkpoints = Workspace(self.out).checkpoints(f"models/{name}-seed{seed}", key=key)
        label = f"{name} (seed {seed})"
        bins, cache = self.corpus.window_bins, self.out / ".teacher-cache"
        return RunConfig(optimiser, bins, seed, label, self.config.hardware, False, checkpoints, cache)


def _inputs(corpus: Corpus) -> list[Any]:
    return [asdict(corpus.binning), corpus.window_bins, corpus.hashes]


def _fits(folder: Path, corpus: Corpus, seed: int) -> bool:
    """Tell whether a finished experiment's teacher is of this seed and learned these recordings, split this way."""
    if not (folder / "config.json").is_file():
        return False
    model = artifact.load(folder)
    spiking = corpus.having("spikes")
    try:
        check_as_learned(model, spiking)
    except InputError:
        return False
    hashes = {s.session_id: corpus.hashes[s.session_id] for s in spiking}
    return model.seed == seed and model.lineage.get("data") == hashes


def _model(
    name: str, network: Any, corpus: Corpus, trained_on: list[str], seed: int, lineage: dict[str, Any]
) -> artifact.Model:
    return artifact.Model(
        name=name,
        network=network,
        trained_on=tuple(trained_on),
        bin_width_ms=float(corpus.binning.bin_width_ms or 0),
        window_bins=corpus.window_bins,
        seed=seed,
        chain=corpus.binning.chain,
        lineage=lineage | {"data": {s: corpus.hashes[s] for s in trained_on}},
    )


def with_zero_phase(corpus: Corpus, config: ExperimentConfig) -> Corpus | None:
    """Return the corpus through the zero-phase chain on the very same split, None where there is nothing to filter."""
    causal = [s for s in corpus.sessions if s.chain is not None and not s.chain.clock.on_grid]
    if not causal or corpus.binning.chain != "bins":
        return None
    binning = replace(corpus.binning, chain=ZERO_PHASE)
    with layout.load(layout.session_paths(corpus.folder)[0]) as session:
        chain = bin_session(session, config=binning).chain
    assert chain is not None
    guard_s = causal[0].split.guard_bins * causal[0].bin_width_ms / 1000 - chain.reach_s - 1e-6
    binning = replace(binning, split=replace(binning.split, guard_s=max(guard_s, 0.0)))
    found = read_corpus(corpus.folder, config=replace(config, binning=binning))
    pairs = list(zip(found.sessions, corpus.sessions, strict=True))
    same = all(np.array_equal(a.split.kind(k), b.split.kind(k)) for a, b in pairs for k in ("train", "valid", "test"))
    return found if same else None


def scores_of(folder: Path) -> dict[str, float]:
    """Return a student's R² on the session it was distilled on, and the mean of the others, if there are any."""
    model = artifact.load(folder)
    r2 = {s["session"]: s["value"] for s in model.scores if s["metric"] == "r2"}
    others = [value for session, value in r2.items() if session not in model.trained_on]
    own = float(np.mean([r2[s] for s in model.trained_on]))
    return {"own": own} | ({"others": float(np.mean(others))} if others else {})


def table(found: dict[str, dict[int, dict[str, float]]]) -> tuple[list[str], dict[str, Any]]:
    """Return the lines of a markdown table, and its numbers: means, and ratios to the bidirectional with intervals."""
    seeds = list(next(iter(found.values())))
    where = list(next(iter(found.values()))[seeds[0]])
    heads = [f"R² {w}: {', '.join(f'seed {s}' for s in seeds)} · mean" for w in where]
    heads += [f"{w}: of the bidirectional (95 %)" for w in where]
    lines = ["| student | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    numbers: dict[str, Any] = {}
    for name, by_seed in found.items():
        against = found[BIDIRECTIONAL]
        numbers[name] = {}
        cells, ratios = [], []
        for w in where:
            values = np.array([by_seed[s][w] for s in seeds])
            ratio = seed_interval(values / np.array([against[s][w] for s in seeds]))
            spread = seed_interval(values)
            cells.append(" ".join(f"{v:.3f}" for v in values) + f" · {spread.mean:.3f}")
            ratios.append(f"{ratio.mean:.3f} ({ratio.low:.3f}–{ratio.high:.3f})")
            numbers[name][w] = {
                "r2": round(spread.mean, 4), "r2_interval": [_plain(spread.low), _plain(spread.high)],
                "ratio": round(ratio.mean, 4), "ratio_interval": [_plain(ratio.low), _plain(ratio.high)],
            }  # fmt: skip
        lines.append(f"| {name} | " + " | ".join([*cells, *ratios]) + " |")
    return lines, numbers


def against_zero_phase(found: dict[str, dict[int, dict[str, float]]]) -> str:
    """Return the line that prices chain and attention together."""
    free, parts = found[ROWS[0].name], []
    for w in next(iter(free.values())):
        ratio = seed_interval(np.array([by[w] / free[seed][w] for seed, by in found[CAUSAL].items()]))
        parts.append(f"{w} {ratio.mean:.3f} ({ratio.low:.3f}–{ratio.high:.3f})")
    return (
        f"`{BIDIRECTIONAL}` filters causally: beside the first row, the price of the chain alone. Chain and attention "
        f"together, `{CAUSAL}` of `{ROWS[0].name}`: {', '.join(parts)}."
    )


def _plain(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


def curve(numbers: dict[str, Any], bin_width_ms: float, title: str, width_in: float, _: Sequence[str]) -> Figure:
    """Draw latency against R²; a line across is the bidirectional student."""
    figure = Figure(figsize=(width_in, 0.55 * width_in), layout="constrained")
    axes = figure.subplots()
    names = {0: CAUSAL} | {n: next(r.name for r in ROWS if r.changes.get("look_ahead_bins") == n) for n in AHEAD}
    for color, w in zip(("C0", "C1"), numbers[CAUSAL], strict=False):
        latency_ms = [n * bin_width_ms for n in names]
        points = [numbers[name][w] for name in names.values()]
        r2 = np.array([p["r2"] for p in points])
        ends = np.array([[p["r2"] if e is None else e for e in p["r2_interval"]] for p in points])
        axes.errorbar(latency_ms, r2, yerr=[r2 - ends[:, 0], ends[:, 1] - r2], color=color, marker="o", capsize=3,
                      label=f"{w}: causal student")  # fmt: skip
        axes.axhline(numbers[BIDIRECTIONAL][w]["r2"], color=color, linestyle="--", label=f"{w}: bidirectional student")
    axes.set(xlabel="look-ahead (ms)", ylabel="R²", title=title)
    axes.legend()
    return figure


def announce(price: Price, tasks: Sequence[tuple[str, int]], seeds: Sequence[int]) -> int:
    """Say how long it will take; return how many networks are to be trained."""
    work = Work(price.corpus.sessions, price.corpus.window_bins, len(price.corpus.sessions))
    minutes = {stage.name: stage.minutes for stage in plan_stages(work, price.config)}
    missing = sum(not (price.out / "models" / f"{_folder(name)}-seed{seed}").is_dir() for name, seed in tasks)
    known = any((price.made / "models").glob("teacher*"))
    teachers = 0 if known else sum(not (price.out / "models" / f"teacher-seed{s}").is_dir() for s in seeds)
    total = (missing * minutes["distilled"] + teachers * minutes["teacher"]) / SIDE_BY_SIDE
    print(
        f"{price.out.name}: {missing} students and {teachers} teachers to train, {SIDE_BY_SIDE} at a time: expect "
        f"about {max(total, 0.1):.0f} minutes",
        flush=True,
    )
    return missing + teachers


def _folder(name: str) -> str:
    return next(row.folder for row in ROWS if row.name == name)


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--rehearse", action="store_true", help="tiny recordings and few steps: does it run?")
    options = parser.parse_args()
    config, summary, page = load_preset("quick"), {}, ["# The price of causality", ""]
    if options.rehearse:
        few = {"epochs": 1, "min_steps": 0}
        config = replace(
            config, pretraining=replace(config.pretraining, **few), distilling=replace(config.distilling, **few)
        )
    for name in options.only:
        place = recordings_of(name, options.data, options.out, rehearse=options.rehearse)
        if place is not None:
            lines, summary[name] = price_of(name, *place, config, options)
            page += [f"## {name}", "", *lines, ""]
    files.write_text(options.out / "causality.md", "\n".join(page))
    print(
        json.dumps(
            {n: {row: {w: v["ratio"] for w, v in by.items()} for row, by in s.items()} for n, s in summary.items()}
        )
    )


def price_of(
    name: str, recordings: Path, made: Path, config: ExperimentConfig, options: argparse.Namespace
) -> tuple[list[str], dict[str, Any]]:
    """Train and score all students of one corpus; return the lines of its page and its numbers."""
    start_s = time.perf_counter()
    corpus = read_corpus(recordings, config=config)
    config = replace(config, binning=corpus.binning)
    price = Price(corpus, with_zero_phase(corpus, config), config, options.out / name, made)
    rows = price.rows()
    tasks = [(row.name, seed) for seed in options.seeds for row in rows]
    workers = SIDE_BY_SIDE if announce(price, tasks, options.seeds) else 1
    fan_out(price, [("", seed) for seed in options.seeds], workers=workers)
    folders = dict(zip(tasks, fan_out(price, tasks, workers=workers), strict=True))
    found = {row.name: {seed: scores_of(folders[row.name, seed]) for seed in options.seeds} for row in rows}
    lines, numbers = table(found)
    if price.zero_phase is not None:
        lines += ["", against_zero_phase(found)]
    if price.zero_phase is None:
        lines += [
            "",
            "No zero-phase chain on this split (a field that comes once a bin is not filtered): two rows are left out.",
        ]
    draw = partial(curve, numbers, float(corpus.binning.bin_width_ms or 0), f"{name}: what looking ahead buys")
    write_png(draw, options.out / f"latency-{name}.png")
    with files.whole(options.out / f"causality-{name}.csv") as path, path.open("w", newline="") as file:
        table_of = [(r, s, w, v) for r, by in found.items() for s, at in by.items() for w, v in at.items()]
        csv.writer(file).writerows([("student", "seed", "session", "r2"), *table_of])
    print("\n".join(lines), f"\n{name}: {time.perf_counter() - start_s:.0f} s", flush=True)
    return lines, numbers


if __name__ == "__main__":
    main()
