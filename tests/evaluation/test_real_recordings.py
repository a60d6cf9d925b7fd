"""The simple decoders reach on real recordings what an independent linear reference reached there."""

from pathlib import Path

import numpy as np
import pytest
from evaluation_sessions import session_of
from scipy.io import loadmat

from spikefield.evaluation.baselines import excess, null, ridge_lfp, ridge_spikes
from spikefield.evaluation.readout import decode
from spikefield.windows.splits import SplitConfig, blocked_split

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "cao2021_hpc"
RAT = FOLDER / "rat" / "ratA_Figure2_source_data_wake.mat"
MOUSE = FOLDER / "mouse" / "mouse1_session1_Features_data.mat"


def _split(segment, **config):
    return blocked_split(segment, config=SplitConfig(**config), bin_width_ms=100.0, reach_s=0.0, session_id="real")


@pytest.fixture(scope="module")
def rat():
    if not RAT.is_file():
        pytest.skip(f"{RAT.name} is not here: real recordings lie beside the project, not in it")
    content = loadmat(RAT)
    angle = 2 * np.pi * content["Position"]
    return session_of(
        np.concatenate([np.cos(angle), np.sin(angle)], axis=1),
        counts=content["Spikes"].astype(np.int32),
        lfp=np.log(content["FPAuhf"]).astype(np.float32),
        bin_width_ms=100.0,
        split=_split(np.zeros(len(angle), int), test_blocks=(2, 5, 8), valid_blocks=(0,)),
    )


@pytest.fixture(scope="module")
def mouse():
    if not MOUSE.is_file():
        pytest.skip(f"{MOUSE.name} is not here: real recordings lie beside the project, not in it")
    content = loadmat(MOUSE)
    trial = np.concatenate([np.ravel(numbers) for numbers in content["TrNm"].ravel()])
    order = np.argsort(trial, kind="stable")
    stacked = {name: np.concatenate(list(content[name].ravel()))[order] for name in ("post", "FPAuhf", "Spike")}
    segment = np.unique(trial[order], return_inverse=True)[1]
    return session_of(
        stacked["post"].astype(np.float64),
        counts=stacked["Spike"].astype(np.int32),
        lfp=np.log(stacked["FPAuhf"]).astype(np.float32),
        bin_width_ms=100.0,
        segment=segment,
        has_trials=True,
        split=_split(segment, guard_s=0.0),
    )


def test_lagged_ridge_reaches_the_reference_on_the_rat(rat):
    """The reference, on ±3 bins and three of ten blocks held out: 0.86 from spikes, 0.72 from the field."""
    spikes, field = ridge_spikes(rat), ridge_lfp(rat)
    assert spikes.mean_r2 == pytest.approx(0.86, abs=0.03)
    assert field.mean_r2 == pytest.approx(0.74, abs=0.04)
    assert (excess(spikes, null(rat, rat.counts, seed=0)) > 0.8).all()


def test_time_in_trial_alone_predicts_the_mouse_position(mouse):
    chance = null(mouse, mouse.lfp, seed=0)
    decoded = decode(mouse, mouse.lfp)
    assert 0.2 < chance.mean_r2 < 0.95
    assert 0 < excess(decoded, chance)[0] < decoded.r2[0] - 0.2
