"""Before the long work: what each stage will cost in weights, tokens, operations, time and memory, here and elsewhere.

Each network makes a few steps (`step_cost`) on windows of the recordings, or of made-up ones described by numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from spikefield.config import ExperimentConfig, lfp_encoder, spike_encoder, student_encoder, window_bins
from spikefield.errors import InputError
from spikefield.experiments.corpus import read_corpus
from spikefield.experiments.step_cost import Step, matmul_flops, measure_step
from spikefield.models.encoder import Encoder
from spikefield.objectives.autoencoding import MaskedAutoencoder
from spikefield.objectives.distillation import Student
from spikefield.recordings.arrays import from_arrays
from spikefield.training.loop import loaders
from spikefield.training.optimiser import OptimiserConfig, stretched
from spikefield.windows.binned import BinnedSession, BinningConfig, bin_session

_BYTES_A_WEIGHT = 20  # weight, gradient, two moments, the best so far
_LAUNCH_S = 5e-6  # that a GPU needs to be given one kernel
_MADE_UP_MINUTES = 2.0


@dataclass(frozen=True)
class Machine:
    """A machine in numbers: floating-point operations a second and memory of one device, and how many of them."""

    flops: float
    memory_gb: float
    devices: int = 1

    def __post_init__(self) -> None:
        if self.flops <= 0 or self.memory_gb <= 0 or self.devices < 1:
            raise InputError(
                "`flops` and `memory_gb` must be positive and `devices` 1 or more, "
                f"got {self.flops}, {self.memory_gb} and {self.devices}. "
                "Give the machine's data sheet values."
            )


@dataclass(frozen=True)
class StagePlan:
    """What one stage will cost; `minutes` and `flops` are of one run from its first epoch to its last."""

    name: str
    runs: int
    step: Step
    steps: int

    @property
    def minutes(self) -> float:
        """Minutes of a run on this machine."""
        return self.steps * self.step.seconds / 60

    @property
    def flops(self) -> float:
        """Operations of a run."""
        return self.steps * self.step.flops

    @property
    def memory_gb(self) -> float:
        """Weights, gradients, moments, and what is kept for the backward pass."""
        return (_BYTES_A_WEIGHT * self.step.parameters + self.step.activation_bytes) / 1e9

    def minutes_on(self, machine: Machine, *, share: float) -> float:
        """Return the time on a machine that is used to this share of its peak.

        Devices beyond the windows of a step have nothing to do, and no step is shorter than starting its kernels takes.
        """
        devices = min(machine.devices, self.step.windows)
        step_s = self.step.flops / (share * machine.flops * devices)
        return self.steps * max(step_s, self.launch_s) / 60

    @property
    def launch_s(self) -> float:
        """Seconds that starting the kernels of a step takes."""
        return self.step.kernels * _LAUNCH_S


@dataclass(frozen=True)
class Work:
    """The recordings to plan for: a few of them, and how much more there is of the same kind."""

    sessions: Sequence[BinnedSession]
    window_bins: int
    n_sessions: int
    times: float = 1.0

    def having(self, *modalities: str) -> list[BinnedSession]:
        """Return the sessions that hold these."""
        held = {"spikes": "counts", "lfp": "lfp"}
        return [s for s in self.sessions if all(getattr(s, held[m]) is not None for m in modalities)]


def plan(
    data: Path | None = None,
    *,
    config: ExperimentConfig,
    sessions: int = 4,
    minutes: float = 10.0,
    units: int = 96,
    channels: int = 96,
    flops: float | None = None,
    memory_gb: float | None = None,
    devices: int = 1,
) -> None:
    """Print what each stage would cost here, and on a machine described in numbers, before anything is trained.

    Args:
        data: folder of prepared sessions; without it the next four numbers describe the recordings.
        sessions: how many recordings.
        minutes: length of each.
        units: of each.
        channels: of each.
        flops: floating-point operations a second of one device of the other machine (a GPU's bf16 peak is near 1e15).
        memory_gb: memory of one device of the other machine.
        devices: how many devices the other machine has.
    """
    if data is not None:
        corpus = read_corpus(data, config=config)
        work = Work(corpus.sessions, corpus.window_bins, len(corpus.sessions))
    else:
        work = described(config, sessions=sessions, minutes=minutes, units=units, channels=channels)
    stages, peak = plan_stages(work, config), matmul_flops()
    print("\n".join(table(stages, peak)))
    if flops is not None:
        machine = Machine(flops, memory_gb or psutil.virtual_memory().total / 1e9, devices)
        print("\n".join(table_on(stages, peak, machine)))


def described(config: ExperimentConfig, *, sessions: int, minutes: float, units: int, channels: int) -> Work:
    """Make up one short recording of this kind, and say how often its like is there.

    Raises:
        InputError: a number is not positive.
    """
    for name, value in (("sessions", sessions), ("minutes", minutes), ("units", units), ("channels", channels)):
        if value <= 0:
            raise InputError(f"`{name}` must be positive, got {value}. Leave it out for the default.")
    width_ms = config.binning.bin_width_ms or 20.0
    one = noise_session(_MADE_UP_MINUTES * 60, units=units, channels=channels, bin_width_ms=width_ms)
    return Work([one], window_bins(config, width_ms), sessions, sessions * minutes / _MADE_UP_MINUTES)


def noise_session(seconds: float, *, units: int, channels: int, bin_width_ms: float) -> BinnedSession:
    """Return a binned session of noise, to measure on what training costs."""
    n_bins, rng = round(seconds * 1000 / bin_width_ms), np.random.default_rng(0)
    noise = from_arrays(
        spike_counts=rng.poisson(0.2, (n_bins, units)),
        bin_width_ms=bin_width_ms,
        lfp=rng.normal(size=(n_bins, channels)),
        lfp_rate_hz=1000 / bin_width_ms,
    )
    return bin_session(noise, config=BinningConfig(bin_width_ms=bin_width_ms))


def plan_stages(work: Work, config: ExperimentConfig) -> list[StagePlan]:
    """Return the cost of every stage of an experiment on these recordings."""
    spiking, field, paired = work.having("spikes"), work.having("lfp"), work.having("spikes", "lfp")[:1]
    n_field = len(field) + work.n_sessions - len(work.sessions)  # one alone is its own "all of them"
    stages = []
    for name, chosen, encoder_of, all_of_them in (
        ("teacher", spiking, spike_encoder, True),
        ("ms-lfp", field, lfp_encoder, True),
        ("ss-lfp", field[:1] if n_field > 1 else [], lfp_encoder, False),
    ):
        if chosen:
            network = MaskedAutoencoder(Encoder(encoder_of(config, chosen)), config.autoencoding)
            runs = 1 if all_of_them else n_field
            stages.append(_stage(name, network, chosen, work, config.pretraining, runs=runs, everything=all_of_them))
    if paired:
        n_channels = paired[0].require("lfp").shape[1]
        dim = config.transformer.dim
        student = Student(
            Encoder(student_encoder(config, paired)), config.distillation, n_channels=n_channels, teacher_dim=dim
        )
        stages.append(_stage("distilled", student, paired, work, config.distilling, runs=1, everything=False))
    return stages


def _stage(
    name: str,
    network: MaskedAutoencoder | Student,
    sessions: Sequence[BinnedSession],
    work: Work,
    optimiser: OptimiserConfig,
    *,
    runs: int,
    everything: bool,
) -> StagePlan:
    """Plan a stage that trains on all recordings (`everything`) or on one of them."""
    more = work.n_sessions - len(work.sessions) if everything else 0
    step = measure_step(network, sessions, window_bins=work.window_bins, optimiser=optimiser, more_sessions=more)
    modality = network.encoder.config.modality
    train, _ = loaders(
        sessions, modalities=(modality,), window_bins=work.window_bins, batch_windows=optimiser.batch_windows, seed=0
    )
    times = work.times if everything else work.times / work.n_sessions * len(work.sessions)
    epoch = max(round(len(train) * times), 1)
    return StagePlan(name, runs, step, epoch * stretched(optimiser, steps_per_epoch=epoch).epochs)


def table(stages: Sequence[StagePlan], peak: float) -> list[str]:
    """Return the lines of the plan for this machine."""
    free_gb = psutil.virtual_memory().available / 1e9
    lines = [
        f"this machine: {peak / 1e9:.0f} GFLOP/s in products of matrices, {free_gb:.0f} GB of memory free",
        f"{'stage':<10} {'runs':>5} {'weights':>11} {'tokens/step':>11} {'steps':>8} {'PFLOP':>8} {'of peak':>7} "
        f"{'minutes':>8} {'GB':>6}",
    ]
    for s in stages:
        lines.append(
            f"{s.name:<10} {s.runs:>5} {s.step.parameters:>11,} {s.step.tokens:>11,} {s.steps:>8,} "
            f"{s.flops / 1e15:>8.3g} {s.step.flops / s.step.seconds / peak:>7.1%} {s.minutes:>8.3g} {s.memory_gb:>6.2f}"
        )
    total = sum(s.runs * s.minutes for s in stages)
    return [*lines, f"all runs one after another, one seed: {total:.3g} minutes; flops and minutes are of one run"]


def table_on(stages: Sequence[StagePlan], peak: float, machine: Machine) -> list[str]:
    """Return the lines of the plan for a machine in numbers, used to the same share of its peak as this one."""
    lines = [
        f"{machine.devices} device(s) of {machine.flops / 1e12:.0f} TFLOP/s and {machine.memory_gb:.0f} GB, "
        "used to the same share of their peak as this one, without loss between them:"
    ]
    for s in stages:
        share = s.step.flops / s.step.seconds / peak
        bound = " (bound by starting kernels: larger batches cost no time)" if _bound(s, machine, share) else ""
        fits = "fits" if s.memory_gb < machine.memory_gb else "does NOT fit: make `batch_windows` smaller"
        minutes = s.minutes_on(machine, share=share)
        lines.append(f"{s.name:<10} {minutes:>8.3g} minutes a run, {s.memory_gb:.2f} GB, {fits}{bound}")
    return lines


def _bound(stage: StagePlan, machine: Machine, share: float) -> bool:
    return stage.minutes_on(machine, share=share) <= stage.steps * stage.launch_s / 60
