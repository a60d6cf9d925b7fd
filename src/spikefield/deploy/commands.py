"""`stream`, `adapt` and `export` as typed functions; `spikefield.cli` turns them into flags."""

import logging
import sys
from contextlib import closing, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

import spikefield.artifact as artifact
import spikefield.files as files
from spikefield.artifact import Model
from spikefield.deploy.adapted import adapt_readout, load_adapted
from spikefield.deploy.channel_map import ChannelMap, match_channels
from spikefield.deploy.decoded import GOOD, Decoded
from spikefield.deploy.export import choose_session, export_onnx
from spikefield.deploy.live import Live, LiveConfig, Status, TroublePolicy
from spikefield.deploy.repair import BadPolicy
from spikefield.deploy.sinks import CsvSink, LineFormat, SinkKind, Writer, open_sink
from spikefield.deploy.sources import FileSource, Source, SourceKind, open_file, open_source
from spikefield.deploy.streaming import GapPolicy, StreamingDecoder
from spikefield.deploy.threads import undisturbed
from spikefield.deploy.view import View
from spikefield.deploy.watch import Score, SignalWatch
from spikefield.errors import InputError

log = logging.getLogger("spikefield")

_NO_VIEW = nullcontext()
_NOT_RECORDED = ("decoded", "true", "stalled", "recent_r2")


def stream(
    model: Path,
    *,
    source: SourceKind,
    input: str,
    sink: SinkKind = "stdout",
    output: str | None = None,
    form: LineFormat = "json",
    session: str | None = None,
    readout_of: str | None = None,
    readout: Path | None = None,
    smooth: bool = False,
    speed: float = 1.0,
    channel_map: Path | None = None,
    scale: float = 1.0,
    bad: BadPolicy = "interpolate",
    on_gap: GapPolicy = "bridge",
    max_bridge_ms: float = 50.0,
    on_trouble: TroublePolicy = "continue",
    stall_s: float = 2.0,
    record: Path | None = None,
) -> None:
    """Decode a live stream, or a recording as if it were one, until it ends or is interrupted.

    Args:
        model: folder of a causal student.
        source: file (a prepared session or a raw recording, replayed), lsl or zmq.
        input: the file, the name of the LSL stream, or the ZeroMQ address to subscribe to.
        sink: stdout, csv, lsl or zmq.
        output: the CSV file, the name of the LSL stream to make, or the ZeroMQ address to publish on.
        form: of the lines on standard output, json or csv.
        session: whose channels, chain and space embedding are used; by default the only one trained on.
        readout_of: the session whose readout is used; by default the same.
        readout: a file of `spikefield adapt`, used instead of the model's readout.
        smooth: filter what is decoded, as that file says.
        speed: of a replay; 1 is true speed, 0 as fast as it is decoded.
        channel_map: a CSV of source,model[,scale]: which of the source's channels is which of the model's.
        scale: the model's unit for one of the source's, such as volts of a count.
        bad: what stands in for bad channels: their neighbours (interpolate), their last value (hold), nothing (mask).
        on_gap: fill in missing samples (bridge), or start anew after them (reset).
        max_bridge_ms: the longest gap that is filled in.
        on_trouble: when the source stalls or floods or the sink blocks, continue or end.
        stall_s: seconds without a sample that count as a stall.
        record: new folder for a record of the run: run.json and decoded.csv.
    """
    config = LiveConfig(on_trouble=on_trouble, stall_s=stall_s)
    loaded = artifact.load(model)
    session_id = choose_session(loaded, session)
    policies: dict[str, Any] = {"bad": bad, "on_gap": on_gap, "max_bridge_ms": max_bridge_ms, "readout_of": readout_of}
    decoder = StreamingDecoder(loaded, session_id, **policies, **_at_the_rig(readout, loaded, session_id, smooth))
    with undisturbed(), closing(open_source(source, input, speed=speed)) as opened:
        channels = _matched(decoder, opened, channel_map, scale)
        about = {"model": str(model), "session": session_id, "source": source, "input": input, "sink": sink}
        about |= {"readout": readout and str(readout), "smooth": smooth}
        kept = _Record(record, loaded, {**about, **policies, **asdict(config)}, decoder.behavior_names)
        names, bin_width_ms = decoder.behavior_names, loaded.bin_width_ms
        out = open_sink(sink, output, form=form, behavior_names=names, bin_width_ms=bin_width_ms)
        with (
            View(f"{loaded.name} decodes {session_id} from {opened.name}") if sys.stderr.isatty() else _NO_VIEW as view
        ):
            live = Live(
                decoder,
                opened,
                channels,
                writers=(Writer(out), *kept.writers()),
                config=config,
                watch=_watch(loaded, session_id),
                score=_score(opened, loaded, decoder),
                tell=view,
            )
            try:
                live.run()
            finally:
                kept.finish(live.status)
        log.info("%s", summary(live.status))


