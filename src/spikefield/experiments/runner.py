"""The stages of an experiment: each trains, scores and keeps one model in a folder of its own, once.

The teacher and the student that learns from it are one piece of work; all other models are pieces of their own, which
may run side by side (`spikefield.experiments.fanout`).
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import spikefield.artifact as artifact
import spikefield.files as files
from spikefield.artifact import Model
from spikefield.config import ExperimentConfig, lfp_encoder, multimodal_encoder, spike_encoder, student_encoder
from spikefield.errors import InputError
from spikefield.experiments import outputs, scoring
from spikefield.experiments.corpus import Corpus, same_channels
from spikefield.experiments.study import SINGLE, STUDENTS, Study
from spikefield.experiments.workspace import Workspace, content_key
from spikefield.objectives.autoencoding import MaskedAutoencoder
from spikefield.objectives.distillation import Student
from spikefield.training.loop import EpochRecord
from spikefield.training.stages import RunConfig, distill, finetune, finetune_supervised, pretrain
from spikefield.windows.binned import BinnedSession

_ENCODERS = {("spikes",): spike_encoder, ("lfp",): lfp_encoder, ("spikes", "lfp"): multimodal_encoder}
_SEEDS_APART = 1000
Trained = tuple[MaskedAutoencoder | Student, list[EpochRecord]]


@dataclass(frozen=True)
class Experiment:
    """What is asked: sessions, configuration, the sessions to distil on, and the seeds."""

    corpus: Corpus
    config: ExperimentConfig
    paired: tuple[BinnedSession, ...]
    seeds: tuple[int, ...]
    study: Study = Study()

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
        corpus, seeds, models = self.experiment.corpus, self.experiment.seeds, self.experiment.study.models
        pieces = [("teacher and student", "", seed) for seed in seeds if {"teacher", *STUDENTS} & set(models)]
        pieces += [("ms-lfp", "", seed) for seed in seeds if "ms-lfp" in models]
        for name in (name for name in SINGLE if name in models and not self._is_many_session_one(name)):
            alone = self._alone(SINGLE[name])
            pieces += [(name, s.session_id, seed) for seed in seeds for s in alone]
        return pieces + [("baselines", s.session_id, seeds[0]) for s in corpus.having("behavior")]

    def __call__(self, what: str, session_id: str, seed: int) -> list[Path]:
        """Run one piece, unless it is finished, and return the folders of its stages."""
        corpus, models = self.experiment.corpus, self.experiment.study.models
        if what == "baselines":
            return [self._baselines(*corpus.named([session_id], argument="session"))]
        if what == "teacher and student":
            spiking = self._pretrained("spikes")
            teachers = self._autoencoder("teacher", spiking, seed)
            more = [self._autoencoder("teacher", spiking, s, kept=False)[-1] for s in self._seeds_beside(seed)]
            return teachers + [self._student(name, [teachers[-1], *more], seed) for name in STUDENTS if name in models]
        if what != "ms-lfp":
            return self._autoencoder(what, corpus.named([session_id], argument="session"), seed, session_id)
        over_all = self._autoencoder(what, self._pretrained("lfp"), seed)
        if self._is_many_session_one("ss-lfp"):
            field = corpus.having("lfp")
            over_all += self._autoencoder("ss-lfp", field, seed, field[0].session_id, same_as=over_all[0])
        return over_all

    def _seeds_beside(self, seed: int) -> list[int]:
        """Return the seeds of the teachers that a student of several has beside that of its own seed."""
        return [seed + _SEEDS_APART * i for i in range(1, self.experiment.config.distillation.n_teachers)]

    def missing(self) -> bool:
        """Tell whether some stage is not there yet."""
        folders = [folder for piece in self.pieces() for folder in self._folders(*piece)]
        return not all((self.workspace.out / folder).is_dir() for folder in folders)

    def _folders(self, what: str, session_id: str, seed: int) -> list[str]:
        """Return the folders of a piece's last stages."""
        if what == "baselines":
            return [f"baselines/{session_id}"]
        study, field = self.experiment.study, self.experiment.corpus.having("lfp")
        students = [name for name in STUDENTS if name in study.models]
        names = ("teacher", *students) if what == "teacher and student" else (what,)
        further = "supervised" if study.supervised else ""
        folders = [self._folder(n, session_id, "" if n in STUDENTS else further, seed) for n in names]
        if what == "ms-lfp" and self._is_many_session_one("ss-lfp"):
            folders.append(self._folder("ss-lfp", field[0].session_id, further, seed))
        return folders

    def _is_many_session_one(self, name: str) -> bool:
        """Tell whether the field autoencoder over all sessions is that of the only one as well."""
        models, study = self.experiment.study.models, self.experiment.study
        alone = len(self.experiment.corpus.having("lfp")) == 1 and not study.supervised
        return name == "ss-lfp" and alone and {"ss-lfp", "ms-lfp"} <= set(models)

    def _alone(self, modalities: tuple[str, ...]) -> Sequence[BinnedSession]:
        """Return the sessions that have a model of their own: all, or those held out from pretraining and compared."""
        held_out = self.experiment.study.pretrain_on is not None
        return self.experiment.paired if held_out else self.experiment.corpus.having(*modalities)

    def _pretrained(self, modality: str) -> list[BinnedSession]:
        """Return the sessions that the shared models of a modality are pretrained on."""
        corpus, wanted = self.experiment.corpus, self.experiment.study.pretrain_on
        chosen = corpus.sessions if wanted is None else corpus.named(wanted, argument="pretrain_on")
        if not (found := [s for s in chosen if s in corpus.having(modality)]):
            raise InputError(f"no session of `pretrain_on` holds {modality}. Name one that does.")
        return found

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

    def _autoencoder(
        self,
        name: str,
        sessions: Sequence[BinnedSession],
        seed: int,
        suffix: str = "",
        same_as: Path | None = None,
        kept: bool = True,
    ) -> list[Path]:
        """Pretrain, fine-tune to sessions that are distilled on but were not seen, then supervised where asked for.

        Only the models that are scored are returned; what is trained further with labels, or is not to be `kept` as a
        model of its own, lies under `stages`. A model that is the `same_as` another is read from there.
        """
        experiment, config = self.experiment, self.experiment.config
        modalities = SINGLE.get(name, ("spikes",) if name == "teacher" else ("lfp",))
        new = [] if name in SINGLE else [s for s in experiment.paired if s not in sessions]
        known = [*sessions, *new]
        encoder = _ENCODERS[modalities](config, sessions)
        key = content_key(name, seed, encoder, config.autoencoding, config.pretraining, experiment.inputs(sessions))
        last = kept and not experiment.study.supervised
        folder = self._folder(name, suffix, "", seed, last=last)

        def train(run: RunConfig) -> Trained:
            if same_as is not None:
                curve = [EpochRecord(**record) for record in files.read_json(same_as / "curve.json")]
                return artifact.load(same_as).network, curve
            return pretrain(sessions, encoder=encoder, autoencoding=config.autoencoding, run=run)

        found = [self._model(folder, name, seed, key=key, trained_on=sessions, scored=sessions, train=train)]
        if new:
            folder = self._folder(name, suffix, "tuned", seed, last=last)
            found.append(self._further(folder, found[-1], name, seed, known, new, "unsupervised"))
        if experiment.study.supervised:
            labelled = [s for s in known if s.behavior is not None]
            folder = self._folder(name, suffix, "supervised", seed, last=kept)
            found = [self._further(folder, found[-1], name, seed, known, labelled, "supervised")] if labelled else []
        return found

    def _further(
        self,
        folder: str,
        start: Path,
        name: str,
        seed: int,
        known: Sequence[BinnedSession],
        sessions: Sequence[BinnedSession],
        regime: str,
    ) -> Path:
        """Go on training a model on some sessions, without or with their behaviour."""
        optimiser = self.experiment.config.pretraining
        start_key = files.read_json(start / "stage.json")["key"]
        key = content_key(name, regime, seed, start_key, optimiser, self.experiment.inputs(sessions))

        def train(run: RunConfig) -> Trained:
            network = artifact.load(start).network
            assert isinstance(network, MaskedAutoencoder)
            go_on = finetune_supervised if regime == "supervised" else finetune
            return network, go_on(network, sessions, run=run)

        lineage = {"from": start_key, "regime": regime}
        return self._model(folder, name, seed, key=key, trained_on=known, scored=sessions, train=train, lineage=lineage)

    def _student(self, name: str, teacher_folders: Sequence[Path], seed: int) -> Path:
        corpus, config, study = self.experiment.corpus, self.experiment.config, self.experiment.study
        paired = list(self.experiment.paired)
        if name == "ms-distilled":
            paired += [s for s in self._pretrained("spikes") if s.lfp is not None and s not in paired]
        encoder = student_encoder(config, paired)
        distillation = replace(config.distillation, supervised=study.supervised)
        teacher_key = "+".join(files.read_json(folder / "stage.json")["key"] for folder in teacher_folders)
        others = [s for s in same_channels(corpus, paired[0]) if s not in paired]
        inputs = self.experiment.inputs(corpus.having("lfp"))
        on = [s.session_id for s in paired]
        key = content_key(name, seed, teacher_key, on, encoder, distillation, config.distilling, inputs)

        def train(run: RunConfig) -> Trained:
            teachers = [artifact.load(folder).network for folder in teacher_folders]
            first, *more = [teacher for teacher in teachers if isinstance(teacher, MaskedAutoencoder)]
            student, curve = distill(
                paired, teacher=first, more_teachers=more, student=encoder, distillation=distillation, run=run
            )
            for session in others:
                student.encoder.space.share_session(session.session_id, like=paired[0].session_id)
            return student, curve

        lineage = {"teacher": teacher_key, "regime": study.regime}
        folder, scored = self._folder(name, "", "", seed), [*paired, *others]
        return self._model(folder, name, seed, key=key, trained_on=paired, scored=scored, train=train, lineage=lineage)

    def _model(
        self,
        folder: str,
        name: str,
        seed: int,
        *,
        key: str,
        trained_on: Sequence[BinnedSession],
        scored: Sequence[BinnedSession],
        train: Callable[[RunConfig], Trained],
        lineage: dict[str, Any] | None = None,
    ) -> Path:
        """Train, score and keep one model, unless it is there already."""
        corpus = self.experiment.corpus

        def run(path: Path) -> None:
            network, curve = train(self._run_config(name, folder, seed, key))
            model = Model(
                name=name,
                network=network,
                trained_on=tuple(s.session_id for s in trained_on),
                bin_width_ms=trained_on[0].bin_width_ms,
                window_bins=corpus.window_bins,
                seed=seed,
                chain=corpus.binning.chain,
                lineage=(lineage or {}) | {"data": {s.session_id: corpus.hashes[s.session_id] for s in trained_on}},
            )
            for session in (s for s in trained_on if s not in scored):
                model.remember(session)
            scoring.score_model(model, scored)
            artifact.save(model, path)
            files.write_json(path / "curve.json", [asdict(record) for record in curve])

        label = folder.partition("/")[2].removesuffix(f"-seed{seed}")
        label = name + label.removeprefix(name).replace("-", " ", 1)
        return self.workspace.stage(folder, key=key, label=("train", label, seed), run=run)

    def _folder(self, name: str, suffix: str, further: str, seed: int, *, last: bool = True) -> str:
        """The first seed's models have the plain names; the others' say their seed."""
        parts = [name, suffix, further, "" if seed == self.experiment.seeds[0] else f"seed{seed}"]
        return ("models/" if last else "stages/") + "-".join(part for part in parts if part)

    def _run_config(self, name: str, folder: str, seed: int, key: str) -> RunConfig:
        config, bins = self.experiment.config, self.experiment.corpus.window_bins
        optimiser = config.distilling if name in STUDENTS else config.pretraining
        label = f"{folder.partition('/')[2].removesuffix(f'-seed{seed}')} (seed {seed})"
        checkpoints = self.workspace.checkpoints(folder, key=key)
        cache = self.workspace.out / ".teacher-cache"
        return RunConfig(optimiser, bins, seed, label, config.hardware, self.progress, checkpoints, cache)
