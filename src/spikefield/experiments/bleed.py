"""`spikefield bleed`: whether what a decoder reads from the field lies below the frequencies of spike waveforms."""

import logging
from collections.abc import Sequence
from pathlib import Path

import spikefield.files as files
from spikefield.errors import InputError
from spikefield.evaluation.bleed import SPIKES_FROM_HZ, BleedCheck, check_bleed
from spikefield.recordings import session as layout

log = logging.getLogger("spikefield")

_FOOTER = (
    "R² of behaviour on test time: lagged ridge on the wave and log power of each band of the field, split by blocks. "
    f"Grey: above {SPIKES_FROM_HZ:g} Hz, where spike waveforms bleed in.",
)


def bleed(data: Path, *, out: Path | None = None) -> None:
    """Say at which frequencies the field holds behaviour, and whether spikes that bleed into it may be what is read.

    Args:
        data: folder of prepared sessions, or one of them; those without field or behaviour are left out.
        out: folder for bleed.json and bleed.png.
    """
    checks = _check([data] if data.is_file() else layout.session_paths(data))
    print(format_checks(checks))
    if out is not None:
        files.write_json(out / "bleed.json", {"sessions": [check.to_dict() for check in checks]})
        print(f"numbers: {out / 'bleed.json'}")
        if any(check.cutoffs for check in checks):
            from spikefield.report.drawing import write_png
            from spikefield.report.plot_bleed import plot_bleed

            write_png(
                lambda width_in, footer: plot_bleed(checks, width_in=width_in, footer=footer),
                out / "bleed.png",
                footer=_FOOTER,
            )
            print(f"picture: {out / 'bleed.png'}")


def _check(paths: Sequence[Path]) -> list[BleedCheck]:
    """Check every session that allows it; why another does not is told."""
    checks, refused = [], []
    for path in paths:
        try:
            with layout.load(path) as session:
                checks.append(check_bleed(session))
        except InputError as error:
            refused.append(f"{path.name}: {error}" if path.name not in str(error) else str(error))
    if not checks:
        raise InputError(refused[0])
    for line in refused:
        log.info("left out: %s", line)
    return checks


def format_checks(checks: Sequence[BleedCheck]) -> str:
    """Return one row a session of R² by cutoff, one by band, and its sentence, for the terminal."""
    return "\n\n".join(map(_format, checks))


def _format(check: BleedCheck) -> str:
    if not check.cutoffs:
        return f"{check.session_id}\n{check.sentence}"
    bands = [f"{cutoff.low_hz:g}-{cutoff.high_hz:g}" for cutoff in check.cutoffs]
    widths = [max(len(band), 6) for band in bands]
    rows = {
        "cutoff (Hz)": [f"{cutoff.high_hz:g}" for cutoff in check.cutoffs],
        "R² below": [f"{cutoff.r2_below:.2f}" for cutoff in check.cutoffs],
        "band (Hz)": bands,
        "R² alone": [f"{cutoff.r2_band:.2f}" for cutoff in check.cutoffs],
    }
    lines = [
        f"{name:<12}" + "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        for name, cells in rows.items()
    ]
    return "\n".join([f"{check.session_id} ({check.n_test} test bins)", *lines, check.sentence])


__all__ = ["bleed", "format_checks"]