def adapt(
    model: Path,
    data: Path,
    *,
    out: Path,
    session: str | None = None,
    readout_of: str | None = None,
    channel_map: Path | None = None,
    scale: float = 1.0,
    bad: BadPolicy = "interpolate",
) -> None:
    """Fit the readout to a few labelled minutes at the rig, and a filter that smooths it; the model stays as it is.

    Args:
        model: folder of a causal student.
        data: a recording with behaviour, prepared or raw, of the rig's channels.
        out: file to write, for `stream --readout`.
        session: whose channels, chain and space embedding are used; by default the only one trained on.
        readout_of: the session whose readout is the start; by default the same.
        channel_map: a CSV of source,model[,scale], as for `stream`.
        scale: the model's unit for one of the source's, such as volts of a count.
        bad: what stands in for bad channels, as for `stream`.

    Raises:
        InputError: `out` exists, or the recording holds no behaviour or another than the model decodes.
    """
    if out.exists():
        raise InputError(f"`out` {out} exists. Choose another file, or remove it first.")
    files.check_writable(out)
    loaded = artifact.load(model)
    session_id = choose_session(loaded, session)
    with closing(open_file(data, speed=0.0)) as source:
        if source.truth is None:
            raise InputError(f"{data}: holds no behaviour, so no readout can be fitted. Record some minutes with it.")
        _begin_blank(loaded, session_id, readout_of, source.truth.names)
        decoder = StreamingDecoder(loaded, session_id, bad=bad, readout_of=readout_of)
        names = decoder.behavior_names
        if lacking := [name for name in names if name not in source.truth.names]:
            there = ", ".join(source.truth.names)
            raise InputError(
                f"{data}: lacks {lacking[0]!r}, which the model decodes; it holds {there}. "
                "Give a recording with the same behaviour."
            )
        z, times_s = _represented(decoder, source, _matched(decoder, source, channel_map, scale))
        columns = [source.truth.names.index(name) for name in names]
        behavior = source.truth.at(times_s)[:, columns]
    adapted = adapt_readout(decoder.readout, z, behavior, names=names, bin_width_ms=decoder.bin_width_ms)
    made_of = {"model": loaded.name, "model_weights": artifact.weights_hash(loaded.network), "session": session_id}
    said = adapted.about | made_of | {"data": data.name, "data_sha256": files.sha256(data)}
    replace(adapted, about=said).save(out)
    print(
        f"{out}: {said['bins']} bins; R² on the last third, not yet seen then: before {said['before_r2']:.3f}, after "
        f"{said['after_r2']:.3f}, smoothed {said['smoothed_r2']:.3f}"
    )


def export(
    model: Path, *, out: Path, to: Literal["onnx"] = "onnx", session: str | None = None, int8: bool = False
) -> None:
    """Write a field-potential model as ONNX files, compared with the network before they are written.

    Args:
        model: model folder.
        out: new folder to write.
        to: onnx.
        session: whose channels, space embedding and readout are used; by default the only one trained on.
        int8: also write files with matrices in 8 bits, and tell how far they are off.

    Raises:
        InputError: `out` exists, or the model is none of the field potential.
    """
    if out.exists():
        raise InputError(f"`out` {out} exists. Choose another folder, or remove it first.")
    files.check_writable(out)
    loaded = artifact.load(model)
    session_id = choose_session(loaded, session)
    for file in export_onnx(loaded, session_id, out, int8=int8):
        print(f"{out / file.name}: largest difference from the network {file.error:.1e} of the spread, on noise")
    if loaded.encoder.reach is None:
        log.info("no step.onnx: attention is not causal with a limited reach, so it cannot go bin by bin")


def summary(status: Status) -> str:
    """Return a finished run in a few lines."""
    counters = status.counters
    lines = [
        f"{status.bins} bins in {status.seconds:.1f} s ({status.ended}), {status.flagged_bins} flagged",
        "latency " + ", ".join(f"{name} {value:.2f} ms" for name, value in status.latency_ms.items()),
        f"samples {counters['samples']:g}, dropped {counters['dropped_samples']:g}, skipped {status.skipped_samples}, "
        f"bad {counters['bad_samples']:g}; bridged {counters['bridged_ms']:g} ms, resets {counters['resets']:g}; "
        f"bins late {counters['late_bins']:g}, lost by the sink {status.sink_dropped_bins}",
    ]
    if status.r2:
        lines.append("R² " + ", ".join(f"{name} {value:.3f}" for name, value in status.r2.items()))
    if status.signal.get("alarm"):
        lines.append(
            f"drift: {status.signal['drifted']} of {status.signal['n_features']} features left training's range"
        )
    return "\n".join(lines)


