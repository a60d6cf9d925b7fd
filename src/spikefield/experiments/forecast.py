"""Say beforehand how long an experiment will take and what memory it needs, from a few steps on this machine."""

from typing import TYPE_CHECKING

import psutil

from spikefield.experiments.planning import Work, plan_stages

if TYPE_CHECKING:
    from spikefield.experiments.runner import Experiment


def forecast(experiment: "Experiment", *, workers: int) -> str:
    """Return one line: the expected minutes and memory of all training that the experiment asks for."""
    corpus, n_seeds = experiment.corpus, len(experiment.seeds)
    stages = plan_stages(Work(corpus.sessions, corpus.window_bins, len(corpus.sessions)), experiment.config)
    minutes = sum(stage.runs * stage.minutes for stage in stages) * n_seeds / workers
    each_gb = psutil.Process().memory_info().rss / 1e9 + max((stage.memory_gb for stage in stages), default=0.0)
    free_gb = psutil.virtual_memory().available / 1e9
    return (
        f"expect about {max(minutes, 0.1):.1f} minutes of training for {n_seeds} seed(s), {workers} at a time, and "
        f"{each_gb * (workers + 1):.1f} GB of memory ({free_gb:.0f} GB are free); `spikefield plan` says more"
    )
