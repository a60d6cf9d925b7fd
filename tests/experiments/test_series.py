"""A series of experiments: its YAML made concrete, and one of two variants run on tiny data from flags to tables."""

import csv
import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

import spikefield.experiments.experiment as experiment
import spikefield.experiments.outputs as outputs
import spikefield.files as files
import tiny
from spikefield.config import load_preset
from spikefield.errors import InputError
from spikefield.experiments.audit import audit, run_audit
from spikefield.experiments.measures import MEASURES
from spikefield.experiments.reproduce import reproduce, run_series, sessions_in
from spikefield.experiments.scoring import COLUMNS
from spikefield.experiments.series import Sessions, read_series, runs_of, scaled, series_names
from spikefield.models.transformer import Transformer, TransformerConfig
from spikefield.objectives.alignment import ALIGNMENTS

CONFIG = tiny.config()
EIGHT = tuple(f"s{i}" for i in range(8))
SESSIONS = Sessions(EIGHT, EIGHT, ("s6", "s7"))


@pytest.mark.parametrize("name", series_names())
@pytest.mark.parametrize("preset", ["quick", "paper"])
def test_every_series_is_concrete_for_every_preset(name, preset):
    series = read_series(name)
    runs = runs_of(series, SESSIONS, load_preset(preset))
    assert {run.variant for run in runs} == set(series.variants)
    assert len({run.folder for run in runs}) == len(runs)
    variant, model = series.against.split("/")
    assert model in next(run for run in runs if run.variant == variant).study.models
    assert len({(r.study, r.distill_on, r.config) for r in runs}) == len(runs) or name == "multisession"


def test_the_published_experiments_and_the_open_questions_are_there():
    published = ["ablations", "alignment", "decoding", "generalization", "multisession", "orderings", "size"]
    left_open = ["drift", "honest", "lag", "layers", "losses", "minutes", "new-session", "reading", "teachers"]
    assert series_names() == sorted(published + left_open)
    assert all((read_series(name).drawing is None) == (name in published) for name in series_names())


def test_minutes_that_are_not_there_are_left_out_and_all_of_them_lie_where_they_end():
    lengths = {session: 5.0 for session in EIGHT[:3]} | {"s3": 2.0}
    known = Sessions(EIGHT[:4], EIGHT[:4], ("s3",), lengths)
    at = {run.variant: run.at for run in runs_of(read_series("minutes"), known, CONFIG)}
    assert at["all-of-1"] == pytest.approx(3) and at["all-of-4"] == pytest.approx(3 * 3 + 1.2)
    assert at["2-of-1"] == 2 and "5-of-1" not in at
    assert at["half-of-4"] == 2 and at["1-of-4"] == 4 and at["quarter-of-2"] == 0.5


def test_the_variants_of_the_open_questions_say_where_they_lie():
    lags = runs_of(read_series("lag"), SESSIONS, CONFIG)
    assert [run.config.distillation.lag_ms for run in lags] == [run.at for run in lags]
    depths = {
        run.variant: run.config.distillation.teacher_depths for run in runs_of(read_series("layers"), SESSIONS, CONFIG)
    }
    assert depths["output"] == () and depths["tokens"] == (0.0,) and len(depths["all-layers"]) == 4
    losses = {
        run.variant: run.config.distillation.alignments for run in runs_of(read_series("losses"), SESSIONS, CONFIG)
    }
    assert losses["cosine-cka"] == ("cosine", "cka") and {name for names in losses.values() for name in names} == set(
        ALIGNMENTS
    )


def test_held_out_sessions_are_distilled_on_one_by_one():
    runs = runs_of(read_series("decoding"), SESSIONS, CONFIG)
    assert [(r.folder, r.distill_on) for r in runs[:2]] == [
        ("unsupervised-s6", ("s6",)),
        ("unsupervised-s7", ("s7",)),
    ]
    assert all(r.study.pretrain_on == EIGHT[:6] for r in runs)
    assert [r.study.supervised for r in runs] == [False, False, True, True]


def test_numbers_of_sessions_and_what_is_too_many():
    runs = {r.variant: r for r in runs_of(read_series("multisession"), Sessions(EIGHT[:5], EIGHT[:4], ("s3",)), CONFIG)}
    assert "student-8" not in runs and "teacher-8" not in runs
    assert runs["student-2"].distill_on == ("s0", "s1") and runs["student-2"].study.pretrain_on is None
    assert runs["teacher-2"].distill_on == ("s0",) and runs["teacher-2"].study.pretrain_on == ("s0", "s1")


