"""The folder of an experiment: which experiment it holds, which stages are finished, what each cost.

A stage is a function that fills a folder. Its key is the hash of all that determines it; a stage whose folder carries
the same key is not run again. Folders appear whole, so that any number of workers may write here at once. A stage that
trains keeps its checkpoints in a hidden folder beside its own until it is finished, so that a run that was cut short
goes on in the midst of the stage it was in.
"""

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil

import spikefield.files as files
import spikefield.training.checkpoint as checkpoint
from spikefield.errors import InputError
from spikefield.training.processes import is_first, wait_for_all

_STAGE_FILE = "stage.json"
_SAMPLING_S = 0.1


@dataclass(frozen=True)
class StageRecord:
    """What a stage cost."""

    stage: str
    model: str
    seed: int | None
    seconds: float
    peak_memory_mb: float


def content_key(*parts: Any) -> str:
    """Return a hash of plain values, dataclasses and paths' contents given as text."""
    text = json.dumps([asdict(p) if is_dataclass(p) and not isinstance(p, type) else p for p in parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


class _NotFirst(Exception):
    """Throws away what the first of several processes makes too."""


class Workspace:
    """An experiment's output folder. A stage that one of the folders `reuse` holds finished is copied, not run."""

    def __init__(self, out: str | Path, *, reuse: Sequence[Path] = ()) -> None:
        self.out = Path(out)
        self.reuse = tuple(reuse)

    def claim(self, experiment: dict[str, Any]) -> None:
        """Mark the folder as this experiment's.

        Raises:
            InputError: the folder holds another experiment, or files that are none.
        """
        marker = self.out / "experiment.json"
        experiment = json.loads(json.dumps(experiment))  # as it will be read back: tuples are lists there
        if marker.exists():
            held = files.read_json(marker)
            if changed := sorted(k for k in held.keys() | experiment.keys() if held.get(k) != experiment.get(k)):
                raise InputError(
                    f"`out` {self.out} holds another experiment: {', '.join(changed)} differ. "
                    "Choose another folder, or repeat the command that made this one."
                )
            return
        if self.out.exists() and any(not p.name.startswith(".") for p in self.out.iterdir()) and not marker.exists():
            raise InputError(f"`out` {self.out} is not empty and holds no experiment. Choose another folder.")
        files.write_json(marker, experiment)

    def stage(self, folder: str, *, key: str, label: tuple[str, str, int | None], run: Callable[[Path], None]) -> Path:
        """Fill `folder` by `run(temporary_folder)` unless a finished stage of the same key is there; return it."""
        path = self.out / folder
        if _finished(path, key):
            return path
        if (twin := self._twin(key)) is not None:
            run = partial(_copy, twin)
        ready = partial(_finished, path, key)  # by a worker that was faster
        with suppress(_NotFirst), files.whole(path, unless=ready) as temporary, _Meter() as meter:
            temporary.mkdir(parents=True)
            run(temporary)
            if not is_first():
                raise _NotFirst
            record = StageRecord(*label, seconds=meter.seconds(), peak_memory_mb=meter.peak_mb)
            (temporary / _STAGE_FILE).write_text(json.dumps({"key": key, **asdict(record)}, indent=2))
        if is_first():
            checkpoint.remove(checkpoint.folder_for(path, key))
        wait_for_all()
        return path

    def _twin(self, key: str) -> Path | None:
        """Return the folder of a finished stage of this key in another experiment of the same series."""
        stages = (path for folder in self.reuse if folder != self.out for path in sorted(folder.glob("*/*/stage.json")))
        return next((p.parent for p in stages if p.parent.name[0] != "." and _finished(p.parent, key)), None)

    def checkpoints(self, folder: str, *, key: str) -> Path:
        """Return the folder from which an interrupted stage goes on."""
        return checkpoint.folder_for(self.out / folder, key)

    def records(self) -> list[dict[str, Any]]:
        """Return what every finished stage cost, oldest first."""
        finished = []
        for folder, folders, names in os.walk(self.out):
            folders[:] = [name for name in folders if not name.startswith(".")]
            finished += [Path(folder, name) for name in names if name == _STAGE_FILE]
        found = [files.read_json(p) for p in sorted(finished, key=lambda p: p.stat().st_mtime)]
        return [{k: v for k, v in record.items() if k != "key"} for record in found]


def _copy(twin: Path, folder: Path) -> None:
    shutil.copytree(twin, folder, dirs_exist_ok=True)


def _finished(path: Path, key: str) -> bool:
    with suppress(InputError):  # not there
        return files.read_json(path / _STAGE_FILE)["key"] == key
    return False


class _Meter:
    """Measures the time and the peak memory of a stage, in a thread of its own."""

    def __enter__(self) -> "_Meter":
        self._process = psutil.Process()
        self._start = time.perf_counter()
        self._done = threading.Event()
        self.peak_mb = self._resident_mb()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def seconds(self) -> float:
        return round(time.perf_counter() - self._start, 2)

    def _resident_mb(self) -> float:
        return round(self._process.memory_info().rss / 1e6, 1)

    def _watch(self) -> None:
        while not self._done.wait(_SAMPLING_S):
            self.peak_mb = max(self.peak_mb, self._resident_mb())
