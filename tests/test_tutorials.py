"""Every tutorial runs as it stands, in a folder of its own, and prints what its text says; each makes a notebook."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest

ROOT = Path(__file__).parent.parent
TUTORIALS = {path.stem: path for path in (ROOT / "examples" / "tutorials").glob("*.py")}
DATA = Path(os.environ.get("SPIKEFIELD_DATA", ROOT.parent / "shared" / "data")).resolve()
SAID = {
    "1_own_arrays": [
        "2 of 2 sessions can be used",
        "With one seed, distilled",
        "own session (monday)",
        "results/report.html",
    ],
    "2_real_recording": ["8 running periods", "multi-unit signal", "With one seed"],
    "3_reading_a_report": [
        "Distillation did not help here",
        "no model reads this behaviour from the field potential better than chance",
        "use ridge-lfp",
        "clearly above distilled",
        "distilled - ms-lfp",
        "caution: One seed",
    ],
    "4_to_the_rig": ["missing: ch015", "dropped samples: 10 bridged ms: 40.0", "'ended': 'source ended'", "step.onnx"],
}


def run(name, folder, **environment):
    """Run a tutorial as a script in `folder` on one thread; return what it printed."""
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "SPIKEFIELD_DATA": str(DATA), **environment}
    done = subprocess.run([sys.executable, TUTORIALS[name]], cwd=folder, env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", sorted(SAID))
def test_it_runs_and_prints_what_its_text_says(name, tmp_path):
    if name == "2_real_recording" and not (DATA / "cao2021_hpc").is_dir():
        pytest.skip("the rat's recording is not here")
    printed = run(name, tmp_path)
    for words in SAID[name]:
        assert words in printed
    if name == "4_to_the_rig":
        offline, _, live = map(float, re.findall(r"R² (\d\.\d+)", printed))
        assert abs(live - offline) < 0.01


def test_all_are_tested():
    assert set(SAID) == set(TUTORIALS) and len(SAID) == 4


def test_without_the_recording_one_line_says_so(tmp_path):
    printed = run("2_real_recording", tmp_path, SPIKEFIELD_DATA=str(tmp_path))
    assert printed.startswith("skipped: ") and printed.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", sorted(SAID))
def test_it_makes_a_notebook_and_a_page(name):
    notebook = jupytext.read(TUTORIALS[name])
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds[:2] == ["markdown", "code"] and kinds.count("markdown") >= 5
    assert notebook.cells[0].source.startswith("# ")
    page = jupytext.writes(notebook, fmt="md:markdown")
    assert notebook.cells[0].source in page and page.count("```python") == kinds.count("code")
