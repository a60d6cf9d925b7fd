"""Spikes and field in one encoder: both are read, padding says nothing, and the losses are those of each alone."""

import objective_batches as batches
import pytest
import torch

import spikefield.artifact as artifact
import tiny
from spikefield.errors import InputError
from spikefield.models.encoder import BOTH, EncoderConfig
from spikefield.models.multimodal import MultimodalEncoder, add_session, build_encoder
from spikefield.objectives.autoencoding import AutoencodingConfig, MaskedAutoencoder, gaussian_loss, poisson_loss
from spikefield.windows.batches import Batch, collate

CONFIG = EncoderConfig(BOTH, 4, lfp_patch_size=3, transformer=batches.SIZE)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    encoder = build_encoder(CONFIG)
    for session_id, (_, units, channels) in batches.SHAPES.items():
        add_session(encoder, session_id, {"spikes": units, "lfp": channels})
    torch.nn.init.normal_(encoder.space.table)
    torch.nn.init.normal_(encoder.field_space.table)
    return encoder.eval()


def test_padding_changes_nothing(encoder):
    together = encoder(batches.together())
    for row, window in enumerate(batches.alone()):
        alone = encoder(window)[0]
        torch.testing.assert_close(together[row, : len(alone)], alone, atol=1e-5, rtol=1e-4)


def test_both_modalities_are_read(encoder):
    batch = collate(batches.windows()[:1])
    plain = encoder(batch)
    for changed in ({"counts": batch.counts + 1}, {"lfp": batch.lfp + 1}):
        other = Batch(**({f: getattr(batch, f) for f in batch.__dataclass_fields__} | changed))
        assert not torch.allclose(plain, encoder(other))


def test_the_grid_holds_spike_patches_then_field_patches(encoder):
    batch = batches.together()
    values, valid = encoder.channels(batch)
    n_spikes = -(-10 // 4)
    assert values.shape[2:] == (n_spikes + -(-8 // 3), 4) and encoder.n_patches(batch) == values.shape[2]
    torch.testing.assert_close(values[:, :, :n_spikes].flatten(2)[..., :10], batch.counts.float())
    torch.testing.assert_close(values[:, :, n_spikes:, :3].flatten(2)[..., :8], batch.lfp)
    assert not valid[:, n_spikes:, 3].any()


@pytest.mark.parametrize("co_smoothing", [False, True])
def test_the_loss_is_that_of_each_kind_added(encoder, co_smoothing):
    config = AutoencodingConfig(predictor=batches.SMALL, co_smoothing=co_smoothing)
    network = MaskedAutoencoder(encoder, config).eval()
    batch = batches.together()
    patches, _ = encoder.channels(batch)
    generator = torch.Generator().manual_seed(1)
    predicted, hidden = torch.randn(patches.shape, generator=generator), torch.rand(patches.shape) > 0.5
    expected = poisson_loss(predicted[:, :, :3], patches[:, :, :3], hidden[:, :, :3])
    expected = expected + gaussian_loss(predicted[:, :, 3:], patches[:, :, 3:], hidden[:, :, 3:])
    torch.testing.assert_close(network._loss(predicted, patches, hidden, network._n_spike_patches(batch)), expected)
    assert network(batch, generator=generator).isfinite()


def test_it_is_kept_and_read_back(encoder, tmp_path, sessions):
    network = MaskedAutoencoder(encoder, AutoencodingConfig(predictor=batches.SMALL)).eval()
    add_session(encoder, "s0", {"spikes": 10, "lfp": 6})
    model = artifact.Model("ss-mm", network, ("s0",), tiny.BIN_MS, 50, 0)
    model.remember(sessions[0])
    artifact.save(model, tmp_path)
    loaded = artifact.load(tmp_path)
    assert isinstance(loaded.encoder, MultimodalEncoder) and loaded.encoder.field_space.rows["s0"] == (6, 2)
    assert loaded.sessions["s0"]["channels"] == [*sessions[0].unit_ids, *sessions[0].channel_ids]
    assert set(loaded.chains) == {"s0"}
    torch.testing.assert_close(loaded.encoder(batches.together()), encoder(batches.together()))


def test_what_is_missing_is_said(encoder):
    windows = [(s, {"spikes": w["spikes"]}) for s, w in batches.windows()]
    with pytest.raises(InputError, match="lacks spikes or lfp"):
        encoder(collate(windows))
    with pytest.raises(InputError, match="`lfp_patch_size` is for"):
        EncoderConfig("spikes", 4, lfp_patch_size=3)
    with pytest.raises(InputError, match="`n_field_channels` must be 1 or more"):
        encoder.add_session("new", 4)


def test_without_space_embeddings_nothing_tells_patches_apart():
    encoder = build_encoder(EncoderConfig("lfp", 3, space_embedding=False, transformer=batches.SIZE))
    for session_id in ("one", "other"):
        encoder.add_session(session_id, 6)
    assert not encoder.space.table.requires_grad and not encoder.space.table.any()
    window = {"lfp": torch.randn(9, 6)}
    one, other = (encoder.eval()(collate([(s, window)])) for s in ("one", "other"))
    torch.testing.assert_close(one, other)
