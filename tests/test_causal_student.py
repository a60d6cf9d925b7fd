"""`causal` makes the student, and it alone, causal; trained, kept and streamed, it decodes what it decodes offline."""

from dataclasses import asdict

import numpy as np
import pytest

import spikefield
import spikefield.artifact as artifact
import tiny
from spikefield.artifact import Model
from spikefield.config import binning_of, lfp_encoder, spike_encoder, student_encoder
from spikefield.deploy.streaming import StreamingDecoder
from spikefield.errors import InputError
from spikefield.experiments import scoring
from spikefield.training.loop import HardwareConfig
from spikefield.training.stages import RunConfig, distill, pretrain
from spikefield.windows.binned import BinningConfig

WINDOW = 50


@pytest.fixture(scope="module")
def session():
    return tiny.binned()


def test_only_the_student_is_causal(session):
    config = tiny.config(causal=True, attention_s=0.5, look_ahead_bins=2)
    size = student_encoder(config, [session]).transformer
    assert (size.causal, size.attention_bins, size.look_ahead_bins) == (True, 25, 2)
    assert asdict(size) | {"causal": False, "attention_bins": None, "look_ahead_bins": 0} == asdict(config.transformer)
    for encoder in (lfp_encoder(config, [session]), spike_encoder(config, [session])):
        assert not encoder.transformer.causal
    assert not student_encoder(tiny.config(), [session]).transformer.causal
    assert student_encoder(tiny.config(causal=True), [session]).transformer.attention_bins == 50


def test_the_chain_looks_no_further_ahead_than_the_student():
    for chain, causal, expected in (
        ("paper", True, "realtime"),
        ("paper", False, "paper"),
        ("bins", True, "bins"),
        ("band_power", True, "band_power"),
    ):
        config = tiny.config(causal=causal, binning=BinningConfig(chain=chain))
        assert binning_of(config).chain == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"attention_s": 0.0}, "`attention_s`"),
        ({"causal": True, "look_ahead_bins": -1}, "`look_ahead_bins`"),
        ({"look_ahead_bins": 1}, "`look_ahead_bins` must be 0 or more, and 0 unless `causal` is set"),
    ],
)
def test_what_cannot_be_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        tiny.config(**given)


@pytest.mark.parametrize("look_ahead_bins", [0, 2])
def test_a_trained_student_streams_what_it_decodes_offline(session, look_ahead_bins, tmp_path):
    config = tiny.config(causal=True, attention_s=0.5, look_ahead_bins=look_ahead_bins)
    run = RunConfig(config.distilling, WINDOW, 0, "test", HardwareConfig(accelerator="cpu"), progress=False)
    teacher, _ = pretrain(
        [session], encoder=spike_encoder(config, [session]), autoencoding=config.autoencoding, run=run
    )
    student, curve = distill(
        [session],
        teacher=teacher.encoder,
        student=student_encoder(config, [session]),
        distillation=config.distillation,
        run=run,
    )
    assert curve[-1].train_loss < curve[0].train_loss
    made = Model("distilled", student, (session.session_id,), session.bin_width_ms, WINDOW, seed=0)
    scoring.score_model(made, [session])
    artifact.save(made, tmp_path)
    model = spikefield.load(tmp_path)
    _, expected = scoring.predictions(model, session)
    start, end = session.stretches("test")[0]
    raw = np.asarray(tiny.session().lfp.signal)[start:end]
    decoder = StreamingDecoder(model, session.session_id)
    values = np.concatenate([decoder.push(raw).values, decoder.flush().values])
    np.testing.assert_allclose(values, expected.predicted[: end - start], atol=1e-4)
