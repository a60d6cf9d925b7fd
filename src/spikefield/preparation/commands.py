"""`download`, `inspect`, `prepare` and `validate` as typed functions; `spikefield.cli` turns them into flags."""

import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import yaml

import spikefield.files as files
from spikefield.errors import DroppedDataWarning, InputError
from spikefield.next_step import tell_next
from spikefield.preparation import parallel
from spikefield.preparation.finding import counted, some
from spikefield.preparation.recipe import PrepareConfig, list_sources, marks, place_of, unchanged
from spikefield.preparation.session_checks import check_agreement
from spikefield.preparation.source import Outcome, prepare_source
from spikefield.preparation.verdict import Verdict, as_text, judge_file
from spikefield.recordings import session as layout
from spikefield.recordings.archives import available
from spikefield.recordings.download import fetch
from spikefield.recordings.raw import SeriesChoice
from spikefield.recordings.readers import format_inspection, inspect_file, sources
from spikefield.recordings.readers.guard import address

log = logging.getLogger("spikefield")

_CONFIG = Path("experiment.yaml")


def prepare(
    source: list[Path],
    *,
    out: Path,
    reader: str | None = None,
    lfp: list[str] | None = None,
    units: list[str] | None = None,
    behavior: list[str] | None = None,
    spikes: Literal["file", "crossings"] = "file",
    workers: int | None = None,
    ray_address: str | None = None,
) -> None:
    """Turn recordings into prepared sessions; what is there and unchanged is left alone.

    Args:
        source: files, or folders that are searched for recordings.
        out: folder for the prepared sessions.
        reader: name of the reader; by default each file's structure tells.
        lfp: names of the series or channels of field potential, as `spikefield inspect` prints them; none for none.
        units: names of the series of units; none for none.
        behavior: names of the series of behaviour; none for none.
        spikes: those of the file, or threshold crossings of its broadband where nobody sorted.
        workers: recordings at a time; by default one a processor.
        ray_address: of a Ray cluster that sees the same disk; by default all run on this machine.

    Raises:
        InputError: `workers` is below 1, or a recording could not be prepared.
    """
    if workers is not None and workers < 1:
        raise InputError(f"`workers` must be at least 1, got {workers}. Leave it out for one a processor.")
    series = SeriesChoice(lfp=_choice(lfp), units=_choice(units), behavior=_choice(behavior))
    config = PrepareConfig(reader=reader, series=series, spikes=spikes)
    found = [path if address(path) else path.resolve() for path in list_sources(source, out=out, reader=reader)]
    out.mkdir(parents=True, exist_ok=True)
    left_alone = unchanged(found, config, out=out)
    for path in left_alone:
        log.info("%s: unchanged", path.name)
    to_do = [path for path in found if path not in left_alone]
    with tempfile.TemporaryDirectory(dir=out, prefix=".prepare-") as staging:
        work = partial(prepare_source, staging=Path(staging).resolve(), config=config)
        outcomes = parallel.do_all(work, to_do, workers=workers, address=ray_address)
        settled = _settle(outcomes, out, len(to_do))
    _conclude(settled, out, len(left_alone))


