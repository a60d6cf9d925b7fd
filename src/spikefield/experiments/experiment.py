"""The main job: teacher, field autoencoders, student and baselines over a folder of prepared sessions, then the page.

    prepared sessions -> bins and splits -> baselines, teacher, ms-lfp, ss-lfp, distilled -> results.csv, report.html

Every model is one stage of the workspace: trained, given its readouts, scored and kept in a folder of its own.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import spikefield.artifact as artifact
import spikefield.files as files
from spikefield.artifact import Model
from spikefield.config import ExperimentConfig, lfp_encoder, spike_encoder, student_encoder
from spikefield.errors import InputError
from spikefield.experiments import outputs, scoring
from spikefield.experiments.corpus import Corpus, read_corpus, same_channels
from spikefield.experiments.forecast import forecast
from spikefield.experiments.workspace import Workspace, content_key
from spikefield.models.encoder import EncoderConfig
from spikefield.objectives.autoencoding import MaskedAutoencoder
from spikefield.objectives.distillation import Student
from spikefield.training.loop import EpochRecord
from spikefield.training.optimiser import OptimiserConfig
from spikefield.training.stages import RunConfig, distill, pretrain
from spikefield.windows.binned import BinnedSession

log = logging.getLogger("spikefield")
Trained = tuple[MaskedAutoencoder | Student, list[EpochRecord]]


@dataclass(frozen=True)
class Experiment:
    """What is asked: sessions, configuration, the sessions to distil on, and the seeds."""

    corpus: Corpus
    config: ExperimentConfig
    paired: tuple[BinnedSession, ...]
    seeds: tuple[int, ...]

    @property
    def distill_on(self) -> tuple[str, ...]:
        """Ids of the sessions that the student is distilled on."""
        return tuple(s.session_id for s in self.paired)

    def inputs(self, sessions: Sequence[BinnedSession]) -> list[Any]:
        """Return all that a stage's outcome depends on besides its own configuration."""
        hashes = [[s.session_id, self.corpus.hashes[s.session_id]] for s in sessions]
        return [asdict(self.corpus.binning), self.corpus.window_bins, hashes]


def run_experiment(
    data: Path,
    out: Path,
    *,
    config: ExperimentConfig,
    seeds: Sequence[int] = (0,),
    distill_on: Sequence[str] | None = None,
    ceiling_r2: dict[str, float] | None = None,
    command: str = "",
    progress: bool = True,
) -> Path:
    """Run every stage that is not finished, write the results and the report, and return the report's path.

    Raises:
        InputError: the data cannot be used, or `out` holds another experiment.
    """
    if not seeds or len(set(seeds)) != len(seeds):
        raise InputError(f"`seeds` must be one or more different whole numbers, got {list(seeds)}.")
    corpus = read_corpus(data, config=config)
    config = replace(config, binning=corpus.binning)
    experiment = Experiment(corpus, config, paired_sessions(corpus, distill_on), tuple(seeds))
    workspace = Workspace(out)
    workspace.claim({"config": asdict(config), "data": corpus.hashes, "distill_on": list(experiment.distill_on)})
    outputs.write_splits(out, corpus.sessions)
    runner = _Runner(experiment, workspace, progress=progress)
    for line in corpus.chosen:
        log.info(line)
    if runner.missing():
        log.info(forecast(experiment))
    runner.baselines()
    for seed in seeds:
        runner.one_seed(seed)
    return outputs.write_outputs(
        workspace,
        experiment,
        models=runner.models,
        baselines=runner.baseline_rows,
        ceiling_r2=ceiling_r2,
        command=command,
    )


