"""Real files from end to end: what is known to be wrong with them is found, and nothing else of weight."""

from pathlib import Path

import pytest

from spikefield.preparation.commands import prepare
from spikefield.preparation.verdict import judge_file

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def prepared(name, tmp_path):
    if not (DATA / name).is_dir():
        pytest.skip(f"needs the real recording {name}")
    prepare([DATA / name], out=tmp_path)
    (path,) = tmp_path.glob("*.h5")
    return judge_file(path)


def test_axona_files(tmp_path):
    verdict = prepared("axona_r1838", tmp_path)
    assert all(verdict.uses.values())
    found = {f.check: f for f in verdict.of("problem", "warning")}
    assert found["lost_samples"].where == "1200.00 to 1201.00 s"  # the trial lasted 1200 s, zeros follow
    assert "12 of 13" in found["rates"].what
    assert set(found) == {"lost_samples", "rates"}
    assert "50 Hz" in next(f.what for f in verdict.of("note") if f.check == "mains")


def test_brainvision_files(tmp_path):
    verdict = prepared("pynm_ecog_stn", tmp_path)
    assert verdict.uses == {"teacher": False, "student": False, "inference": True, "scoring": True}
    assert {f.check for f in verdict.of("problem", "warning")} == {"length", "unit_of_measure"}
