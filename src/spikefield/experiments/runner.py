"""The stages of an experiment: each trains, scores and keeps one model in a folder of its own, once.

The teacher and the student that learns from it are one piece of work; all other models are pieces of their own, which
may run side by side (`spikefield.experiments.fanout`).
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import spikefield.artifact as artifact
import spikefield.files as files
from spikefield.artifact import Model
from spikefield.config import ExperimentConfig, lfp_encoder, spike_encoder, student_encoder
from spikefield.experiments import outputs, scoring
from spikefield.experiments.corpus import Corpus, same_channels
from spikefield.experiments.workspace import Workspace, content_key
from spikefield.models.encoder import EncoderConfig
from spikefield.objectives.autoencoding import MaskedAutoencoder
from spikefield.objectives.distillation import Student
from spikefield.training.loop import EpochRecord
from spikefield.training.optimiser import OptimiserConfig
from spikefield.training.stages import RunConfig, distill, pretrain
from spikefield.windows.binned import BinnedSession

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


class Runner:
    """Runs the pieces of one experiment. It is sent whole to every worker."""

    def __init__(self, experiment: Experiment, workspace: Workspace, *, progress: bool) -> None:
        self.experiment = experiment
        self.workspace = workspace
        self.progress = progress

    def pieces(self) -> list[tuple[str, str, int]]:
        """Return (what, session, seed) of every piece of work, the longest first."""
        corpus, seeds = self.experiment.corpus, self.experiment.seeds
        field = [s.session_id for s in corpus.having("lfp")]
        pieces = [("teacher and student", "", seed) for seed in seeds] + [("ms-lfp", "", seed) for seed in seeds]
        pieces += [("ss-lfp", session_id, seed) for seed in seeds for session_id in field if len(field) > 1]
        return pieces + [("baselines", s.session_id, seeds[0]) for s in corpus.having("behavior")]

    def __call__(self, what: str, session_id: str, seed: int) -> list[Path]:
        """Run one piece, unless it is finished, and return the folders of its stages."""
        corpus, config = self.experiment.corpus, self.experiment.config
        if what == "baselines":
            return [self._baselines(*corpus.named([session_id], argument="session"))]
        if what == "teacher and student":
            spiking = corpus.having("spikes")
            teacher = self._autoencoder("teacher", spiking, spike_encoder(config, spiking), seed)
            return [teacher, self._student(teacher, seed)]
        if what == "ms-lfp":
            return self._field_autoencoders(corpus.having("lfp"), seed)
        chosen = corpus.named([session_id], argument="session")
        return [self._autoencoder(what, chosen, lfp_encoder(config, chosen), seed, suffix=session_id)]

    def missing(self) -> bool:
        """Tell whether some stage is not there yet."""
        folders = [folder for piece in self.pieces() for folder in self._folders(*piece)]
        return not all((self.workspace.out / folder).is_dir() for folder in folders)

    def _folders(self, what: str, session_id: str, seed: int) -> list[str]:
        if what == "baselines":
            return [f"baselines/{session_id}"]
        names = ("teacher", "distilled") if what == "teacher and student" else (what,)
        folders = [self._folder(name, session_id, seed) for name in names]
        field = self.experiment.corpus.having("lfp")
        if what == "ms-lfp" and len(field) == 1:
            folders.append(self._folder("ss-lfp", field[0].session_id, seed))
        return folders

    def _baselines(self, session: BinnedSession) -> Path:
        """Score the simple decoders on a session."""
        seeds = self.experiment.seeds
        key = content_key("baselines", list(seeds), self.experiment.inputs([session]))

        def run(folder: Path) -> None:
            found, predicted = scoring.score_baselines(session, seeds)
            files.write_json(folder / "scores.json", found)
            outputs.write_npz(folder / "predictions.npz", predicted)

        label = ("score", f"baselines {session.session_id}", None)
        return self.workspace.stage(f"baselines/{session.session_id}", key=key, label=label, run=run)

    def _field_autoencoders(self, field: Sequence[BinnedSession], seed: int) -> list[Path]:
        """Train over all sessions; where there is one alone, that autoencoder is its single-session one as well."""
        encoder = lfp_encoder(self.experiment.config, field)
        over_all = self._autoencoder("ms-lfp", field, encoder, seed)
        if len(field) > 1:
            return [over_all]
        return [over_all, self._autoencoder("ss-lfp", field, encoder, seed, field[0].session_id, same_as=over_all)]

    def _autoencoder(
        self,
        name: str,
        sessions: Sequence[BinnedSession],
        encoder: EncoderConfig,
        seed: int,
        suffix: str = "",
        same_as: Path | None = None,
    ) -> Path:
        config = self.experiment.config
        inputs = self.experiment.inputs(sessions)
        key = content_key(name, seed, encoder, config.autoencoding, config.pretraining, inputs)
        run = self._run_config(config.pretraining, seed, name, suffix, key)

        def train() -> Trained:
            if same_as is not None:
                return artifact.load(same_as).network, [
                    EpochRecord(**r) for r in files.read_json(same_as / "curve.json")
                ]
            return pretrain(sessions, encoder=encoder, autoencoding=config.autoencoding, run=run)

        return self._model(name, suffix, seed, key=key, sessions=sessions, scored=sessions, train=train, lineage={})

    def _student(self, teacher_folder: Path, seed: int) -> Path:
        corpus, config, paired = self.experiment.corpus, self.experiment.config, self.experiment.paired
        encoder = student_encoder(config, paired)
        teacher_key = files.read_json(teacher_folder / "stage.json")["key"]
        others = [s for s in same_channels(corpus, paired[0]) if s not in paired]
        inputs = self.experiment.inputs(corpus.having("lfp"))
        parts = (teacher_key, self.experiment.distill_on, encoder, config.distillation, config.distilling, inputs)
        key = content_key("distilled", seed, *parts)

        def train() -> Trained:
            student, curve = distill(
                paired,
                teacher=artifact.load(teacher_folder).encoder,
                student=encoder,
                distillation=config.distillation,
                run=self._run_config(config.distilling, seed, "distilled", "", key),
            )
            for session in others:
                student.encoder.space.share_session(session.session_id, like=paired[0].session_id)
            return student, curve

        return self._model(
            "distilled",
            "",
            seed,
            key=key,
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
        return self.workspace.stage(self._folder(name, suffix, seed), key=key, label=label, run=run)

    def _folder(self, name: str, suffix: str, seed: int) -> str:
        """The first seed's models have the plain names; the others' say their seed."""
        parts = [name, suffix, "" if seed == self.experiment.seeds[0] else f"seed{seed}"]
        return "models/" + "-".join(part for part in parts if part)

    def _run_config(self, optimiser: OptimiserConfig, seed: int, name: str, suffix: str, key: str) -> RunConfig:
        bins, hardware = self.experiment.corpus.window_bins, self.experiment.config.hardware
        label = f"{name} {suffix}".strip() + f" (seed {seed})"
        checkpoints = self.workspace.checkpoints(self._folder(name, suffix, seed), key=key)
        cache = self.workspace.out / ".teacher-cache"
        return RunConfig(optimiser, bins, seed, label, hardware, self.progress, checkpoints, cache)
