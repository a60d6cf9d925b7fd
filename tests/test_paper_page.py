"""The page on the paper: its code is there, its commands exist, and the published means are those of the reference."""

import re
from pathlib import Path

import pytest

from spikefield.cli import COMMANDS
from spikefield.experiments.series import read_series, series_names
from spikefield.experiments.study import MODELS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/paper.md").read_text(encoding="utf-8")


def test_every_file_it_names_is_there():
    named = re.findall(r"`([a-z_/-]+\.(?:py|yaml))`", PAGE)
    assert len(named) > 15
    assert [name for name in named if not (ROOT / "src/spikefield" / name).is_file()] == []


def test_every_command_and_series_exists_and_every_series_is_told():
    assert set(re.findall(r"spikefield ([a-z]+)", PAGE)) <= set(COMMANDS)
    findings = (ROOT / "docs/findings.md").read_text(encoding="utf-8")
    of_paper, left_open = (set(re.findall(r"spikefield reproduce ([a-z-]+)", page)) for page in (PAGE, findings))
    assert {name for name in of_paper if read_series(name).drawing is None} == of_paper
    assert of_paper | left_open == set(series_names()) and not of_paper & left_open


def test_every_model_is_told():
    assert [model for model in MODELS if f"`{model}`" not in PAGE] == []


def test_the_published_means_are_those_of_the_reference():
    path = ROOT.parent / "shared/reference/generalization-r2.csv"
    if not path.is_file():
        pytest.skip("the published table of generalisation is not here")
    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    for monkey in ("", "MonkeyI", "MonkeyC"):
        chosen = [row for row in rows if row[0].startswith(monkey)]
        field, distilled = (sum(float(row[i]) for row in chosen) / len(chosen) for i in (1, 2))
        assert f"| {distilled:.3f} · {field:.3f} |" in PAGE
    above = sum(float(row[2]) > float(row[1]) for row in rows)
    assert f"| {above} of {len(rows)} |" in PAGE