def test_variants_change_what_they_say_and_nothing_else():
    runs = {r.variant: r.config for r in runs_of(read_series("ablations"), SESSIONS, CONFIG)}
    assert runs["paper"] == CONFIG
    assert (
        runs["no-alignment"].distillation.alignment_weight == 0
        and runs["no-alignment"].transformer == CONFIG.transformer
    )
    assert runs["factor-analysis"].distillation.align_to == "factors"
    assert runs["mask-30"].autoencoding.predictor == CONFIG.autoencoding.predictor


@pytest.mark.parametrize("share", [1.0, 0.5, 0.25, 0.1, 0.05])
@pytest.mark.parametrize("size", [TransformerConfig(64, 3, 4), TransformerConfig(256, 10, 8)], ids=str)
def test_a_share_of_the_weights_is_met(size, share):
    small = scaled(size, share)
    full, part = (sum(p.numel() for p in Transformer(s).parameters()) for s in (size, small))
    assert part / full == pytest.approx(share, rel=0.1) and small.dropout == size.dropout
    assert share < 1 or small == size


def write_yaml(path, **content):
    given = {"figures": "none", "against": "one/distilled", "variants": {"one": {}}}
    path.write_text(yaml.safe_dump(given | content))
    return str(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"variants": {"one": {"modelz": []}}}, "does not know 'modelz'. Use only models, supervised"),
        (
            {"variants": {"one": {"distill_on": "last"}}},
            "`distill_on` must be first, each held out or a positive number",
        ),
        ({"variants": {"../one": {}}}, "`variant` must be made of letters"),
        ({"against": "two/distilled"}, "`against` must be variant/model"),
        ({"measures": ["speed"]}, "`measures` of alignment"),
        ({"drawing": {"kind": "pie"}}, "`kind` must be one of curve, rows"),
        ({"drawing": {"colour": "red"}}, "does not know 'colour'. Use only kind"),
        ({"variants": 3}, "not a series of experiments"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        read_series(write_yaml(tmp_path / "own.yaml", **content))


def test_other_mistakes_are_one_line(tmp_path):
    with pytest.raises(InputError, match="`name` must be one of ablations, alignment"):
        read_series("figure-3")
    series = read_series(
        write_yaml(tmp_path / "own.yaml", variants={"one": {"config": {"distilation": {"alignment_weight": 1.0}}}})
    )
    with pytest.raises(InputError, match="variant 'one': .*distilation"):
        runs_of(series, SESSIONS, CONFIG)
    with pytest.raises(InputError, match="`held_out` 's9' is no session with spikes and lfp"):
        Sessions(EIGHT, EIGHT, ("s9",))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("data"), *(tiny.session(i, seconds=36.0) for i in range(2)))


VARIANTS = {
    "plain": {"models": ["teacher", "distilled", "ms-lfp"]},
    "no-alignment": {"config": {"distillation": {"alignment_weight": 0.0}}},
}


