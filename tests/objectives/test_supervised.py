"""The supervised losses against slow twins: one head a session, unmeasured behaviour and padding left out."""

import numpy as np
import objective_batches as batches
import pytest
import torch

from spikefield.errors import InputError
from spikefield.objectives.autoencoding import AutoencodingConfig, MaskedAutoencoder
from spikefield.objectives.distillation import DistillationConfig, Student
from spikefield.objectives.supervised import BehaviorHead, Scale, SupervisedAutoencoder, SupervisedStudent
from spikefield.windows.batches import collate

DIMS = {"a": 2, "b": 1, "c": 2}


def labelled():
    """Return a batch of three sessions whose behaviour has holes, and each window's behaviour."""
    generator = torch.Generator().manual_seed(5)
    windows = batches.windows()
    for session_id, window in windows:
        window["behavior"] = torch.randn(len(window["lfp"]), DIMS[session_id], generator=generator)
    windows[0][1]["behavior"][3, 1] = torch.nan
    return collate(windows), {session_id: window["behavior"] for session_id, window in windows}


@pytest.fixture
def head():
    torch.manual_seed(1)
    scales = {s: Scale(torch.arange(n) + 0.5, torch.arange(n) + 2.0) for s, n in DIMS.items()}
    return BehaviorHead(16, scales)


def test_the_head_equals_its_slow_twin(head):
    batch, behavior = labelled()
    z = torch.randn(*batch.time_valid.shape, 16)
    weight, bias = head.read.weight.detach().view(3, 2, 16), head.read.bias.detach().view(3, 2)
    errors = [
        (float(weight[row, d] @ z[row, t] + bias[row, d]) - (float(b[t, d]) - (d + 0.5)) / (d + 2.0)) ** 2
        for row, (_, b) in enumerate(behavior.items())
        for t in range(len(b))
        for d in range(b.shape[1])
        if not b[t, d].isnan()
    ]
    assert head(z, batch.behavior, batch).item() == pytest.approx(np.mean(errors), rel=1e-5)


def test_gradients_are_finite_beside_what_was_not_measured(head):
    batch, _ = labelled()
    z = torch.randn(*batch.time_valid.shape, 16, requires_grad=True)
    head(z, batch.behavior, batch).backward()
    assert z.grad.isfinite().all() and not z.grad[~batch.time_valid].any() and z.grad[batch.time_valid].any()
    assert head.read.weight.grad.isfinite().all()


def test_autoencoder_and_regression_add_up(head):
    batch, _ = labelled()
    network = MaskedAutoencoder(batches.encoder_of("lfp"), AutoencodingConfig(predictor=batches.SMALL)).eval()
    both = SupervisedAutoencoder(network, head)(batch, batch.behavior, generator=torch.Generator().manual_seed(3))
    hidden = network(batch, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(both, hidden + head(network.encoder(batch), batch.behavior, batch))


@pytest.mark.parametrize("weight", [0.0, 5.0])
def test_the_student_regresses_in_place_of_reconstruction(head, weight):
    batch, _ = labelled()
    student = Student(batches.encoder_of("lfp"), DistillationConfig(weight), n_channels=8, teacher_dim=16).eval()
    _, alignment = student(batch, batch.targets)
    found = SupervisedStudent(student, head)(batch, batch.targets, batch.behavior)
    torch.testing.assert_close(found, head(student.encoder(batch), batch.behavior, batch) + weight * alignment)


def test_a_batch_without_behavior_is_refused(head):
    batch = batches.together()
    with pytest.raises(InputError, match="holds no behavior"):
        head(torch.randn(*batch.time_valid.shape, 16), batch.behavior, batch)
