"""Reads damaged files in a process of its own, so that a crash or a hang of a parser is seen and not suffered."""

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from spikefield.errors import InputError
from spikefield.recordings.readers import SeriesChoice, find_reader

_LIMIT_S = 60.0


def summary(path: Path, name: str, choice: SeriesChoice) -> list[dict[str, Any]]:
    """Everything that a reader hands over, as plain arrays; the origin left out."""
    found = []
    for raw in find_reader(path, name).read(path, choice):
        parts: dict[str, Any] = {key: value for key, value in raw.arrays.items() if key != "source"}
        for i, stretch in enumerate(raw.broadband):
            parts[f"broadband {i}"] = np.concatenate(list(stretch.chunks(500)))
            parts[f"conversion {i}"] = stretch.conversion_v
            parts[f"clock {i}"] = np.array([stretch.rate_hz, stretch.start_s, stretch.n_samples])
            parts[f"channels {i}"] = list(stretch.channel_ids)
            if stretch.positions_um is not None:
                parts[f"positions {i}"] = stretch.positions_um
        found.append(parts)
    return found


def serve(connection: Connection) -> None:
    """Answer with ("session", summary) or ("refused", message) until the other end closes."""
    while True:
        try:
            path, name, choice = connection.recv()
        except EOFError:
            return
        try:
            connection.send(("session", summary(path, name, choice)))
        except InputError as error:
            connection.send(("refused", str(error)))
        except BaseException as error:
            connection.send(("raised", f"{type(error).__name__}: {error}"))


class Worker:
    """The other process; it is started again after a crash or a hang."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, far = context.Pipe()
        self.process = context.Process(target=serve, args=(far,), daemon=True)
        self.process.start()
        far.close()

    def read(self, path: Path, name: str, choice: SeriesChoice) -> tuple[str, Any]:
        self.connection.send((path, name, choice))
        try:
            if self.connection.poll(_LIMIT_S):
                return self.connection.recv()
            outcome = ("hangs", f"for more than {_LIMIT_S} s")
        except EOFError:
            outcome = ("crashes", "the process died")
        self.close()
        self.start()
        return outcome

    def close(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.join()
