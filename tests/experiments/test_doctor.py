"""The doctor's answer: what works, what is missing, how to mend it."""

import importlib.metadata

import pytest
from packaging.requirements import Requirement

from spikefield.experiments import doctor as doctors
from spikefield.experiments.doctor import doctor, lacking


def test_a_sound_machine_is_told_so(capsys):
    assert doctor() == 0
    out = capsys.readouterr().out
    for word in ("python", "torch", "lightning", "ray", "torch-brain", "processors", "memory", "disk", "extra nwb"):
        assert word in out
    assert "float32 works, bfloat16 works" in out and "\nNO" not in out


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("numpy>=1", ""),
        ("numpy>=99", "but >=99 is needed. Run: pip install 'numpy>=99'"),
        ("no-such-package>=1", "not installed. Run: pip install 'no-such-package>=1'"),
    ],
)
def test_what_is_lacking_is_said_with_its_remedy(wanted, said):
    found = lacking(Requirement(wanted))
    assert found.endswith(said) and bool(found) == bool(said)


def test_a_missing_package_is_exit_status_1(capsys, monkeypatch):
    given = [*(importlib.metadata.requires("spikefield") or []), "no-such-package>=1"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: given)
    assert doctor() == 1
    assert "\nNO  no-such-package  not installed." in capsys.readouterr().out.replace("    ", "  ").replace("   ", "  ")


def test_a_missing_extra_is_named_with_its_command_and_is_no_fault(capsys, monkeypatch):
    given = [*(importlib.metadata.requires("spikefield") or []), 'no-such-package>=1; extra == "nwb"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: given)
    assert doctor() == 0
    assert "lacks no-such-package; if you want it: pip install 'spikefield[nwb]'" in capsys.readouterr().out


def test_a_processor_that_computes_wrongly_is_exit_status_1(capsys, monkeypatch):
    monkeypatch.setattr(doctors, "_trial", lambda device: "float32 fails (illegal instruction)")
    assert doctor() == 1
    assert "torch on cpu: mend the lines that begin with NO" in capsys.readouterr().out
