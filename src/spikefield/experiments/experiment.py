"""The main job: teacher, field autoencoders, student and baselines over a folder of prepared sessions, then the page.

prepared sessions -> bins and splits -> teacher, distilled, ms-lfp, ss-lfp, baselines -> results.csv, report.html
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from spikefield.config import ExperimentConfig
from spikefield.errors import InputError
from spikefield.experiments import outputs
from spikefield.experiments.corpus import Corpus, read_corpus
from spikefield.experiments.fanout import default_workers, fan_out
from spikefield.experiments.forecast import forecast
from spikefield.experiments.runner import Experiment, Runner
from spikefield.experiments.study import MAIN_JOB, Study
from spikefield.experiments.workspace import Workspace
from spikefield.training.processes import is_first
from spikefield.windows.binned import BinnedSession

log = logging.getLogger("spikefield")


def run_experiment(
    data: Path,
    out: Path,
    *,
    config: ExperimentConfig,
    seeds: Sequence[int] = (0,),
    distill_on: Sequence[str] | None = None,
    study: Study = MAIN_JOB,
    reuse: Sequence[Path] = (),
    ceiling_r2: dict[str, float] | None = None,
    command: str = "",
    workers: int | None = None,
    ray_address: str | None = None,
    progress: bool = True,
) -> Path:
    """Run every stage that is not finished, write the results and the report, and return the report's path.

    Independent stages run side by side, one on each of `workers` cores or on a Ray cluster. Stages that another
    experiment of a series has finished are taken from its folder (`reuse`).

    Raises:
        InputError: the data cannot be used, or `out` holds another experiment.
    """
    if not seeds or len(set(seeds)) != len(seeds):
        raise InputError(f"`seeds` must be one or more different whole numbers, got {list(seeds)}. Give each once.")
    corpus = read_corpus(data, config=config)
    if not corpus.having("behavior"):
        raise InputError(
            f"{data}: no session holds behavior, so nothing can be scored. Add one that does, or run "
            "`spikefield pretrain` and `spikefield distill`, which need none."
        )
    config = replace(config, binning=corpus.binning)
    experiment = Experiment(corpus, config, paired_sessions(corpus, distill_on), tuple(seeds), study)
    workspace = Workspace(out, reuse=reuse)
    marker = {"config": asdict(config), "data": corpus.hashes, "distill_on": list(experiment.distill_on)}
    workspace.claim(marker if study == MAIN_JOB else marker | {"study": asdict(study)})
    outputs.write_splits(out, corpus.sessions)
    runner = Runner(experiment, workspace, progress=progress)
    for line in corpus.chosen:
        log.info(line)
    pieces = runner.pieces()
    if runner.missing() and study == MAIN_JOB:
        log.info(forecast(experiment, workers=workers or default_workers()))
    if not runner.missing() or config.hardware.devices * config.hardware.num_nodes > 1:
        workers, ray_address = 1, None
    folders = fan_out(runner, pieces, workers=workers, ray_address=ray_address, progress=progress)
    if not is_first():
        return out / "report.html"
    log.info("writing the report")
    return outputs.write_outputs(
        workspace,
        experiment,
        stages=[folder for group in folders for folder in group],
        ceiling_r2=ceiling_r2,
        command=command,
    )


def paired_sessions(corpus: Corpus, wanted: Sequence[str] | None) -> tuple[BinnedSession, ...]:
    """Return the sessions to distil on; by default the first that holds spikes and field.

    Raises:
        InputError: no session holds both, or a wanted one is not there or lacks one of them.
    """
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