def _choice(names: list[str] | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    return () if names == ["none"] else tuple(names)


def _settle(outcomes: Iterator[Outcome], out: Path, total: int) -> list[Outcome]:
    """Move each finished source's sessions to their place and tell of it."""
    settled = []
    for outcome in outcomes:
        if taken := [p.name for p in outcome.staged if _is_taken(out / p.name, outcome.source)]:
            why = f"{out / taken[0]} holds a session of another source. Rename one, remove it, or choose another `out`."
            outcome = Outcome(source=outcome.source, state="failed", error=f"{outcome.source}: {why}")
        for staged in outcome.staged:
            with files.whole(out / staged.name) as temporary:
                staged.replace(temporary)
        settled.append(outcome)
        _tell(outcome, f"[{len(settled)}/{total}] {outcome.source.name}")
    return settled


def _is_taken(target: Path, source: Path) -> bool:
    return target.exists() and marks(target).get("place") != place_of(source)


def _tell(outcome: Outcome, who: str) -> None:
    if outcome.state == "failed":
        log.info("%s: failed. %s", who, outcome.error)
        return
    for text in outcome.dropped:
        warnings.warn(text, DroppedDataWarning, stacklevel=3)
    for line in outcome.lines:
        log.info("%s", line if line.startswith(" ") else f"{who} ({outcome.seconds:.1f} s): {line}")


def _conclude(outcomes: Sequence[Outcome], out: Path, n_unchanged: int) -> None:
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    if len(outcomes) + n_unchanged == 1 and failed:
        raise InputError(failed[0].error)
    written = sum(len(outcome.staged) for outcome in outcomes)
    print(f"{out}: sessions written {written}, sources unchanged {n_unchanged}, failed {len(failed)}")
    if failed:
        names = some([outcome.source.name for outcome in failed])
        raise InputError(
            f"{len(failed)} of {len(outcomes) + n_unchanged} recordings failed: {names}; the reasons stand "
            "above. Mend them and run the same command again, which leaves the others alone."
        )
    tell_next("validate", out)


def validate(data: Path, *, out: Path | None = None) -> None:
    """Check prepared sessions and say what each can be used for.

    Args:
        data: folder of prepared sessions, or one of them.
        out: folder for validation.json and validation.html, a page with pictures.
    """
    paths = [data] if data.is_file() else layout.session_paths(data)
    verdicts = [judge_file(path) for path in paths]
    together = list(check_agreement([v.contents for v in verdicts if v.contents is not None]))
    print(as_text(verdicts, together))
    if out is not None:
        from spikefield.preparation.page import write_page

        content = {
            "sessions": [verdict.to_dict() for verdict in verdicts],
            "together": [finding.to_dict() for finding in together],
        }
        files.write_json(out / "validation.json", content)
        print(f"page: {write_page(verdicts, together, out / 'validation.html')}")
    _refuse_unusable(verdicts)
    if not data.is_file():
        _tell_experiment(data)


def _tell_experiment(data: Path) -> None:
    """Say how an experiment on these sessions starts: by the file that `init` wrote here before, or by `init`."""
    if _CONFIG.is_file() and _data_of(_CONFIG) == data:
        tell_next("experiment", "--config", _CONFIG)
    else:
        tell_next("init", data)


def _data_of(config: Path) -> Path | None:
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError):  # `experiment` says what is wrong with it
        return None
    return Path(str(content["data"])) if isinstance(content, dict) and "data" in content else None


def _refuse_unusable(verdicts: Sequence[Verdict]) -> None:
    if unusable := [verdict for verdict in verdicts if not verdict.usable]:
        first = next((f for f in unusable[0].findings if f.severity == "problem"), None)
        why = f"{first.what}. {first.remedy}" if first else "It has neither sound spikes nor a sound field potential."
        names = some([verdict.path.name for verdict in unusable])
        raise InputError(f"{len(unusable)} of {len(verdicts)} sessions cannot be used: {names}. The first: {why}")


def inspect(source: Path, *, reader: str | None = None) -> None:
    """Print what a recording holds, without loading it.

    Args:
        source: file, or folder that is searched for recordings.
        reader: name of the reader; by default the file's structure tells.

    Raises:
        InputError: a file could not be inspected.
    """
    failed = []
    for path in sources(source) if source.is_dir() else [source]:
        try:
            print(format_inspection(inspect_file(path, reader)))
        except InputError as error:
            if path == source:
                raise
            log.info("%s", error)
            failed.append(path.name)
    if failed:
        raise InputError(
            f"{counted(len(failed), 'file')} could not be inspected: {some(failed)}; the reasons stand above. "
            "Mend them, or move those files away."
        )


def download(dataset: str, *, out: Path | None = None, names: list[str] | None = None, page: str | None = None) -> None:
    """List the files of a public data set, or fetch them; what is there whole is not fetched again.

    Args:
        dataset: makin, perich or gallego.
        out: folder to fetch into; without it, the files are listed.
        names: files to fetch; by default all.
        page: another page of the same archive, such as the record of one session's broadband.
    """
    if out is None:
        for file in available(dataset, page=page):
            print(f"{file.size / 1e6:10.1f} MB  {file.name}")
        return
    for path in fetch(dataset, names or (), out, page=page, progress=_Progress()):
        print(path)


class _Progress:
    """Tells of every tenth of a file."""

    def __init__(self) -> None:
        self._told: dict[str, int] = {}

    def __call__(self, name: str, have: int, size: int) -> None:
        tenth = 10 * have // max(size, 1)
        if tenth > self._told.get(name, 0):
            self._told[name] = tenth
            log.info("%s: %d %% of %.1f MB", name, 10 * tenth, size / 1e6)


__all__ = ["download", "inspect", "prepare", "validate"]
