"""`spikefield chain` prints the steps, the reach and the delay in ms."""

import re

import numpy as np
import pytest
import yaml

import tiny
from spikefield.config import load_preset
from spikefield.errors import InputError
from spikefield.experiments.chain import chain
from spikefield.recordings.arrays import from_arrays


@pytest.fixture
def folder(tmp_path):
    lfp = np.random.default_rng(0).normal(size=(140_000, 3))
    fast = from_arrays(session="fast", lfp=lfp, lfp_rate_hz=200.0)
    return tiny.write(tmp_path, fast, tiny.session(1, without=("lfp",)))


def test_the_delay_of_the_realtime_chain_is_printed(folder, capsys):
    chain(folder)
    printed = capsys.readouterr().out
    assert printed.startswith("fast: realtime, bins of 20 ms\n  no notch: no mains found in training time\n")
    delay = re.search(r"causal: ([\d.]+) ms behind the bin's centre", printed)
    assert delay is not None and 5 < float(delay[1]) < 60
    assert "s1" not in printed


def test_the_papers_chain_says_that_it_looks_ahead(folder, capsys):
    chain(folder / "fast.h5", preset="paper", bin_width_ms=10.0)
    assert "not causal: looks ahead, not for live use" in capsys.readouterr().out


def test_a_chain_of_ones_own_is_read_from_a_file_and_from_a_configuration(folder, tmp_path, capsys):
    steps = {"steps": [{"step": "reference", "kind": "median"}, {"step": "bins"}, {"step": "zscore", "robust": True}]}
    (tmp_path / "steps.yaml").write_text(yaml.safe_dump(steps))
    chain(folder / "fast.h5", preset=str(tmp_path / "steps.yaml"))
    assert "median" in capsys.readouterr().out
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"binning": {"chain": steps}}))
    parsed = load_preset("quick", tmp_path / "mine.yaml")
    assert parsed.binning.chain == steps
    (tmp_path / "steps.yaml").write_text("- bins\n")
    with pytest.raises(InputError, match=r"steps.yaml: must hold a list `steps`, got list"):
        chain(folder, preset=str(tmp_path / "steps.yaml"))


def test_mistakes(folder):
    with pytest.raises(InputError, match="`preset` must be one of bins, paper, realtime, band_power, got 'fast'"):
        chain(folder, preset="fast")
    with pytest.raises(InputError, match="holds no session with a field potential"):
        chain(folder / "s1.h5")
