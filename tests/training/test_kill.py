"""`kill -9` in the midst of pretraining and distillation: what is run again ends as if nothing had happened."""

import importlib.util
from pathlib import Path

import pytest

import tiny

_PATH = Path(__file__).parents[2] / "benchmarks/kill.py"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python 3.12 on forks of processes with threads
def test_a_run_that_is_killed_three_times_ends_alike(tmp_path):
    spec = importlib.util.spec_from_file_location("kill", _PATH)
    kill = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(kill)
    (tmp_path / "data").mkdir()
    tiny.write(tmp_path / "data", tiny.session(0, seconds=30.0))
    found = kill.measure(tmp_path, kills=3, seed=1, epochs=6, sessions=1, minutes=0.5)
    assert found["kills"] == 3 and found["equal"] and found["left_behind"] == []
