"""A series of experiments as its YAML file says it, made concrete for the sessions that are there.

YAML of variants, ids of sessions -> one run a variant: study, sessions to distil on, configuration
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from spikefield.config import ExperimentConfig
from spikefield.errors import InputError
from spikefield.experiments.finished import config_of
from spikefield.experiments.measures import MEASURES
from spikefield.experiments.study import Study
from spikefield.models.transformer import TransformerConfig
from spikefield.recordings.session import check_name
from spikefield.report.findings import Drawing

FOLDER = Path(__file__).parents[1] / "configs" / "experiments"
_DISTILL_ON = ("first", "each held out")
_PRETRAIN_ON = ("all", "not held out", "distilled")
_LARGEST_BYTES = 1 << 20


@dataclass(frozen=True)
class Variant:
    """One line of a series: which models, on which sessions, with what changed in the configuration.

    `distill_on` is `first`, `each held out` (a run for every held-out session) or a number of paired sessions;
    `pretrain_on` is `all`, `not held out`, `distilled` or a number of sessions, the distilled ones first;
    `student_share` makes the student so much smaller than the teacher. `at` and `line` say where it lies in the figure
    of its series; `at` is, unless said, the minutes of paired training time.
    """

    models: tuple[str, ...] = ("teacher", "distilled")
    supervised: bool = False
    distill_on: str | int = "first"
    pretrain_on: str | int = "all"
    student_share: float | None = None
    at: float | None = None
    line: str = ""
    config: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, allowed in (("distill_on", _DISTILL_ON), ("pretrain_on", _PRETRAIN_ON)):
            value = getattr(self, name)
            if value not in allowed and not (type(value) is int and value > 0):
                raise InputError(
                    f"`{name}` must be {', '.join(allowed)} or a positive number, got {value!r}. Choose one of them."
                )
        if self.student_share is not None and not 0 < self.student_share <= 1:
            raise InputError(
                f"`student_share` must be above 0 and at most 1, got {self.student_share}. Give 1 for all of them."
            )


@dataclass(frozen=True)
class Series:
    """A series: what it reproduces, its variants, the `variant/model` they are compared with, what else is measured.

    `drawing` is the figure of its own kind that it has beside those of every series.
    """

    name: str
    figures: str
    against: str
    variants: dict[str, Variant]
    measures: tuple[str, ...] = ()
    drawing: Drawing | None = None


@dataclass(frozen=True)
class Run:
    """One experiment of a series, in a folder of its own."""

    variant: str
    folder: str
    study: Study
    distill_on: tuple[str, ...]
    config: ExperimentConfig
    at: float | None = None
    line: str = ""


@dataclass(frozen=True)
class Sessions:
    """Ids of all sessions, of those with spikes and field, and of those that are held out from pretraining.

    `minutes` is the length of each paired one, where it is known.
    """

    every: tuple[str, ...]
    paired: tuple[str, ...]
    held_out: tuple[str, ...]
    minutes: Mapping[str, float] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if unknown := [s for s in self.held_out if s not in self.paired]:
            known = ", ".join(self.paired)
            raise InputError(
                f"`held_out` {unknown[0]!r} is no session with spikes and lfp; these are: {known}. Name one of these."
            )


def series_names() -> list[str]:
    """Return the names of the series that come with spikefield."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_series(name: str) -> Series:
    """Read a series by its name, or from a YAML file of the same form.

    Raises:
        InputError: no such series or file, or something in it is not known.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise InputError(
            f"`name` must be one of {', '.join(series_names())}, or a YAML file, got {name!r}. "
            "Check the name or the path."
        )
    try:
        text = path.read_text(encoding="utf-8")
        if len(text) > _LARGEST_BYTES or any(isinstance(t, yaml.AliasToken) for t in yaml.scan(text)):
            raise InputError(f"{path}: too large, or holds YAML aliases. Write each value where it belongs.")
        content = yaml.safe_load(text)
        variants = {str(k): _made(Variant, v or {}) for k, v in content.pop("variants").items()}
        for variant in variants:
            check_name("variant", variant)
        drawing = content.get("drawing") and _made(Drawing, content["drawing"])
        series = _made(Series, content | {"name": path.stem, "variants": variants, "drawing": drawing})
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (OSError, ValueError, TypeError, AttributeError, KeyError, yaml.YAMLError) as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise InputError(
            f"{path}: not a series of experiments ({why}). See those that come with spikefield."
        ) from error
    if series.against.partition("/")[0] not in variants or set(series.measures) - set(MEASURES):
        raise InputError(
            f"{path}: `against` must be variant/model and `measures` of {', '.join(MEASURES)}. "
            "Name a variant and a model of this series."
        )
    return series


def _made(kind: type, content: Mapping[str, Any]) -> Any:
    allowed = [f.name for f in fields(kind)]
    if unknown := sorted(set(content) - set(allowed)):
        raise InputError(f"does not know {unknown[0]!r}. Use only {', '.join(allowed)}.")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in content.items()})


def runs_of(series: Series, sessions: Sessions, config: ExperimentConfig) -> list[Run]:
    """Return the runs of a series; a variant that asks for more sessions or minutes than there are is left out."""
    return [run for name, variant in series.variants.items() for run in _runs(name, variant, sessions, config)]


def _runs(name: str, variant: Variant, sessions: Sessions, config: ExperimentConfig) -> list[Run]:
    changed = _changed(name, variant, config)
    runs = []
    for folder, distill_on in _distilled(name, variant, sessions):
        pretrain_on = _pretrained(variant, distill_on, sessions)
        minutes = paired_minutes(changed, distill_on, sessions)
        if (pretrain_on is None or pretrain_on) and minutes is not None:
            study = Study(variant.models, pretrain_on, variant.supervised)
            at = minutes if variant.at is None else variant.at
            runs.append(Run(name, folder, study, distill_on, changed, at, variant.line))
    return runs


def paired_minutes(config: ExperimentConfig, distill_on: Sequence[str], sessions: Sessions) -> float | None:
    """Return the minutes of paired training time of a run, None where it asks for more than there are; guards count."""
    split, asked = config.binning.split, config.distillation.paired_minutes
    share = 1 - (len(split.valid_blocks) + len(split.test_blocks)) / split.n_blocks
    each = [share * sessions.minutes.get(s, math.inf) for s in distill_on]
    if asked is None:
        return sum(each)
    return asked * len(each) if asked <= min(each) else None


def _distilled(name: str, variant: Variant, sessions: Sessions) -> list[tuple[str, tuple[str, ...]]]:
    """Return (folder, sessions to distil on) of every run of a variant."""
    if variant.distill_on == "each held out":
        return [(f"{name}-{session}", (session,)) for session in sessions.held_out]
    count = 1 if variant.distill_on == "first" else int(variant.distill_on)
    return [(name, sessions.paired[:count])] if count <= len(sessions.paired) else []


def _pretrained(variant: Variant, distill_on: tuple[str, ...], sessions: Sessions) -> tuple[str, ...] | None:
    """Return the sessions to pretrain on: None is all, empty means that there are too few."""
    if variant.pretrain_on == "distilled":
        return distill_on
    if variant.pretrain_on == "not held out":
        return tuple(s for s in sessions.every if s not in sessions.held_out) or None
    if variant.pretrain_on == "all":
        return None
    count = int(variant.pretrain_on)
    ordered = [*distill_on, *(s for s in sessions.every if s not in distill_on)]
    return tuple(ordered[:count]) if count <= len(ordered) else ()


def _changed(name: str, variant: Variant, config: ExperimentConfig) -> ExperimentConfig:
    """Return the configuration with the variant's changes."""
    try:
        changed = config_of(_merged(asdict(config), variant.config)) if variant.config else config
    except InputError as error:
        raise InputError(f"variant {name!r}: {error}") from error
    if variant.student_share is None:
        return changed
    return replace(changed, student=scaled(changed.transformer, variant.student_share))


def _merged(content: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(content)
    for key, value in changes.items():
        inner = merged.get(key)
        merged[key] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return merged


def scaled(size: TransformerConfig, share: float) -> TransformerConfig:
    """Return the transformer whose weights come closest to a share of another's: narrower, where need be shallower."""

    def weights(dim: int, n_layers: int) -> float:
        return float(n_layers * dim**2)

    def heads(dim: int) -> int:
        return max(h for h in range(1, size.n_heads + 1) if dim % (2 * h) == 0)

    wanted = share * weights(size.dim, size.n_layers)
    shapes = [(dim, n) for n in range(1, size.n_layers + 1) for dim in range(8, size.dim + 1, 8)] or [(size.dim, 1)]
    shapes.append((size.dim, size.n_layers))
    dim, n_layers = min(shapes, key=lambda s: (round(abs(math.log(weights(*s) / wanted)), 2), -s[1]))
    return replace(size, dim=dim, n_layers=n_layers, n_heads=heads(dim))