def run(data, out, yaml_path, **changes):
    series = read_series(write_yaml(yaml_path, variants=VARIANTS, against="plain/distilled", measures=["alignment"]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outputs, "write_report", lambda out: out / "report.html")
        given = {"config": CONFIG, "seeds": (0,), "workers": 1, "progress": False, **changes}
        return run_series(series, data, out, **given)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    run(data, folder / "out", folder / "own.yaml")
    return folder


def rows_of(out):
    with (out / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_results_are_merged(finished):
    rows = rows_of(finished / "out")
    assert tuple(rows[0]) == ("variant", *COLUMNS, "protocol")
    assert {row["protocol"] for row in rows} == {"blocked"}
    models = {name: {r["model"] for r in rows if r["variant"] == name and r["metric"] == "r2"} for name in VARIANTS}
    baselines = {"ridge-lfp", "ridge-spikes", "null"}
    assert models["plain"] == {"teacher", "distilled", "ms-lfp"} | baselines
    assert models["no-alignment"] == {"teacher", "distilled"} | baselines
    value = {(r["variant"], r["model"], r["session"]): r["value"] for r in rows if r["metric"] == "r2"}
    assert value["plain", "teacher", "s0"] == value["no-alignment", "teacher", "s0"]
    assert value["plain", "distilled", "s0"] != value["no-alignment", "distilled", "s0"]


def test_alignment_is_measured_on_the_paired_sessions(finished):
    rows = [r for r in rows_of(finished / "out") if r["metric"] in ("cka", "retrieval", "retrieval_chance")]
    assert {(r["variant"], r["model"], r["session"]) for r in rows} == {
        *(("plain", model, session) for model in ("distilled", "ms-lfp") for session in ("s0", "s1")),
        *(("no-alignment", "distilled", session) for session in ("s0", "s1")),
    }
    assert all(0 <= float(r["value"]) <= 1 for r in rows)


def test_a_variant_is_an_experiment_of_its_own(finished):
    for name in VARIANTS:
        assert [check.line for check in run_audit(finished / "out" / name) if check.found] == []
    stages = [files.read_json(finished / "out" / name / "models/teacher/stage.json") for name in VARIANTS]
    assert stages[0]["key"] == stages[1]["key"]


def test_a_series_is_audited_as_a_whole(finished, capsys):
    assert audit(finished / "out") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.endswith(":")] == ["no-alignment:", "plain:"] and len(lines) == 2 * 11
    assert audit(finished / "out", json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["leaks"] is False and [Path(run["out"]).name for run in told["runs"]] == ["no-alignment", "plain"]


def test_tables_and_figures_are_written(finished):
    out = finished / "out"
    assert {p.name for p in (out / "tables").iterdir()} == {
        f"{name}.{kind}" for name in ("summary", "comparisons") for kind in ("csv", "md", "tex")
    }
    compared = pd.read_csv(out / "tables/comparisons.csv")
    assert {"plain/teacher", "plain/ridge-lfp", "no-alignment/distilled"} <= set(compared["first"])
    assert "no-alignment/ridge-lfp" not in set(compared["first"])
    for name in ("summary", "sessions"):
        assert (out / f"figures/{name}.png").read_bytes()[:4] == b"\x89PNG"


def test_a_second_run_trains_and_measures_nothing(data, finished):
    before = (finished / "out/results.csv").read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spikefield.experiments.runner.pretrain", lambda *_, **__: pytest.fail("trained again"))
        patch.setattr("spikefield.experiments.runner.distill", lambda *_, **__: pytest.fail("trained again"))
        patch.setitem(MEASURES, "alignment", lambda *_: pytest.fail("measured again"))
        run(data, finished / "out", finished / "own.yaml")
    assert (finished / "out/results.csv").read_bytes() == before


def test_another_series_is_left_alone(data, finished, tmp_path):
    with pytest.raises(InputError, match="holds own .blocked.. Choose another folder"):
        run(data, finished / "out", tmp_path / "other.yaml")


def test_the_published_protocol_marks_every_table(data, finished, tmp_path, monkeypatch):
    split = experiment.replace(CONFIG.binning.split, protocol="paper")
    config = experiment.replace(CONFIG, binning=experiment.replace(CONFIG.binning, split=split))
    monkeypatch.setitem(VARIANTS, "no-alignment", {"models": ["teacher", "distilled"]})
    run(data, tmp_path / "out", tmp_path / "own.yaml", config=config)
    for path in [tmp_path / "out/results.csv", *(tmp_path / "out/tables").iterdir()]:
        assert "LEAKS" in path.read_text()
    described = files.read_json(tmp_path / "out/plain/run.json")
    assert described["leaks"] and described["protocol"] == "paper"
    found = {check.name for check in run_audit(tmp_path / "out/plain") if check.found}
    assert {"protocol", "guards"} <= found and "scores" not in found


def test_some_variants_alone_and_later_the_rest(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(outputs, "write_report", lambda out: out / "report.html")
    own = write_yaml(tmp_path / "own.yaml", variants=VARIANTS, against="plain/distilled")
    given = {"out": tmp_path / "out", "config": CONFIG, "seeds": [0], "workers": 1}
    reproduce(own, data, only=["no-alignment"], **given)
    assert {row["variant"] for row in rows_of(tmp_path / "out")} == {"no-alignment"}
    reproduce(own, data, only=["plain"], **given)
    assert {row["variant"] for row in rows_of(tmp_path / "out")} == set(VARIANTS)
    assert "plain" in capsys.readouterr().out and files.read_json(tmp_path / "out/run.json")["leaks"] is False
    with pytest.raises(InputError, match="`only` must be of no-alignment, plain, got 'all'"):
        reproduce(own, data, only=["all"], **given)


def test_held_out_by_default_is_the_last_quarter(data):
    assert sessions_in(data, None) == Sessions(("s0", "s1"), ("s0", "s1"), ("s1",))
