"""A folder of prepared sessions on one grid: what is chosen, found by name, and refused."""

from dataclasses import replace

import pytest

import tiny
from spikefield.artifact import Model
from spikefield.config import spike_encoder
from spikefield.errors import InputError
from spikefield.experiments.corpus import check_as_learned, read_corpus, read_corpus_for, same_channels
from spikefield.models.encoder import Encoder
from spikefield.objectives.autoencoding import MaskedAutoencoder
from spikefield.recordings.arrays import from_arrays
from spikefield.recordings.session import save
from spikefield.windows.binned import BinningConfig
from spikefield.windows.splits import SplitConfig

CONFIG = tiny.config()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write(
        tmp_path_factory.mktemp("data"),
        tiny.session(0),
        tiny.session(1, channels=8),
        tiny.session(2, without=("spike",)),
        tiny.session(3, without=("lfp", "behavior")),
    )


@pytest.fixture(scope="module")
def corpus(data):
    return read_corpus(data, config=CONFIG)


def model_of(corpus, session):
    network = MaskedAutoencoder(Encoder(spike_encoder(CONFIG, [session])), CONFIG.autoencoding)
    network.encoder.add_session(session.session_id, session.counts.shape[1])
    model = Model("teacher", network, (session.session_id,), 20.0, 33, seed=0)
    model.remember(session)
    return model


def test_sessions_come_in_order_on_one_grid(corpus):
    assert [s.session_id for s in corpus.sessions] == ["s0", "s1", "s2", "s3"]
    assert {s.bin_width_ms for s in corpus.sessions} == {20.0} and corpus.window_bins == 50
    assert corpus.chosen[0] == "bins of 20 ms (the default)" and corpus.chosen[1].startswith("windows of 50 bins (1 s)")
    assert len(set(corpus.hashes.values())) == 4


def test_sessions_are_found_by_what_they_hold(corpus):
    ids = {m: [s.session_id for s in corpus.having(*m)] for m in (("spikes",), ("lfp",), ("spikes", "lfp", "behavior"))}
    assert list(ids.values()) == [["s0", "s1", "s3"], ["s0", "s1", "s2"], ["s0", "s1"]]
    assert [s.session_id for s in same_channels(corpus, corpus.sessions[0])] == ["s2"]


def test_sessions_are_found_by_name(corpus):
    assert [s.session_id for s in corpus.named(["s2", "s0"], argument="on")] == ["s2", "s0"]
    with pytest.raises(InputError, match="`on` 'x' is not in the data, which holds s0, s1, s2, s3"):
        corpus.named(["x"], argument="on")
    with pytest.raises(InputError, match="`on` must be different ids, got s0, s0"):
        corpus.named(["s0", "s0"], argument="on")


def test_a_session_twice_is_refused(tmp_path):
    tiny.write(tmp_path, tiny.session(0))
    save(tiny.session(0), tmp_path / "copy.h5")
    with pytest.raises(InputError, match="holds session 's0' twice"):
        read_corpus(tmp_path, config=CONFIG)


def test_cautions_travel_with_their_session(tmp_path):
    session = from_arrays(**tiny.arrays(0), source={"reader": "test", "caution": "not what it seems"})
    assert read_corpus(tiny.write(tmp_path, session), config=CONFIG).cautions == {"s0": "not what it seems"}


def test_sessions_are_read_as_the_model_was_trained(data, corpus):
    model = model_of(corpus, corpus.sessions[0])
    read = read_corpus_for(model, data, config=CONFIG)
    assert read.window_bins == 33
    check_as_learned(model, read.sessions)


def test_other_units_or_another_split_are_refused(data, corpus):
    model = model_of(corpus, corpus.sessions[0])
    for binning, message in (
        (BinningConfig(min_unit_rate_hz=20.0), r"session 's0' has \d units, which are not the 10 that model 'teacher'"),
        (BinningConfig(split=SplitConfig(test_blocks=(1,))), "session 's0' is split in another way"),
    ):
        read = read_corpus_for(model, data, config=replace(CONFIG, binning=binning))
        with pytest.raises(InputError, match=message):
            check_as_learned(model, read.sessions[:1])


def test_a_grid_that_the_model_does_not_work_on_is_refused(tmp_path, corpus):
    model = model_of(corpus, corpus.sessions[0])
    counts = corpus.sessions[0].counts
    tiny.write(tmp_path, from_arrays(session="s0", spike_counts=counts, bin_width_ms=30.0))
    with pytest.raises(InputError, match="come on bins of 30 ms, but model 'teacher' works on 20 ms"):
        read_corpus_for(model, tmp_path, config=CONFIG)


def test_counts_on_a_finer_grid_are_summed_to_the_models(tmp_path, corpus):
    model = model_of(corpus, corpus.sessions[0])
    counts = corpus.sessions[0].counts
    tiny.write(tmp_path, from_arrays(session="s0", spike_counts=counts, bin_width_ms=10.0))
    assert read_corpus_for(model, tmp_path, config=CONFIG).sessions[0].n_bins == len(counts) // 2
