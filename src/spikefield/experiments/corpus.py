"""Read a folder of prepared sessions onto one grid of bins: what every stage starts from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import spikefield.files as files
from spikefield.artifact import Model, channels_of
from spikefield.config import ExperimentConfig, binning_of, window_bins
from spikefield.errors import InputError
from spikefield.recordings import session as layout
from spikefield.windows.binned import BinnedSession, BinningConfig, bin_session, choose_bin_width_ms
from spikefield.windows.on_disk import kept

PREFERRED_BIN_MS = 20.0
_ARRAYS = {"spikes": "counts", "lfp": "lfp", "behavior": "behavior"}


@dataclass(frozen=True)
class Corpus:
    """Binned sessions of one folder, with the hash of each file and the choices that were made for them."""

    folder: Path
    sessions: tuple[BinnedSession, ...]
    binning: BinningConfig
    window_bins: int
    hashes: dict[str, str]
    cautions: dict[str, str]
    chosen: tuple[str, ...]

    def having(self, *modalities: str) -> list[BinnedSession]:
        """Return the sessions that hold all of the given modalities."""
        return [s for s in self.sessions if all(getattr(s, _ARRAYS[m]) is not None for m in modalities)]

    def named(self, session_ids: Sequence[str], *, argument: str) -> list[BinnedSession]:
        """Return the sessions of these ids, in this order.

        Raises:
            InputError: an id is not in the data, or is given twice.
        """
        if len(set(session_ids)) != len(session_ids):
            raise InputError(f"`{argument}` must be different ids, got {', '.join(session_ids)}. Name each once.")
        by_id = {s.session_id: s for s in self.sessions}
        for session_id in session_ids:
            if session_id not in by_id:
                raise InputError(
                    f"`{argument}` {session_id!r} is not in the data, which holds {', '.join(by_id)}. "
                    "Name one of these."
                )
        return [by_id[session_id] for session_id in session_ids]


def read_corpus(data: Path, *, config: ExperimentConfig) -> Corpus:
    """Read the prepared sessions of a folder, choose bins and windows, split them and fit their signal chains.

    Raises:
        InputError: a session cannot be used.
    """
    paths = layout.session_paths(data)
    loaded = [layout.load(path) for path in paths]
    width, why = choose_bin_width_ms(loaded, preferred_ms=PREFERRED_BIN_MS, asked_ms=config.binning.bin_width_ms)
    binning = replace(binning_of(config), bin_width_ms=width)
    sessions = tuple(kept(_binned(path, binning) for path in paths))
    ids = [s.session_id for s in sessions]
    if twice := sorted({i for i in ids if ids.count(i) > 1}):
        raise InputError(f"{data}: holds session {twice[0]!r} twice. Rename one of them when preparing it.")
    bins = window_bins(config, width)
    return Corpus(
        folder=Path(data),
        sessions=sessions,
        binning=binning,
        window_bins=bins,
        hashes={session_id: files.sha256(path) for session_id, path in zip(ids, paths, strict=True)},
        cautions={
            session_id: text
            for session_id, session in zip(ids, loaded, strict=True)
            if (text := layout.provenance(session).get("caution")) is not None
        },
        chosen=(why, f"windows of {bins} bins ({bins * width / 1000:g} s); shorter trials are windows of their own"),
    )


def _binned(path: Path, binning: BinningConfig) -> BinnedSession:
    """Bin one session; its raw arrays are let go before the next is read."""
    with layout.load(path) as session:
        return bin_session(session, config=binning)


def read_corpus_for(model: Model, data: Path, *, config: ExperimentConfig) -> Corpus:
    """Read a folder of sessions on the grid and through the signal chain that a model was trained with.

    Raises:
        InputError: the sessions come on bins of another width.
    """
    binning = replace(config.binning, bin_width_ms=model.bin_width_ms, chain=model.chain)
    corpus = read_corpus(data, config=replace(config, binning=binning))
    if corpus.binning.bin_width_ms != model.bin_width_ms:
        raise InputError(
            f"{data}: its sessions come on bins of {corpus.binning.bin_width_ms:g} ms, but model {model.name!r} "
            f"works on {model.bin_width_ms:g} ms. Prepare them on that grid."
        )
    return replace(corpus, window_bins=model.window_bins)


def check_as_learned(model: Model, sessions: Sequence[BinnedSession]) -> None:
    """Check that the sessions which a model knows still have the channels and the split that it learned.

    Raises:
        InputError: a session was prepared, split or filtered by rate in another way than in the model's training.
    """
    modalities = model.encoder.config.modalities
    kind = "units" if "spikes" in modalities else "channels"
    for session in sessions:
        if (learned := model.sessions.get(session.session_id)) is None:
            continue
        channels = channels_of(session, modalities)
        if list(channels) != list(learned["channels"]):
            raise InputError(
                f"session {session.session_id!r} has {len(channels)} {kind}, which are not the "
                f"{len(learned['channels'])} that model {model.name!r} learned. Use the recording, preset and "
                "binning flags of its training."
            )
        split = session.split.to_dict(bin_width_ms=session.bin_width_ms, start_s=session.start_s)
        if split != model.splits.get(session.session_id):
            raise InputError(
                f"session {session.session_id!r} is split in another way than when model {model.name!r} was trained, "
                "so that test time could be time it learned on. Use the preset and binning flags of its training."
            )


def same_channels(corpus: Corpus, learned: BinnedSession) -> list[BinnedSession]:
    """Return the other sessions whose channels are those that a student learned on, by name and order."""
    return [s for s in corpus.having("lfp") if s is not learned and s.channel_ids == learned.channel_ids]
