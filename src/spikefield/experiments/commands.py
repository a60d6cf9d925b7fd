"""What each command of the command line does, as a typed function; `spikefield.cli` turns them into flags."""

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import spikefield.artifact as artifact
import spikefield.files as files
import spikefield.training.checkpoint as checkpoint
from spikefield.artifact import Model
from spikefield.config import ExperimentConfig, lfp_encoder, spike_encoder, student_encoder
from spikefield.errors import InputError
from spikefield.evaluation.embedding import embed as represent
from spikefield.experiments import experiment as experiments
from spikefield.experiments import outputs, scoring
from spikefield.experiments.corpus import Corpus, check_as_learned, read_corpus, read_corpus_for, same_channels
from spikefield.experiments.workspace import content_key
from spikefield.models.encoder import MODALITIES
from spikefield.next_step import tell_next
from spikefield.objectives.autoencoding import MaskedAutoencoder
from spikefield.recordings import session as layout
from spikefield.recordings.simulator import MONTHLY, SimulatorConfig, ceiling_r2, simulate_sessions
from spikefield.training.loop import EpochRecord
from spikefield.training.optimiser import OptimiserConfig
from spikefield.training.processes import is_first
from spikefield.training.stages import RunConfig
from spikefield.training.stages import distill as train_student
from spikefield.training.stages import finetune as train_further
from spikefield.training.stages import pretrain as train_autoencoder
from spikefield.windows.binned import BinnedSession

log = logging.getLogger("spikefield")

_ENOUGH_SEEDS = 3


def simulate(
    *,
    out: Path,
    sessions: int = 4,
    subjects: int = 1,
    minutes: float = 5.0,
    months: bool = False,
    seed: int = 0,
) -> None:
    """Write simulated recordings, whose best attainable score is known, as prepared sessions.

    Args:
        out: folder to write.
        sessions: number of sessions, dealt out over the subjects.
        subjects: number of subjects.
        minutes: length of each session.
        months: let a month pass between a subject's sessions: units fade and the field's pattern moves.
        seed: of the whole corpus.

    Raises:
        InputError: `out` is not empty.
    """
    config = SimulatorConfig(n_sessions=sessions, n_subjects=subjects, session_s=60 * minutes)
    if months:
        config = replace(config, **MONTHLY)
    if out.exists() and any(out.iterdir()):
        raise InputError(f"`out` {out} is not empty. Choose another folder.")
    ceilings = {}
    with files.whole(out) as temporary:
        for simulated in simulate_sessions(config, seed=seed):
            layout.save(simulated.to_data(), temporary / f"{simulated.session}.h5")
            ceilings[simulated.session] = round(ceiling_r2(simulated), 4)
            log.info("%s: best attainable R² %.3f", simulated.session, ceilings[simulated.session])
        files.write_json(temporary / "ceiling.json", ceilings)


def experiment(
    data: Path,
    *,
    out: Path,
    config: ExperimentConfig,
    seeds: list[int] = [0],  # noqa: B006
    distill_on: list[str] | None = None,
    workers: int | None = None,
    ray_address: str | None = None,
) -> None:
    """Teacher, field autoencoders, student and baselines over a folder of prepared sessions, then the report.

    Args:
        data: folder of prepared sessions.
        out: folder for everything that comes out; finished stages in it are reused.
        seeds: one run a seed.
        distill_on: ids of the sessions to distil on; by default the first that holds spikes and field.
        workers: how many models train side by side, each on one core; by default one a core, and one on a GPU.
        ray_address: a running Ray cluster to use instead of this machine's cores.
    """
    ceiling = data / "ceiling.json"
    report_path = experiments.run_experiment(
        data,
        out,
        config=config,
        seeds=seeds,
        distill_on=distill_on,
        ceiling_r2=files.read_json(ceiling) if ceiling.exists() else None,
        command=_command(),
        workers=workers,
        ray_address=ray_address,
    )
    _print_summary(out)
    print(f"report: {report_path}")
    if len(seeds) < _ENOUGH_SEEDS:
        print("try: the same command with --seeds 0 1 2, which keeps what is finished and shows how far results vary")
    tell_next("audit", out, after="re-checks it all for leaks")


def demo(*, out: Path = Path("demo"), config: ExperimentConfig, seeds: list[int] = [0]) -> None:  # noqa: B006
    """Simulate four sessions of five minutes, then run the whole experiment on them.

    Args:
        out: folder for everything that comes out; finished stages in it are reused.
        seeds: one run a seed.
    """
    recordings = out / "recordings"
    if not recordings.exists():
        log.info("simulating 4 sessions of 5 minutes")
        simulate(out=recordings)
    experiment(recordings, out=out / "experiment", config=config, seeds=seeds)


