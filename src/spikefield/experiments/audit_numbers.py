"""What the audit says of numbers: readouts refitted without test time, scores and results, nulls and seeds."""

from collections import Counter
from dataclasses import replace

import numpy as np

import spikefield.files as files
from spikefield.artifact import Model
from spikefield.evaluation.embedding import embed
from spikefield.evaluation.readout import fit, score
from spikefield.evaluation.ridge import Readout
from spikefield.experiments.finished import Finished
from spikefield.experiments.scoring import COLUMNS
from spikefield.report.cautions import NULL_HIGH
from spikefield.windows.binned import BinnedSession

_TOLERANCE = 0.01


def readouts(done: Finished) -> list[str]:
    """Every readout is what training time gives, and scores what is said."""
    found = []
    for name, model in done.models.items():
        for session_id in model.readouts:
            session = done.session(session_id)
            why = f"{session_id} is not in the data" if session is None else _readout(model, session)
            found += [f"{name}: {why}"] if why else []
    return found


def _readout(model: Model, session: BinnedSession) -> str | None:
    """Return what is wrong with a readout: it is fitted again with all but training time erased."""
    held = Readout.from_arrays(model.readouts[session.session_id])
    z = embed(model.encoder, session, window_bins=model.window_bins)
    train = session.split.train[:, None]
    blind = replace(session, behavior=np.where(train, session.require("behavior"), np.nan))
    fresh = fit(blind, np.where(train, z, np.float32(np.nan)))
    if not np.allclose(held.penalty, fresh.penalty, rtol=1e-6):
        return f"the readout's penalty of {session.session_id} is not what training time chooses"
    test = z[session.split.test]
    spread = np.nanstd(session.require("behavior")[session.split.train], axis=0)
    if np.abs(held.predict(test) - fresh.predict(test)).max() > _TOLERANCE * spread.max():
        return f"the readout of {session.session_id} is not what training time gives"
    said = [s["value"] for s in model.scores if s["session"] == session.session_id and s["metric"] == "r2"]
    scored = score(session, z, held).mean_r2
    if len(said) != 1 or abs(said[0] - scored) > _TOLERANCE:
        return f"{session.session_id} scores {scored:.3f}, not {', '.join(f'{v:.3f}' for v in said) or 'unsaid'}"
    return None


def scores(done: Finished) -> list[str]:
    """The rows of results.csv are those of models and baselines."""
    written = Counter(tuple(row.get(c) or "" for c in COLUMNS) for row in done.results)
    kept = [row for model in done.models.values() for row in model.scores]
    for path in sorted((done.out / "baselines").glob("[!.]*/scores.json")):
        kept += files.read_json(path)
    expected = Counter(tuple(str(row[c]) for c in COLUMNS) for row in kept)
    added, missing = written - expected, expected - written
    found = [f"{_named(row)} is in results.csv and nowhere else" for row in added]
    return found + [f"{_named(row)} is not in results.csv" for row in missing]


def _named(row: tuple[str, ...]) -> str:
    by_name = dict(zip(COLUMNS, row, strict=True))
    return f"{by_name['metric']} {by_name['value'][:6]} of {by_name['model']} on {by_name['session']}"


def nulls(done: Finished) -> list[str]:
    """Chance scores nothing; where trials alone give a score, the excess over it is told."""
    rows = [row for row in done.results if row["metric"] == "r2" and row["model"] == "null"]
    found = []
    for session in done.corpus.sessions:
        if session.behavior is None:
            continue
        values = [float(row["value"]) for row in rows if row["session"] == session.session_id]
        declared = session.has_trials and any(
            row["metric"] == "r2_excess" and row["session"] == session.session_id for row in done.results
        )
        if not values:
            found.append(f"{session.session_id}: no null was run")
        elif (mean := float(np.mean(values))) > NULL_HIGH and not declared:
            found.append(f"{session.session_id}: the null scores {mean:.2f}, which is not near zero")
    return found


def seeds(done: Finished) -> list[str]:
    """No seed of any model was left out."""
    asked = sorted(done.run["seeds"])
    held: dict[tuple[str, str, tuple[str, ...]], list[int]] = {}
    for model in done.models.values():
        regime = str(model.lineage.get("regime", "unsupervised"))
        held.setdefault((model.name, regime, model.trained_on), []).append(model.seed)
    found = [
        f"{name} ({', '.join(trained_on)}) has the seeds {sorted(has)}, asked were {asked}"
        for (name, _, trained_on), has in held.items()
        if sorted(has) != asked
    ]
    if not held:
        found.append("there is no model")
    names = {row["model"] for row in done.results if row["regime"] != "linear"}
    return found + [f"{name} is in results.csv, but there is no such model" for name in names - {k[0] for k in held}]
