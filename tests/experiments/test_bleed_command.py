"""`spikefield bleed` over a folder: a table, numbers, one picture; what cannot be tested is told."""

import json
import logging

import numpy as np
import pytest

import tiny
from spikefield.errors import InputError
from spikefield.experiments.bleed import bleed
from spikefield.recordings.arrays import from_arrays


@pytest.fixture
def folder(tmp_path):
    state = tiny.latent(0, 3000)
    field = np.repeat(state, 2, axis=0) + 0.5 * np.random.default_rng(0).normal(size=(6000, 2))
    streams = {"behavior": state, "behavior_rate_hz": 50.0, "lfp": field, "lfp_rate_hz": 100.0}
    once_a_bin, no_field = tiny.session(2), tiny.session(1, without=("lfp",))
    return tiny.write(tmp_path / "data", from_arrays(session="s0", **streams), no_field, once_a_bin)


def test_a_table_numbers_and_one_picture(folder, tmp_path, capsys, caplog):
    caplog.set_level(logging.INFO, logger="spikefield")
    bleed(folder, out=tmp_path / "out")
    printed = capsys.readouterr().out
    assert "s0 (" in printed and "cutoff (Hz)" in printed and "What you read comes from below" in printed
    assert "left out: s1.h5: session 's1' has no lfp" in caplog.text
    told, untested = json.loads((tmp_path / "out/bleed.json").read_text())["sessions"]
    assert told["session"] == "s0" and told["sentence"] in printed
    assert all(np.isfinite(row["r2_below"]) for row in told["r2"])
    assert untested["r2"] == [] and untested["sentence"].startswith("The field comes at 50 Hz: nothing can be tested")
    assert (tmp_path / "out/bleed.png").read_bytes().startswith(b"\x89PNG")


def test_one_session_may_be_named(folder, capsys):
    bleed(folder / "s0.h5")
    assert "s0 (" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"s1\.h5: session 's1' has no lfp") as caught:
        bleed(folder / "s1.h5")
    assert "\n" not in str(caught.value)
