"""A finished experiment, read back for its audit: what it said it is, what it left, and its data binned anew.

output folder + data folder -> configuration, sessions, models, results
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

import spikefield.artifact as artifact
import spikefield.files as files
from spikefield.artifact import Model
from spikefield.config import ExperimentConfig
from spikefield.errors import InputError
from spikefield.experiments.corpus import Corpus, read_corpus
from spikefield.windows.binned import BinnedSession


@dataclass(frozen=True)
class Finished:
    """An experiment's folder. `broken` says of each model that could not be read why."""

    out: Path
    marker: dict[str, Any]
    run: dict[str, Any]
    config: ExperimentConfig
    corpus: Corpus
    models: dict[str, Model]
    broken: dict[str, str]
    results: list[dict[str, str]]

    def session(self, session_id: str) -> BinnedSession | None:
        """Return a session of the data, None where it is gone."""
        return next((s for s in self.corpus.sessions if s.session_id == session_id), None)


def read_finished(out: Path, *, data: Path | None = None) -> Finished:
    """Read an experiment's folder, and its data again with the configuration that it names.

    Raises:
        InputError: not the folder of a finished experiment, or its data are not where they were.
    """
    for name in ("experiment.json", "run.json", "results.csv"):
        if not (out / name).is_file():
            raise InputError(f"{out}: holds no {name}, so it is no finished experiment. Run `spikefield experiment`.")
    marker, run = files.read_json(out / "experiment.json"), files.read_json(out / "run.json")
    config = config_of(marker["config"])
    models, broken = _models(out)
    with (out / "results.csv").open(newline="", encoding="utf-8") as file:
        results = list(csv.DictReader(file))
    corpus = read_corpus(data or _folder(out, run), config=config)
    return Finished(out, marker, run, config, corpus, models, broken, results)


def config_of(content: dict[str, Any]) -> ExperimentConfig:
    """Build a configuration from plain values, as an experiment's marker holds them.

    Raises:
        InputError: the values make no configuration.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(ExperimentConfig, as_group=False)
    try:
        return ExperimentConfig(**vars(parser.instantiate(parser.parse_object(content))))
    except InputError:
        raise
    except Exception as error:
        why = " ".join(str(error).split())[:200]
        raise InputError(
            f"the experiment's configuration cannot be read ({why}). Use the spikefield that made it."
        ) from error


def _folder(out: Path, run: dict[str, Any]) -> Path:
    folder = run.get("data", {}).get("folder")
    if folder is None or not Path(folder).is_dir():
        raise InputError(f"{out}: its data are not at {folder}. Say with `--data DIR` where they are.")
    return Path(folder)


def _models(out: Path) -> tuple[dict[str, Model], dict[str, str]]:
    models, broken = {}, {}
    for path in sorted((out / "models").glob("[!.]*")):
        try:
            models[path.name] = artifact.load(path)
        except InputError as error:
            broken[path.name] = str(error)
    return models, broken
