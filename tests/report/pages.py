"""The pages that a browser is shown: a clean report, one full of cautions and markup, and a validation."""

import json

import numpy as np
from fake_out import DIMS, MEANS, prediction_arrays, results_table, run_record, write_fake

from spikefield.errors import InputError
from spikefield.preparation.commands import validate
from spikefield.recordings.arrays import from_arrays
from spikefield.recordings.session import save
from spikefield.recordings.simulator import SimulatorConfig, simulate_session
from spikefield.report.page import write_report

EVIL = "<img src=x onerror=alert(1)>"
SESSIONS = tuple(f"sim-{i}" for i in range(6))


def report(folder):
    """Return the report of a whole experiment, with more sessions than it shows at once."""
    return write_report(write_fake(folder, sessions=SESSIONS, maps=200))


def cautious_report(folder):
    """Return a report with every caution, where every name that comes from files is markup."""
    write_fake(folder, seeds=(0,), sessions=("s0", "s1"), leaks=True, caution=f"trial time predicts position {EVIL}")
    results = results_table(seeds=(0,), sessions=("s0", "s1"), means=MEANS | {"null": (0.3, 0.3)})
    results["metric"] = results["metric"].str.replace(DIMS[0], EVIL)
    results.to_csv(folder / "results.csv", index=False)
    run = run_record(seeds=(0,), sessions=("s0", "s1"), leaks=True, caution=f"trial time predicts position {EVIL}")
    run |= {"command": f"spikefield {EVIL}", "chosen": [EVIL], "hardware": {EVIL: EVIL}, "versions": {EVIL: EVIL}}
    run["data"]["sessions"][0] |= {"subject": EVIL, "behavior": [EVIL, DIMS[1]], "units": None}
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    np.savez(folder / "predictions" / "s0.npz", **(prediction_arrays() | {"names": np.array([EVIL, DIMS[1]])}))
    (folder / "curves.csv").unlink()
    return write_report(folder)


def validation(folder):
    """Return the validation of a session whose names are markup, one without a field, and one that is no session."""
    arrays = simulate_session(SimulatorConfig(session_s=20.0, n_channels=(16,), n_units=(20, 20)), index=0).arrays
    loud = arrays["lfp"] * np.where(np.arange(16) == 3, 100, 1)
    named = {"channel_ids": [EVIL, *(f"e{i}" for i in range(15))], "behavior_names": [EVIL, "vy"]}
    no_field = {"lfp": None, "lfp_rate_hz": None, "channel_positions_um": None}
    save(from_arrays(**{**arrays, **named, "lfp": loud, "session": "monday"}), folder / "in" / "monday.h5")
    save(from_arrays(**{**arrays, **no_field, "session": "tuesday"}), folder / "in" / "tuesday.h5")
    (folder / "in" / "wednesday.h5").write_bytes(b"no session")
    try:
        validate(folder / "in", out=folder)
    except InputError as error:
        assert "wednesday.h5" in str(error)
    return folder / "validation.html"


PAGES = {"report": report, "cautious": cautious_report, "validation": validation}