def pretrain(
    data: Path,
    *,
    out: Path,
    config: ExperimentConfig,
    modality: str = "spikes",
    sessions: list[str] | None = None,
    seed: int = 0,
) -> None:
    """Train a masked autoencoder on the spikes or the field of one or many sessions.

    Args:
        data: folder of prepared sessions.
        out: model folder to write.
        modality: spikes or lfp.
        sessions: ids of the sessions to train on; by default all that hold the modality.
        seed: of weights, windows and masks.
    """
    _check_new(out)
    _check_modality(modality)
    corpus = read_corpus(data, config=config)
    chosen = corpus.named(sessions, argument="sessions") if sessions else _holding(corpus, modality)
    encoder = (spike_encoder if modality == "spikes" else lfp_encoder)(config, chosen)
    parts = ("pretrain", encoder, config.autoencoding)
    run = _run(corpus, chosen, config.pretraining, config, seed, f"pretrain {modality}", out, parts)
    network, curve = train_autoencoder(chosen, encoder=encoder, autoencoding=config.autoencoding, run=run)
    name = "teacher" if modality == "spikes" else "ms-lfp"
    _keep(out, _model(name, network, chosen, corpus, seed), chosen, curve, run)


def finetune(
    model: Path,
    data: Path,
    *,
    out: Path,
    config: ExperimentConfig,
    sessions: list[str] | None = None,
    seed: int = 0,
) -> None:
    """Go on training an autoencoder, without labels, on sessions that it knows or has never seen.

    Args:
        model: folder of a teacher or a field autoencoder.
        data: folder of prepared sessions.
        out: model folder to write.
        sessions: ids of the sessions to train on; by default all that hold the modality.
        seed: of new space embeddings, windows and masks.

    Raises:
        InputError: `model` is a student, or `out` exists.
    """
    _check_new(out)
    start = artifact.load(model)
    if not isinstance(start.network, MaskedAutoencoder):
        raise InputError(f"`model` {model} is a student; only autoencoders are fine-tuned. Give a teacher or ms-lfp.")
    lineage = artifact.weights_hash(start.network)
    corpus = read_corpus_for(start, data, config=config)
    modality = start.encoder.config.modality
    chosen = corpus.named(sessions, argument="sessions") if sessions else _holding(corpus, modality)
    check_as_learned(start, chosen)
    run = _run(corpus, chosen, config.pretraining, config, seed, f"finetune {modality}", out, ("finetune", lineage))
    curve = train_further(start.network, chosen, run=run)
    tuned = _model(start.name, start.network, chosen, corpus, seed)
    tuned.lineage["from"] = lineage
    _keep(out, tuned, chosen, curve, run)


def distill(
    data: Path,
    *,
    out: Path,
    teacher: Path,
    config: ExperimentConfig,
    on: list[str] | None = None,
    seed: int = 0,
) -> None:
    """Train a student that sees the field potential alone towards a frozen spike teacher.

    Args:
        data: folder of prepared sessions.
        out: model folder to write.
        teacher: model folder of a spike teacher that knows the sessions.
        on: ids of the paired sessions; by default the first that holds spikes and field.
        seed: of weights and windows.

    Raises:
        InputError: `teacher` reads the field potential, or `out` exists.
    """
    _check_new(out)
    guide = artifact.load(teacher)
    if guide.encoder.config.modality != "spikes":
        raise InputError(
            f"`teacher` {teacher} reads the field potential; a teacher reads spikes. Give a spike teacher."
        )
    corpus = read_corpus_for(guide, data, config=config)
    paired = experiments.paired_sessions(corpus, on)
    check_as_learned(guide, paired)
    encoder, lineage = student_encoder(config, paired), artifact.weights_hash(guide.network)
    parts = ("distill", lineage, encoder, config.distillation)
    run = _run(corpus, paired, config.distilling, config, seed, "distil", out, parts)
    network, curve = train_student(
        paired, teacher=guide.encoder, student=encoder, distillation=config.distillation, run=run
    )
    others = [s for s in same_channels(corpus, paired[0]) if s not in paired]
    for session in others:
        network.encoder.space.share_session(session.session_id, like=paired[0].session_id)
    student = _model("distilled", network, paired, corpus, seed)
    student.lineage["teacher"] = lineage
    _keep(out, student, [*paired, *others], curve, run)


def embed(model: Path, data: Path, *, out: Path, config: ExperimentConfig) -> None:
    """Write the model's representation of every bin, one `.npz` a session.

    Args:
        model: model folder.
        data: folder of prepared sessions.
        out: folder to write.
    """
    loaded = artifact.load(model)
    corpus = read_corpus_for(loaded, data, config=config)
    for session in _known(loaded, corpus):
        z = represent(loaded.encoder, session, window_bins=loaded.window_bins)
        arrays = {"z": z, "time_s": session.time_s} | {k: session.split.kind(k) for k in ("train", "valid", "test")}
        outputs.write_npz(out / f"{session.session_id}.npz", arrays)


