"""Stages are kept by content, appear whole, and know what they cost; a folder belongs to one experiment."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from spikefield.errors import InputError
from spikefield.experiments.workspace import Workspace, content_key
from spikefield.training.optimiser import OptimiserConfig

LABEL = ("train", "teacher", 0)


def write(text, calls):
    def run(folder):
        calls.append(text)
        (folder / "result.txt").write_text(text)

    return run


def test_a_stage_runs_once_for_its_key(tmp_path):
    space, calls = Workspace(tmp_path), []
    first = space.stage("models/teacher", key="k1", label=LABEL, run=write("one", calls))
    assert first == tmp_path / "models/teacher" and (first / "result.txt").read_text() == "one"
    assert space.stage("models/teacher", key="k1", label=LABEL, run=write("two", calls)) == first
    assert (first / "result.txt").read_text() == "one"
    space.stage("models/teacher", key="k2", label=LABEL, run=write("three", calls))
    assert (first / "result.txt").read_text() == "three" and calls == ["one", "three"]
    assert sorted(p.name for p in first.iterdir()) == ["result.txt", "stage.json"]


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt(), InputError("x")])
def test_a_stage_that_fails_leaves_what_was_there(tmp_path, error):
    space = Workspace(tmp_path)
    space.stage("models/teacher", key="k1", label=LABEL, run=write("one", []))

    def fail(folder):
        (folder / "half").write_text("x")
        raise error

    with pytest.raises(type(error)):
        space.stage("models/teacher", key="k2", label=LABEL, run=fail)
    with pytest.raises(type(error)):
        space.stage("models/other", key="k2", label=LABEL, run=fail)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == [
        "models",
        "models/teacher",
        "models/teacher/result.txt",
        "models/teacher/stage.json",
    ]
    assert (tmp_path / "models/teacher/result.txt").read_text() == "one"


@pytest.mark.parametrize("folder", ["out", ".hidden/out"])
def test_records_say_what_finished_stages_cost(tmp_path, folder):
    space = Workspace(tmp_path / folder)
    space.stage("a", key="k", label=LABEL, run=write("x", []))
    space.stage("b", key="k", label=("score", "baselines", None), run=write("x", []))
    (space.out / ".b.1234.part").mkdir()
    (space.out / ".b.1234.part/stage.json").write_text("{}")
    records = space.records()
    assert [(r["stage"], r["model"], r["seed"]) for r in records] == [LABEL, ("score", "baselines", None)]
    assert all(set(r) == {"stage", "model", "seed", "seconds", "peak_memory_mb"} for r in records)
    assert all(r["seconds"] >= 0 and r["peak_memory_mb"] > 10 for r in records)


def test_a_folder_belongs_to_one_experiment(tmp_path):
    wanted = {"config": {"blocks": (2, 5), "window_s": None}, "data": {"s0": "abc"}}
    Workspace(tmp_path / "out").claim(wanted)
    Workspace(tmp_path / "out").claim(wanted)
    with pytest.raises(InputError, match="holds another experiment: data differ. Choose another folder"):
        Workspace(tmp_path / "out").claim(wanted | {"data": {"s0": "abd"}})
    assert json.loads((tmp_path / "out/experiment.json").read_text())["config"]["blocks"] == [2, 5]


def test_many_workers_may_write_at_once(tmp_path):
    def work(i):
        space = Workspace(tmp_path / "out")
        space.claim({"config": 1})
        for stage in ("a", "b", "c"):
            path = space.stage(f"models/{stage}", key="k", label=LABEL, run=write(stage, []))
            assert (path / "result.txt").read_text() == stage
        return len(space.records())

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(work, range(64))) == {3}
    names = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert names == sorted(
        ["experiment.json", *(f"models/{s}/{f}" for s in "abc" for f in ("result.txt", "stage.json"))]
    )


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="is not empty and holds no experiment"):
        Workspace(tmp_path).claim({})
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_the_key_is_that_of_the_content():
    key = content_key("teacher", 0, OptimiserConfig(), [["s0", "abc"]])
    assert key == content_key("teacher", 0, OptimiserConfig(), [["s0", "abc"]])
    others = [
        content_key("teacher", 1, OptimiserConfig(), [["s0", "abc"]]),
        content_key("teacher", 0, OptimiserConfig(epochs=3), [["s0", "abc"]]),
        content_key("teacher", 0, OptimiserConfig(), [["s0", "abd"]]),
    ]
    assert len({key, *others}) == 4
