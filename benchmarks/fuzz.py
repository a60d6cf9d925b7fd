"""Spoil artifacts, checkpoints and configurations at random; each must be refused in one line or prove harmless.

A case fails if it ends in anything but an `InputError`, takes longer than ten seconds, allocates more than 2 GB, runs
planted code, or if a spoilt file is taken for a good one. Cases run in child processes, so that a crash is counted.
Last line: JSON with the number of cases by kind and outcome, and the failures.

    python benchmarks/fuzz.py --cases 2400
"""

import argparse
import json
import logging
import multiprocessing
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

import spikefield.artifact as artifact
import spikefield.cli as cli
import spikefield.experiments.commands as commands
import spikefield.files as files
import spikefield.training.checkpoint as checkpoint
from spikefield.config import PRESETS, ExperimentConfig, preset_path
from spikefield.errors import InputError
from spikefield.models.transformer import TransformerConfig
from spikefield.objectives.autoencoding import AutoencodingConfig
from spikefield.training.checkpoint import Checkpoint
from spikefield.training.optimiser import OptimiserConfig

LIMIT_S, LIMIT_BYTES = 10, 2 << 30
ODD = (
    *(None, True, -1, 0, 1, 7, 10**9, 10**18, 10**400, -0.5, 1e308, float("nan"), float("inf")),
    *("", "x", "../../etc/passwd", "/etc/passwd", "spikes", "lfp", "\x00", "é" * 300, "<script>alert(1)</script>"),
    *([], {}, [[]], [1, 2, 3], {"a": 1}, [10**12, 10**12], {"dim": 10**9}),
)
PLANTED = "!!python/object/apply:os.system ['touch {marker}']"