def evaluate(model: Path, data: Path, *, out: Path, config: ExperimentConfig) -> None:
    """Fit readouts on training time, score them on test time, and write the rows of `results.csv`.

    Args:
        model: model folder.
        data: folder of prepared sessions.
        out: CSV file to write.
    """
    loaded = artifact.load(model)
    corpus = read_corpus_for(loaded, data, config=config)
    loaded.scores, loaded.readouts = [], {}
    scoring.score_model(loaded, _known(loaded, corpus))
    outputs.write_table(out, scoring.COLUMNS, loaded.scores)
    for row in loaded.scores:
        if row["metric"] == "r2":
            print(f"{row['session']}  R² {row['value']:.3f}  ({row['n_test']} test bins)")


def report(out: Path) -> None:
    """Write the report of a finished experiment again.

    Args:
        out: the experiment's folder.
    """
    from spikefield.report.page import write_report

    print(f"report: {write_report(out)}")


def _command() -> str:
    return " ".join(["spikefield", *sys.argv[1:]])


def _check_new(out: Path) -> None:
    if out.exists():
        raise InputError(f"`out` {out} exists. Choose another folder, or remove it first.")
    files.check_writable(out)


def _check_modality(modality: str) -> None:
    if modality not in MODALITIES:
        raise InputError(f"`modality` must be one of {', '.join(MODALITIES)}, got {modality!r}. Choose one of them.")


def _holding(corpus: Corpus, modality: str) -> list[BinnedSession]:
    if not (found := corpus.having(modality)):
        raise InputError(f"no session holds {modality}. Prepare recordings that do.")
    return found


def _known(model: Model, corpus: Corpus) -> list[BinnedSession]:
    known = [s for s in corpus.sessions if s.session_id in model.encoder.space.rows]
    if not known:
        ids = ", ".join(model.encoder.space.rows)
        raise InputError(f"the model knows {ids}, none of which is in the data. Run `spikefield finetune` on it first.")
    check_as_learned(model, known)
    return known


def _run(
    corpus: Corpus,
    sessions: Sequence[BinnedSession],
    optimiser: OptimiserConfig,
    config: ExperimentConfig,
    seed: int,
    label: str,
    out: Path,
    parts: Sequence[Any],
) -> RunConfig:
    """Describe a run; its checkpoints lie beside `out`, under a key of all that determines it (`parts` and more)."""
    hashes = [[s.session_id, corpus.hashes[s.session_id]] for s in sessions]
    key = content_key(*parts, seed, optimiser, corpus.binning, corpus.window_bins, hashes)
    checkpoints = checkpoint.folder_for(out, key)
    return RunConfig(
        optimiser,
        corpus.window_bins,
        seed,
        label,
        config.hardware,
        checkpoints=checkpoints,
        teacher_cache=out.parent / ".teacher-cache",
    )


def _model(name: str, network: artifact.Network, sessions: Sequence[BinnedSession], corpus: Corpus, seed: int) -> Model:
    return Model(
        name=name,
        network=network,
        trained_on=tuple(s.session_id for s in sessions),
        bin_width_ms=sessions[0].bin_width_ms,
        window_bins=corpus.window_bins,
        seed=seed,
        chain=corpus.binning.chain,
        lineage={"data": {s.session_id: corpus.hashes[s.session_id] for s in sessions}},
    )


def _keep(
    out: Path, model: Model, scored: Sequence[BinnedSession], curve: Sequence[EpochRecord], run: RunConfig
) -> None:
    """Score and write the model; its checkpoints have served then. Of many processes the first one does it."""
    if not is_first():
        return
    scoring.score_model(model, scored)
    with files.whole(out) as temporary:
        temporary.mkdir(parents=True)
        artifact.save(model, temporary)
        (temporary / "curve.json").write_text(json.dumps([asdict(record) for record in curve]))
    if run.checkpoints is not None:
        checkpoint.remove(run.checkpoints)
    print(f"model: {out}")


def _print_summary(out: Path) -> None:
    from spikefield.report.reading import read_experiment
    from spikefield.report.tables import format_summary
    from spikefield.report.verdict import judge

    found = read_experiment(out)
    verdict = judge(found.results, found.run)
    print(format_summary(found.results, cautions=[caution.text for caution in verdict.cautions]))
    print(verdict.sentence)


__all__ = ["demo", "distill", "embed", "evaluate", "experiment", "finetune", "pretrain", "report", "simulate"]
