"""From the results to one plain sentence: which model to use, or that distillation did not help; and what to beware of.

A difference counts only where the 95 % interval over seeds leaves zero out *and* it has one sign in every session (or
the paired interval over sessions leaves zero out as well). One seed never counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from spikefield.report.cautions import FEWEST_SEEDS, NULL_HIGH, Caution, find_cautions
from spikefield.report.models import reads_field_alone
from spikefield.report.tables import STUDENT, Estimate, Panel, number, read_panels, t_interval

RIVALS = ("ridge-lfp", "ms-lfp", "teacher")
_BY_EXCESS = "In sessions with trials, R² here is each model's excess over its own null, trials permuted."


@dataclass(frozen=True)
class Comparison:
    """How far the student lies above another model on the sessions of one panel."""

    panel: Panel
    rival: str
    student: Estimate
    other: Estimate
    difference: Estimate
    sessions_higher: int
    sessions: int
    finding: str  # "higher" | "lower" | "not clear" | "one seed"


@dataclass(frozen=True)
class Verdict:
    """What the report says first."""

    sentence: str
    comparisons: tuple[Comparison, ...]
    cautions: tuple[Caution, ...]


def judge(results: pd.DataFrame, run: Mapping[str, Any]) -> Verdict:
    """Compare the student with its rivals and say which model to use.

    Args:
        results: tidy results, as in `results.csv`.
        run: the content of `run.json`.
    """
    judged = by_excess(results)
    panels = [panel for panel in read_panels(judged) if panel.name != "rest"]
    comparisons = [c for panel in panels for rival in RIVALS if (c := compare(panel, STUDENT, rival))]
    cautions = find_cautions(results, run)
    sentence = _sentence(panels, run, len(cautions))
    return Verdict(sentence if judged is results else f"{sentence} {_BY_EXCESS}", tuple(comparisons), tuple(cautions))


def by_excess(results: pd.DataFrame) -> pd.DataFrame:
    """Put the excess over the null in the place of R² where there is one, which is in recordings with trials.

    There each model's own null counts, since a representation that tells the time within a trial scores without
    knowing anything else.
    """
    excess = results[results["metric"] == "r2_excess"]
    if excess.empty:
        return results
    labels = ["model", "regime", "trained_on", "session", "seed"]
    judged = results.merge(excess[[*labels, "value"]], on=labels, how="left", suffixes=("", "_excess"))
    judged["value"] = judged["value_excess"].where(judged["metric"] == "r2").fillna(judged["value"])
    null = (judged["model"] == "null") & judged["session"].isin(excess["session"])
    judged["value"] = judged["value"].mask(null, 0.0)
    return judged.drop(columns="value_excess")


def compare(panel: Panel, model: str, rival: str) -> Comparison | None:
    """Pair two models seed by seed and session by session; None where one of them has no score in this panel."""
    if model not in panel.models() or rival not in panel.models():
        return None
    ours, theirs = panel.by_seed(model), panel.by_seed(rival)
    if not (shared := [s for s in ours.columns if s in theirs.columns]):
        return None
    ours, theirs = ours[shared], theirs[shared]
    paired = ours - theirs.mean() if len(theirs) == 1 else (ours - theirs).dropna()
    if paired.empty:
        return None
    difference = t_interval(paired.mean(axis=1))
    by_session = paired.mean(axis=0)
    return Comparison(
        panel=panel,
        rival=rival,
        student=t_interval(ours.mean(axis=1)),
        other=t_interval(theirs.mean(axis=1)),
        difference=difference,
        sessions_higher=int((by_session > 0).sum()),
        sessions=len(shared),
        finding=_finding(difference, by_session.to_numpy()),
    )


def _finding(difference: Estimate, by_session: np.ndarray) -> str:
    if difference.n < 2:
        return "one seed"
    over_sessions = t_interval(by_session)
    if difference.low > 0 and ((by_session > 0).all() or over_sessions.low > 0):
        return "higher"
    if difference.high < 0 and ((by_session < 0).all() or over_sessions.high < 0):
        return "lower"
    return "not clear"


@dataclass(frozen=True)
class _Choice:
    model: str | None  # None: nothing rises above chance
    why: str  # "higher" | "lower" | "not clear" | "chance" | "no rival"


def _sentence(panels: Sequence[Panel], run: Mapping[str, Any], cautions: int) -> str:
    if not panels:
        return "There is no R² in these results, so nothing can be said about any model."
    if STUDENT not in {model for panel in panels for model in panel.models()}:
        return f"No student was distilled here; {_best_clause(panels[0])}."
    if run.get("leaks"):
        return f"These scores come from a split that leaks, so no model is chosen from them: {_facts(panels)}."
    if (seeds := min(panel.estimate(STUDENT).n for panel in panels)) < FEWEST_SEEDS:
        return _few_seeds(panels, seeds)
    choices = [_choose(panel) for panel in panels]
    minding = f", minding the caution{'s' * (cautions > 1)} below" if cautions else ""
    if all(choice.model == STUDENT for choice in choices):
        return f"Use {STUDENT}{minding}: {_student_first(panels)}."
    clauses = [_clause(panel, choice) for panel, choice in zip(panels, choices, strict=True)]
    return f"{_lead(choices)}{minding}: " + "; ".join(clauses) + "."


def _student_first(panels: Sequence[Panel]) -> str:
    reached = " and ".join(f"{_figures(panel, STUDENT)} {_where(panel)}" for panel in panels)
    rivals = []
    for model in ("ridge-lfp", "ms-lfp"):
        scores = " and ".join(number(panel.estimate(model).mean) for panel in panels)
        rivals.append(f"{model} ({scores})")
    return f"from the field potential alone it reaches R² {reached}, above {' and '.join(rivals)}"


def _lead(choices: Sequence[_Choice]) -> str:
    if any(choice.model == STUDENT for choice in choices):
        return "Distillation helped in part"
    if any(choice.model and choice.model.endswith("distilled") for choice in choices):
        return f"Another student does better here than {STUDENT}"
    if any(choice.why == "no rival" for choice in choices):
        return "Whether distillation helped cannot be told"
    return f"Distillation did not {'clearly ' if any(c.why == 'not clear' for c in choices) else ''}help here"


def _choose(panel: Panel) -> _Choice:
    """Choose among the models that need the field potential alone; at a tie the simple decoder wins."""
    field = [m for m in panel.models() if reads_field_alone(m)]
    useful = [m for m in field if _above_null(panel, m)]
    if not useful:
        return _Choice(None, "chance")
    against = {m: c.finding for m in field if m != STUDENT and (c := compare(panel, STUDENT, m))}
    best = max(useful, key=lambda m: panel.estimate(m).mean)
    if lost := [m for m in useful if against.get(m) == "lower"]:
        return _Choice(max(lost, key=lambda m: panel.estimate(m).mean), "lower")
    if "ridge-lfp" not in against or "ms-lfp" not in against:
        return _Choice(best if best != STUDENT else None, "no rival")
    if STUDENT in useful and all(finding == "higher" for finding in against.values()):
        return _Choice(STUDENT, "higher")
    level = [m for m in useful if against.get(m) == "not clear"]
    simple = "ridge-lfp" if "ridge-lfp" in level else max(level, key=lambda m: panel.estimate(m).mean, default=best)
    return _Choice(simple, "not clear")


def _above_null(panel: Panel, model: str) -> bool:
    """Tell whether a model scores above zero, and above the null where there is one."""
    estimate = panel.estimate(model)
    if not (estimate.low if np.isfinite(estimate.low) else estimate.mean) > 0:
        return False
    if "null" not in panel.models():
        return True
    comparison = compare(panel, model, "null")
    return comparison is not None and comparison.finding in ("higher", "one seed") and comparison.difference.mean > 0


def _clause(panel: Panel, choice: _Choice) -> str:
    where, ours = _where(panel), _score(panel, STUDENT)
    if choice.why == "chance":
        return f"{where} no model reads this behaviour from the field potential better than chance ({ours})"
    if choice.why == "higher":
        rivals = _each(panel, [m for m in ("ridge-lfp", "ms-lfp") if m in panel.models()])
        return f"{where} use {STUDENT}, R² {_figures(panel, STUDENT)}, above {rivals}"
    if choice.why == "lower":
        return f"{where} use {choice.model}, R² {_figures(panel, str(choice.model))}, clearly above {ours}"
    if choice.why == "no rival":
        return f"{where} ridge-lfp or ms-lfp is missing, so nothing shows that {ours} is better than a simple decoder"
    return f"{where} use {choice.model}, R² {_figures(panel, str(choice.model))}, not clearly different from {ours}"


def _few_seeds(panels: Sequence[Panel], seeds: int) -> str:
    first = all(_best(panel) == STUDENT for panel in panels)
    place = (
        "comes out first of the models that need"
        if first
        else "does not come out first everywhere among those that need"
    )
    lead = f"With {'one seed' if seeds < 2 else f'{seeds} seeds'}, {STUDENT} {place} the field potential alone"
    return f"{lead}: {_facts(panels)}. Run three seeds or more before choosing."


def _facts(panels: Sequence[Panel]) -> str:
    clauses = []
    for panel in panels:
        if not any(_above_null(panel, m) for m in panel.models() if reads_field_alone(m)):
            clauses.append(_clause(panel, _Choice(None, "chance")))
            continue
        beside = [m for m in ("ridge-lfp", "ms-lfp") if m in panel.models()]
        if "null" in panel.models() and panel.estimate("null").mean > NULL_HIGH:
            beside.append("null")
        clauses.append(f"{_where(panel)} {_each(panel, [STUDENT, *beside])}")
    return "; ".join(clauses)


def _best(panel: Panel) -> str | None:
    field = [m for m in panel.models() if reads_field_alone(m)]
    return max(field, key=lambda m: panel.estimate(m).mean, default=None)


def _best_clause(panel: Panel) -> str:
    best = _best(panel)
    if best is None:
        return "no model here reads the field potential alone"
    return f"of the models that read the field potential alone, {best} scores highest ({_score(panel, best)})"


def _where(panel: Panel) -> str:
    count = len(panel.sessions)
    if panel.name == "own":
        return (
            f"on the session it was distilled on ({panel.sessions[0]})"
            if count == 1
            else f"on its {count} own sessions"
        )
    if panel.name == "other":
        return f"on a session it never saw ({panel.sessions[0]})" if count == 1 else f"on {count} sessions it never saw"
    return f"on {panel.sessions[0]}" if count == 1 else f"on {count} sessions"


def _each(panel: Panel, models: Sequence[str]) -> str:
    scores = [_score(panel, model) for model in models]
    return " and ".join([", ".join(scores[:-1]), scores[-1]] if len(scores) > 1 else scores)


def _score(panel: Panel, model: str) -> str:
    return f"{model} {number(panel.estimate(model).mean)}" if model in panel.models() else f"{model} (not run)"


def _figures(panel: Panel, model: str) -> str:
    estimate = panel.estimate(model)
    null = panel.estimate("null").mean if "null" in panel.models() else 0.0
    notes = []
    if estimate.high > estimate.low:
        notes.append(f"{number(estimate.low)} to {number(estimate.high)}")
    if null > NULL_HIGH:
        notes.append(f"null {number(null)}")
    return number(estimate.mean) + (f" ({'; '.join(notes)})" if notes else "")