def spoil_bytes(rng: random.Random, content: bytes) -> bytes:
    """Flip, cut, repeat or replace bytes."""
    data, at = bytearray(content), rng.randrange(max(len(content), 1))
    kind = rng.choice(("flip", "flips", "cut", "grow", "zero", "pickle"))
    if kind == "flip":
        data[at] ^= 1 << rng.randrange(8)
    elif kind == "flips":
        for _ in range(rng.randrange(2, 60)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    elif kind == "cut":
        del data[at:]
    elif kind == "grow":
        data[at:at] = rng.randbytes(rng.randrange(1, 200))
    elif kind == "zero":
        data[at : at + 64] = bytes(len(data[at : at + 64]))
    else:
        data[:] = b"cos\nsystem\n(S'touch planted'\ntR."
    return bytes(data)


def spoil_tree(rng: random.Random, tree: Any) -> Any:
    """Replace, remove, add or nest one value somewhere in plain JSON."""
    if isinstance(tree, dict) and tree and rng.random() < 0.85:
        key = rng.choice(sorted(tree))
        changed = dict(tree)
        match rng.randrange(8):
            case 0:
                del changed[key]
            case 1:
                changed[rng.choice(("extra", "../x", ""))] = rng.choice(ODD)
            case _:
                changed[key] = spoil_tree(rng, tree[key])
        return changed
    if isinstance(tree, list) and tree and rng.random() < 0.85:
        i = rng.randrange(len(tree))
        return [*tree[:i], spoil_tree(rng, tree[i]), *tree[i + 1 :]]
    return rng.choice(ODD)


def spoil_safetensors(rng: random.Random, content: bytes) -> bytes:
    """Change the header of a safetensors file: shapes, types, offsets, names."""
    (length,) = struct.unpack("<Q", content[:8])
    header = spoil_tree(rng, json.loads(content[8 : 8 + length]))
    text = json.dumps(header).encode()
    return struct.pack("<Q", rng.choice((len(text), len(text), len(text), 2**62))) + text + content[8 + length :]


def spoil_artifact(rng: random.Random, folder: Path) -> bool:
    """Spoil a model folder; return whether its hashes were made to fit, so that only its content can tell."""
    path = folder / rng.choice([name for name in artifact._FILES if name != "README.md"] + ["config.json"] * 3)
    fitting = rng.random() < 0.7
    if path.suffix == ".json" and rng.random() < 0.8:
        path.write_text(json.dumps(spoil_tree(rng, files.read_json(path))))
    elif path.suffix == ".safetensors" and rng.random() < 0.5:
        path.write_bytes(spoil_safetensors(rng, path.read_bytes()))
    else:
        path.write_bytes(spoil_bytes(rng, path.read_bytes()))
    if fitting:
        try:
            config = json.loads((folder / "config.json").read_text())
            config["files"] = config["files"] | {path.name: files.sha256(path)} if path.name != "config.json" else {}
            if path.name == "config.json":
                config["files"] = {name: files.sha256(folder / name) for name in artifact._FILES}
            config["sha256"] = artifact.config_hash(config)
            (folder / "config.json").write_text(json.dumps(config))
        except (ValueError, TypeError, KeyError):
            pass
    return fitting


def try_artifact(rng: random.Random, good: Path, place: Path) -> str:
    """Load a spoilt model; one whose hashes fit may load, if then all of it can be used or is refused."""
    folder = Path(shutil.copytree(good / rng.choice(("teacher", "student")), place / "model"))
    before = {p.name: said(p) for p in folder.iterdir()}
    fitting = spoil_artifact(rng, folder)
    same = all(said(folder / name) == content for name, content in before.items())
    model = artifact.load(folder)
    if not fitting and not same:
        raise AssertionError("a spoilt model was loaded")
    for session_id in model.encoder.space.rows:
        commands.layout.check_name("session", session_id)
    return "harmless"


def said(path: Path) -> Any:
    """Return what a file says: JSON means the same however it is laid out."""
    try:
        return (
            json.dumps(json.loads(path.read_bytes()), sort_keys=True) if path.suffix == ".json" else path.read_bytes()
        )
    except (ValueError, RecursionError):
        return path.read_bytes()


def try_checkpoint(rng: random.Random, good: Path, place: Path) -> str:
    """Load spoilt checkpoints; what comes back must be one of those that were saved."""
    folder = Path(shutil.copytree(good / "checkpoint", place / "checkpoint"))
    for path in sorted(folder.iterdir())[: rng.randrange(1, 3)]:
        spoil = spoil_safetensors if rng.random() < 0.4 else spoil_bytes
        path.write_bytes(spoil(rng, path.read_bytes()))
    found = checkpoint.load(folder)
    if found is None or found.state["epoch"] not in (1, 2) or float(found.tensors["a"].sum()) != found.state["sum"]:
        raise AssertionError("a spoilt checkpoint was loaded")
    return "harmless"


def try_config(rng: random.Random, good: Path, place: Path) -> str:
    """Parse a spoilt YAML file through the command line; what comes out must be a checked configuration."""
    tree = yaml.safe_load(preset_path(rng.choice(PRESETS)).read_text())
    tree = spoil_tree(rng, tree)
    try:
        text = yaml.safe_dump(tree)
    except yaml.YAMLError:
        text = "a: [1, 2"
    kind = rng.randrange(6)
    if kind == 0:
        text = spoil_bytes(rng, text.encode()).decode(errors="replace")
    if kind == 1:
        text = f"{rng.choice(('window_s', 'transformer', 'evil'))}: {PLANTED.format(marker=place / 'planted')}\n"
    if kind == 2:
        text += "\nbomb: &a [x,x,x,x,x,x,x,x,x]\n" + "\n".join(
            f"b{i}: &b{i} [{','.join([f'*b{i - 1}' if i else '*a'] * 9)}]" for i in range(9)
        )
    path = place / "config.yaml"
    path.write_text(text)
    seen: list[ExperimentConfig] = []

    def stub(*, config: ExperimentConfig) -> None:
        seen.append(config)

    cli._call("fuzz", stub, ["--config", str(path)])
    if not isinstance(seen[0], ExperimentConfig):
        raise AssertionError("no configuration came out")
    return "harmless"


KINDS: dict[str, Callable[[random.Random, Path, Path], str]] = {
    "artifact": try_artifact,
    "checkpoint": try_checkpoint,
    "config": try_config,
}


def one_case(kind: str, seed: int, good: Path) -> tuple[str, str]:
    """Run one case; return its outcome and, where it failed, why."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        signal.signal(signal.SIGALRM, _too_long)
        signal.alarm(LIMIT_S)
        try:
            outcome, why = KINDS[kind](random.Random(f"{kind}{seed}"), good, place), ""
        except InputError as error:
            outcome, why = "refused", ""
            if "\n" in str(error) and kind != "config":  # the command line joins what its parser says
                outcome, why = "failed", "more than one line"
        except BaseException as error:
            outcome, why = "failed", f"{type(error).__name__}: {str(error)[:200]}"
        finally:
            signal.alarm(0)
        if (place / "planted").exists() or Path("planted").exists():
            outcome, why = "failed", "planted code ran"
    return outcome, why


def _too_long(*_: object) -> None:
    raise TimeoutError(f"longer than {LIMIT_S} s")


def _child(kind: str, seeds: list[int], good: Path, pipe: Any) -> None:
    logging.disable(logging.CRITICAL)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + LIMIT_BYTES, held + LIMIT_BYTES))
    for seed in seeds:
        pipe.send((seed, *one_case(kind, seed, good)))
    pipe.close()


def run(good: Path, *, cases: int, seed: int) -> dict[str, Any]:
    """Run `cases` cases of all kinds in child processes, and count."""
    outcomes: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    failures = []
    for kind in KINDS:
        left = [seed + i for i in range(cases // len(KINDS))]
        while left:
            here, there = multiprocessing.Pipe(duplex=False)
            child = multiprocessing.get_context("fork").Process(target=_child, args=(kind, left, good, there))
            child.start()
            there.close()
            done = 0
            try:
                while done < len(left):
                    number, outcome, why = here.recv()
                    done += 1
                    outcomes[kind][outcome] += 1
                    if outcome == "failed":
                        failures.append(f"{kind} {number}: {why}")
            except EOFError:
                child.join()
                outcomes[kind]["failed"] += 1
                failures.append(f"{kind} {left[done]}: the process ended with {child.exitcode}")
                done += 1
            child.join()
            left = left[done:]
    total = sum(sum(counts.values()) for counts in outcomes.values())
    return {"cases": total, "outcomes": {k: dict(v) for k, v in outcomes.items()}, "failures": failures}


def make_good(folder: Path) -> None:
    """Write what is spoilt later: a teacher, a student and two checkpoints."""
    size = TransformerConfig(dim=16, n_layers=1, n_heads=2)
    pace = OptimiserConfig(epochs=1, batch_windows=8)
    config = ExperimentConfig(
        window_s=1.0,
        spike_patch=8,
        transformer=size,
        autoencoding=AutoencodingConfig(predictor=TransformerConfig(dim=8, n_layers=1, n_heads=2)),
        pretraining=pace,
        distilling=pace,
    )
    commands.simulate(out=folder / "data", sessions=1, minutes=0.6)
    commands.pretrain(folder / "data", out=folder / "teacher", config=config)
    commands.distill(folder / "data", out=folder / "student", teacher=folder / "teacher", config=config)
    for i in (1, 2):
        tensors = {"a": torch.arange(100.0) * i, "b": torch.from_numpy(np.arange(6).reshape(2, 3))}
        checkpoint.save(
            folder / "checkpoint", Checkpoint(tensors, {"epoch": i, "sum": float(tensors["a"].sum()), "curve": []})
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=2400)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        make_good(Path(folder))
        found = run(Path(folder), cases=given.cases, seed=given.seed)
    print(json.dumps(found))
    sys.exit(bool(found["failures"]))


if __name__ == "__main__":
    main()
