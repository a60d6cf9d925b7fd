"""The recordings that benchmarks train on: the demo's simulated sessions, and the rat on the circular track."""

import runpy
from pathlib import Path

from spikefield.experiments.commands import simulate

NAMES = ("simulator", "rat")
_RAT = Path(__file__).parent.parent / "examples" / "real" / "rat_circular_track.py"


def recordings_of(name: str, data: Path | None, out: Path, *, rehearse: bool = False) -> tuple[Path, Path] | None:
    """Return the folder of a corpus's prepared sessions and where its experiment may lie; make what is missing.

    What `make bench-sim` and `make bench-real` left beside `out` is used again. None where the rat is not in `data`.
    """
    made = {"simulator": out.parent / "bench-sim", "rat": out.parent / "bench-real" / "rat"}[name]
    if not rehearse and (made / "recordings").is_dir() and any((made / "recordings").glob("*.h5")):
        return made / "recordings", made / "experiment"
    recordings = out / name / "recordings"
    if name == "simulator":
        if not recordings.is_dir():
            simulate(out=recordings, sessions=2 if rehearse else 4, minutes=1.5 if rehearse else 5.0)
    elif data is None or not (data / "cao2021_hpc" / "rat").is_dir():
        print("rat: left out, its recording is not here")
        return None
    elif not recordings.is_dir():
        runpy.run_path(str(_RAT))["main"](data / "cao2021_hpc" / "rat", recordings)
    return recordings, made / "experiment"