def _at_the_rig(path: Path | None, model: Model, session_id: str, smooth: bool) -> dict[str, Any]:
    """Return the readout and the smoother of a file of `adapt`."""
    if path is None:
        if smooth:
            raise InputError("`smooth` needs a file of `spikefield adapt`. Name it with --readout.")
        return {}
    adapted = load_adapted(path, model, session_id)
    _begin_blank(model, session_id, None, adapted.behavior_names)
    return {"readout": adapted.readout, "smoother": adapted.smoother if smooth else None}


def _begin_blank(model: Model, session_id: str, readout_of: str | None, names: tuple[str, ...]) -> None:
    """Give a session that has no readout one that decodes nothing, to be fitted or replaced."""
    if readout_of is None and session_id not in model.readouts:
        dim = model.encoder.config.transformer.dim
        model.readouts[session_id] = {"weights": np.zeros((dim, len(names))), "intercept": np.zeros(len(names))}
        model.sessions[session_id] = {**model.sessions.get(session_id, {}), "behavior": list(names)}


def _matched(decoder: StreamingDecoder, source: Source, channel_map: Path | None, scale: float) -> ChannelMap:
    """Compare a source with the model; channels that it lacks are bad from here on."""
    decoder.check_source(rate_hz=source.rate_hz)
    channels = match_channels(source, decoder.channel_ids, channel_map, scale=scale)
    if channels.missing:
        log.warning(
            "%s: must have all channels of the model, but lacks %s, which count as bad. Map them with `--channel-map`.",
            source.name,
            ", ".join(channels.missing),
        )
        decoder.set_bad_channels(channels.missing)
    return channels


def _represented(decoder: StreamingDecoder, source: Source, channels: ChannelMap) -> tuple[np.ndarray, np.ndarray]:
    """Run a recording through the decoder; return z and the time of every bin that carries no flag."""
    parts: list[Decoded] = []
    while not source.ended:
        if (block := source.read(timeout_s=0.0)) is not None:
            parts.append(decoder.push(channels.apply(block.samples), block.times_s))
    parts.append(decoder.flush())
    good = np.concatenate([p.quality for p in parts]) == GOOD
    return np.concatenate([p.z for p in parts])[good], np.concatenate([p.bin_time_s for p in parts])[good]


class _Record:
    """A folder with what was decoded, bin by bin, and how the run went; `ended` is "running" until it is over."""

    def __init__(self, folder: Path | None, model: Model, about: dict[str, Any], names: tuple[str, ...]) -> None:
        self._folder, self._names = folder, names
        if folder is None:
            return
        if folder.exists():
            raise InputError(f"`record` {folder} exists. Choose another folder, or remove it first.")
        weights, versions = artifact.weights_hash(model.network), artifact.versions()
        self._about = {**about, "name": model.name, "weights": weights, "versions": versions}
        files.check_writable(folder / "run.json")

    def writers(self) -> tuple[Writer, ...]:
        """Begin the record and return what takes its bins."""
        if self._folder is None:
            return ()
        files.write_json(self._folder / "run.json", {**self._about, "ended": "running"})
        return (Writer(CsvSink(self._folder / "decoded.csv", behavior_names=self._names)),)

    def finish(self, status: Status) -> None:
        """Write how the run went."""
        if self._folder is not None:
            content = {k: v for k, v in asdict(status).items() if k not in _NOT_RECORDED}
            files.write_json(self._folder / "run.json", {**self._about, **content})


def _watch(model: Model, session_id: str) -> SignalWatch:
    chain = model.chains[session_id]
    return SignalWatch(n_features=len(chain.feature_names), bin_width_ms=chain.clock.bin_width_ms)


def _score(source: Source, model: Model, decoder: StreamingDecoder) -> Score | None:
    """Compare with the truth of a replay; over test time only, if the model was trained on the same session."""
    if not isinstance(source, FileSource) or source.truth is None:
        return None
    within_s = None
    if source.session_id == decoder.session_id and decoder.session_id in model.splits:
        within_s = model.splits[decoder.session_id]["test"]
    score = Score(source.truth, decoder.behavior_names, within_s=within_s)
    return score if score.names else None


__all__ = ["adapt", "export", "stream"]