class _Runner:
    """Runs the stages of one experiment, seed by seed."""

    def __init__(self, experiment: Experiment, workspace: Workspace, *, progress: bool) -> None:
        self.experiment = experiment
        self.workspace = workspace
        self.progress = progress
        self.models: list[Path] = []
        self.baseline_rows: list[dict[str, Any]] = []

    def missing(self) -> bool:
        """Tell whether the last model of some seed is not there yet."""
        names = [self._folder("distilled", "", seed) for seed in self.experiment.seeds]
        return not all((self.workspace.out / name).is_dir() for name in names)

    def baselines(self) -> None:
        """Score the simple decoders on every session with behaviour."""
        seeds, scorable = self.experiment.seeds, self.experiment.corpus.having("behavior")
        key = content_key("baselines", list(seeds), self.experiment.inputs(scorable))

        def run(folder: Path) -> None:
            found = [row for session in scorable for row in scoring.score_baselines(session, seeds)]
            files.write_json(folder / "scores.json", found)

        folder = self.workspace.stage("baselines", key=key, label=("baselines", "ridge, null", None), run=run)
        self.baseline_rows = files.read_json(folder / "scores.json")

    def one_seed(self, seed: int) -> None:
        """Train every model of one seed."""
        corpus, config = self.experiment.corpus, self.experiment.config
        spiking, field = corpus.having("spikes"), corpus.having("lfp")
        teacher = self._autoencoder("teacher", spiking, spike_encoder(config, spiking), seed)
        self._autoencoder("ms-lfp", field, lfp_encoder(config, field), seed)
        for session in field:
            self._autoencoder("ss-lfp", [session], lfp_encoder(config, [session]), seed, suffix=session.session_id)
        self._student(teacher, seed)

    def _autoencoder(
        self, name: str, sessions: Sequence[BinnedSession], encoder: EncoderConfig, seed: int, suffix: str = ""
    ) -> Path:
        config = self.experiment.config

        def train() -> Trained:
            run = self._run_config(config.pretraining, seed, f"{name} {suffix}".strip())
            return pretrain(sessions, encoder=encoder, autoencoding=config.autoencoding, run=run)

        parts = (name, seed, encoder, config.autoencoding, config.pretraining, self.experiment.inputs(sessions))
        return self._model(
            name, suffix, seed, key=content_key(*parts), sessions=sessions, scored=sessions, train=train, lineage={}
        )

    def _student(self, teacher_folder: Path, seed: int) -> Path:
        corpus, config, paired = self.experiment.corpus, self.experiment.config, self.experiment.paired
        encoder = student_encoder(config, paired)
        teacher_key = files.read_json(teacher_folder / "stage.json")["key"]
        others = [s for s in same_channels(corpus, paired[0]) if s not in paired]

        def train() -> Trained:
            student, curve = distill(
                paired,
                teacher=artifact.load(teacher_folder).encoder,
                student=encoder,
                distillation=config.distillation,
                run=self._run_config(config.distilling, seed, "distilled"),
            )
            for session in others:
                student.encoder.space.share_session(session.session_id, like=paired[0].session_id)
            return student, curve

        inputs = self.experiment.inputs(corpus.having("lfp"))
        parts = (teacher_key, self.experiment.distill_on, encoder, config.distillation, config.distilling, inputs)
        return self._model(
            "distilled",
            "",
            seed,
            key=content_key("distilled", seed, *parts),
            sessions=paired,
            scored=[*paired, *others],
            train=train,
            lineage={"teacher": teacher_key},
        )

    def _model(
        self,
        name: str,
        suffix: str,
        seed: int,
        *,
        key: str,
        sessions: Sequence[BinnedSession],
        scored: Sequence[BinnedSession],
        train: Callable[[], Trained],
        lineage: dict[str, Any],
    ) -> Path:
        """Train, score and keep one model, unless it is there already."""
        corpus = self.experiment.corpus

        def run(folder: Path) -> None:
            network, curve = train()
            model = Model(
                name=name,
                network=network,
                trained_on=tuple(s.session_id for s in sessions),
                bin_width_ms=sessions[0].bin_width_ms,
                window_bins=corpus.window_bins,
                seed=seed,
                chain=corpus.binning.chain,
                lineage=lineage | {"data": {s.session_id: corpus.hashes[s.session_id] for s in sessions}},
            )
            scoring.score_model(model, scored)
            artifact.save(model, folder)
            files.write_json(folder / "curve.json", [asdict(record) for record in curve])

        label = ("train", f"{name} {suffix}".strip(), seed)
        path = self.workspace.stage(self._folder(name, suffix, seed), key=key, label=label, run=run)
        self.models.append(path)
        return path

    def _folder(self, name: str, suffix: str, seed: int) -> str:
        """The first seed's models have the plain names; the others' say their seed."""
        parts = [name, suffix, "" if seed == self.experiment.seeds[0] else f"seed{seed}"]
        return "models/" + "-".join(part for part in parts if part)

    def _run_config(self, optimiser: OptimiserConfig, seed: int, label: str) -> RunConfig:
        bins, hardware = self.experiment.corpus.window_bins, self.experiment.config.hardware
        return RunConfig(optimiser, bins, seed, f"{label} (seed {seed})", hardware, self.progress)


def paired_sessions(corpus: Corpus, wanted: Sequence[str] | None) -> tuple[BinnedSession, ...]:
    """Return the sessions to distil on; by default the first that holds spikes and field."""
    possible = corpus.having("spikes", "lfp")
    if not possible:
        raise InputError(
            "no session holds both spikes and lfp, so no student can be distilled. Add a paired recording, "
            "or run `spikefield pretrain` on what there is."
        )
    chosen = corpus.named(wanted, argument="distill_on") if wanted else possible[:1]
    for session in chosen:
        session.require("spikes")
        session.require("lfp")
    return tuple(chosen)
