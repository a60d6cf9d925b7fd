"""From an experiment to its five figures: what to draw, the words under it and instead of it, and what is missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from spikefield.errors import InputError
from spikefield.report.drawing import Draw
from spikefield.report.models import in_order
from spikefield.report.plot_curves import plot_curves
from spikefield.report.plot_decoded import MOST_DIMS, SHOWN_MODELS, first_stretch, plot_decoded, shown_models
from spikefield.report.plot_map import FEWEST_BINS, MAPPED_MODELS, evenly_chosen, flat_maps, mapped_models, plot_map
from spikefield.report.plot_r2 import plot_r2
from spikefield.report.plot_split import plot_split
from spikefield.report.reading import Experiment
from spikefield.report.tables import Panel, number, panel_title, with_interval


@dataclass(frozen=True)
class Picture:
    """One figure of the page; `draw` is None where there is nothing to draw, and `missing` says why."""

    name: str
    caption: str
    alt: str = ""
    draw: Draw | None = None
    missing: tuple[str, ...] = ()


def r2_picture(experiment: Experiment, panels: Sequence[Panel]) -> Picture:
    """R² by model, own and other sessions apart."""
    shown = [panel for panel in panels if panel.name != "rest"] or list(panels)
    if not shown:
        return Picture("r2", "", missing=("There is no R² in results.csv.",))
    ceiling = experiment.run.get("ceiling_r2")
    spoken = [
        f"{panel_title(p)}: {', '.join(f'{m} {with_interval(p.estimate(m))}' for m in p.models())}" for p in shown
    ]
    missing = (
        () if any(p.name != "own" for p in shown) else ("No other session was scored: nothing is said about them.",)
    )
    return Picture(
        "r2",
        " ".join(r2_words(shown, with_ceiling=bool(ceiling))),
        "R² by model. " + ". ".join(spoken) + ".",
        lambda width_in, footer: plot_r2(shown, ceiling=ceiling, width_in=width_in, footer=footer),
        missing,
    )


def r2_words(panels: Sequence[Panel], *, with_ceiling: bool) -> list[str]:
    """Say what marks, bars and ticks mean; what is not drawn is not mentioned."""
    seeds = {panel.estimate(m).n for panel in panels for m in panel.models()}
    words = ["Circle: reads the field potential alone. Square: reads spikes. Hollow: linear."]
    if max(seeds) > 1:
        words.append("Bar: 95 % interval over seeds, hidden where it is narrower than the mark.")
    if 1 in seeds:
        which = "every mark is" if max(seeds) == 1 else "a mark of a model with one seed is"
        words.append(f"One seed: {which} a single run, without interval.")
    if any(len(panel.sessions) > 1 for panel in panels):
        words.append("Small ticks: the single sessions, averaged in the mark.")
    if with_ceiling:
        words.append("Dashed: the best R² that is attainable.")
    return words


def decoded_picture(experiment: Experiment) -> Picture:
    """Decoded against true behaviour in the first stretch of test time."""
    session = experiment.shown_session("predictions")
    if session is None:
        return Picture("decoded", "", missing=("No predictions were kept, so there is nothing to draw.",))
    arrays = experiment.arrays("predictions", session)
    _check_lengths(arrays, "time_s", ("true", "names", *[f"pred_{m}" for m in shown_models(arrays)]), session)
    if not len(arrays["time_s"]):
        return Picture("decoded", "", missing=(f"{session}: the predictions hold no test bin.",))
    names = [str(name) for name in arrays["names"]]
    part = arrays["time_s"][first_stretch(arrays["time_s"])]
    span = f"{number(float(part[0]), 1)} to {number(float(part[-1]), 1)} s"
    models = shown_models(arrays)
    scores = _scores(experiment.results, session, models)
    caption = (
        f"The first test bins of {session}, {span}, seed 0: chosen because they come first, not because they look "
        f"good. Over all its test time: {scores}."
    )
    missing = [f"{model} left no prediction for {session}." for model in SHOWN_MODELS if model not in models]
    if len(names) > MOST_DIMS:
        missing.append(f"Only the first {MOST_DIMS} of {len(names)} behaviour dims are drawn.")
    alt = f"True and decoded {', '.join(names[:MOST_DIMS])} of {session}, {span}. R² over all test time: {scores}."
    draw: Draw = lambda width_in, footer: plot_decoded(arrays, width_in=width_in, footer=footer)  # noqa: E731
    return Picture("decoded", caption, alt, draw, tuple(missing))


def _scores(results: pd.DataFrame, session: str, models: Sequence[str]) -> str:
    rows = results[(results["session"] == session) & (results["metric"] == "r2")]
    means = rows.groupby("model")["value"].mean()
    return ", ".join(f"{m} R² {number(means[m])}" for m in in_order(models) if m in means) or "not scored"


def _check_lengths(arrays: Mapping[str, np.ndarray], first: str, others: Sequence[str], session: str) -> None:
    if absent := [name for name in (first, *others) if name not in arrays]:
        raise InputError(f"{session}.npz must hold `{absent[0]}`, got {', '.join(arrays)}. Run the experiment again.")
    count = len(arrays[first])
    wrong = [n for n in others if n not in ("names", "color_name") and len(arrays[n]) != count]
    if wrong:
        raise InputError(
            f"{session}.npz: `{wrong[0]}` must have {count} rows as `{first}` has, got {arrays[wrong[0]].shape}. "
            "Run the experiment again."
        )


def curves_picture(experiment: Experiment) -> Picture:
    """Training curves of every model that was trained by gradient."""
    curves = experiment.curves
    if curves is None or curves.empty:
        return Picture("curves", "", missing=("No training curves were kept (curves.csv).",))
    models = in_order(curves["model"].unique())
    expected = [m for m in ("distilled", "ms-lfp", "ss-lfp", "teacher") if m in set(experiment.results["model"])]
    spoken = [_spoken_curve(model, curves[curves["model"] == model]) for model in models]
    caption = (
        "Loss by epoch. Thin lines are seeds, thick lines their mean. The losses of different models are "
        "different things: compare shapes, not heights."
    )
    return Picture(
        "curves",
        caption,
        "Loss by epoch. " + " ".join(spoken),
        lambda width_in, footer: plot_curves(curves, width_in=width_in, footer=footer),
        tuple(f"{model} left no training curve." for model in expected if model not in models),
    )


def _spoken_curve(model: str, curves: pd.DataFrame) -> str:
    mean = curves.groupby("epoch")["valid_loss"].mean()
    return (
        f"{model}: validation loss {mean.iloc[0]:.3g} at the start, {mean.iloc[-1]:.3g} after epoch {mean.index[-1]}."
    )


def map_picture(experiment: Experiment) -> Picture:
    """Flat maps of the representations of teacher, student and field-potential autoencoder."""
    session = experiment.shown_session("representations")
    if session is None:
        return Picture("map", "", missing=("No representations were kept, so there is no map.",))
    arrays = experiment.arrays("representations", session)
    models = mapped_models(arrays)
    _check_lengths(arrays, "direction_rad", ("speed", "color_name", *[f"z_{m}" for m in models]), session)
    missing = tuple(f"{model} left no representation of {session}." for model in MAPPED_MODELS if model not in models)
    chosen = evenly_chosen(arrays) if models else np.array([])
    if len(chosen) < FEWEST_BINS:
        return Picture("map", "", missing=(*missing, f"{session}: {len(chosen)} bins are too few for a map."))
    maps = flat_maps(arrays, chosen)
    color_name = str(arrays["color_name"])
    caption = (
        f"Each dot is one of the same {len(chosen)} test bins of {session}; its colour is {color_name}, and slow bins "
        "are faint. t-SNE, started from principal components, fixed seed; each map is turned as a whole towards the "
        "first. Where neighbours share a colour, the model has kept that direction. Distances between far dots mean "
        "nothing."
    )
    return Picture(
        "map",
        caption,
        f"Flat maps of what {', '.join(models)} make of {len(chosen)} test bins, coloured by {color_name}.",
        lambda width_in, footer: plot_map(
            maps,
            direction_rad=arrays["direction_rad"][chosen],
            speed=arrays["speed"][chosen],
            color_name=color_name,
            width_in=width_in,
            footer=footer,
        ),
        missing,
    )


def split_picture(experiment: Experiment) -> Picture:
    """Which part of each session was used for what."""
    splits = experiment.splits
    if not splits:
        return Picture("split", "", missing=("No splits were kept (splits/), so the parts cannot be drawn.",))
    ordered = {str(s["session"]): splits[s["session"]] for s in experiment.sessions if s["session"] in splits}
    ordered |= {session: split for session, split in splits.items() if session not in ordered}
    spoken = [f"{session}: {spoken_split(split)}" for session, split in ordered.items()]
    absent = [str(s["session"]) for s in experiment.sessions if s["session"] not in splits]
    return Picture(
        "split",
        "Fitted on training time, tuned on validation time, scored on test time. Guard time is used for nothing.",
        "Use of each session's time. " + "; ".join(spoken) + ".",
        lambda width_in, footer: plot_split(ordered, width_in=width_in, footer=footer),
        tuple(f"{session} has no split file." for session in absent),
    )


def minutes_of(split: Mapping[str, Any], kind: str) -> float:
    """Return how many minutes of a session one part of its split takes."""
    return sum(end - start for start, end in split.get(kind, [])) / 60


def spoken_split(split: Mapping[str, Any]) -> str:
    """Say in words how long each part of a split is."""
    parts = (("train", "training"), ("valid", "validation"), ("test", "test"))
    return ", ".join(f"{number(minutes_of(split, kind), 1)} min {title}" for kind, title in parts)


def all_pictures(experiment: Experiment, panels: Sequence[Panel]) -> dict[str, Picture]:
    """Return the five figures by name, in the order of the page."""
    pictures = (
        r2_picture(experiment, panels),
        decoded_picture(experiment),
        curves_picture(experiment),
        map_picture(experiment),
        split_picture(experiment),
    )
    return {picture.name: picture for picture in pictures}
