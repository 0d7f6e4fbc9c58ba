"""The supervised model for inference has the weights of the task, and predicts what it does."""

from dataclasses import replace

import pytest
import torch

from polyclinic.data import Batch
from polyclinic.export.runs import without_held_out
from polyclinic.models.supervised import SupervisedModel
from polyclinic.models.towers import build_linear_path
from polyclinic.nn import (
    AttentionFusion,
    ConcatenationFusion,
    Encoder,
    Fusion,
    PromptPoolFusion,
    SequentialFusion,
    StudyNorm,
)
from polyclinic.nn.linear_path import with_pooled
from polyclinic.nn.targets import Target, Targets
from polyclinic.tasks import Downstream
from polyclinic_tabular import Tabular
from pulse_plugin import Pulse

NAMES = ("first", "second")
TARGETS = (
    Target(name="edema"),
    Target(name="view", kind="class", names=("AP", "PA", "lateral")),
    Target(name="grade", kind="level", names=("none", "mild", "severe")),
    Target(name="age", kind="quantity", unit="years", center=60.0, scale=12.0),
)


@pytest.mark.parametrize("fusion", [AttentionFusion, ConcatenationFusion, PromptPoolFusion, SequentialFusion])
def test_it_predicts_as_the_task_does_from_any_modality(fusion: type[Fusion]) -> None:
    torch.manual_seed(0)
    modalities = {name: Pulse() for name in NAMES}
    task = Downstream(modalities=modalities, targets=TARGETS, size="nano", fusion=fusion).eval()
    encoders = {name: plugin.default_encoder("nano") for name, plugin in modalities.items()}
    assert all(isinstance(encoder, Encoder) for encoder in encoders.values())
    widths = {name: encoder.width for name, encoder in encoders.items()}
    targets = Targets(TARGETS)
    model = SupervisedModel(
        encoders=encoders,
        heads={name: StudyNorm(width) for name, width in widths.items()},
        fusion=fusion(widths, targets.outputs),
        targets=targets,
        linear_path=None,
    )
    model.load_state_dict(task.state_dict(), strict=True)
    model.eval()
    batch = _batch()
    features = {}
    for name, rows in batch.present.items():
        features[name] = torch.zeros(len(rows), model.widths[name])
        _, features[name][rows] = model(name, batch.inputs[name])
    torch.testing.assert_close(model.fuse(features, batch.present), task(batch))


def _batch(size: int = 8) -> Batch:
    generator = torch.Generator().manual_seed(0)
    present = {name: torch.rand(size, generator=generator) < 0.7 for name in NAMES}
    return Batch(
        inputs={
            name: {"vitals": torch.randn(int(rows.sum()), 2, generator=generator)} for name, rows in present.items()
        },
        present=present,
        labels=torch.zeros(size, len(TARGETS)),
        study_ids=[f"S{row}" for row in range(size)],
        patient_ids=[f"P{row}" for row in range(size)],
        broken=(),
    )


def test_it_averages_with_the_linear_path_of_the_task() -> None:
    torch.manual_seed(0)
    modalities = {"first": Tabular(numeric=["a", "b"]), "second": Pulse()}
    task = Downstream(modalities=modalities, targets=TARGETS, size="nano").eval()
    assert task.linear_path is not None
    assert list(task.linear_path.maps) == ["first"]
    for value in task.linear_path.buffers():
        value.copy_(torch.rand(value.shape) if value.is_floating_point() else torch.ones_like(value))
    encoders = {name: plugin.default_encoder("nano") for name, plugin in modalities.items()}
    targets = Targets(TARGETS)
    widths = {name: encoder.width for name, encoder in encoders.items()}
    model = SupervisedModel(
        encoders=encoders,
        heads={name: StudyNorm(width) for name, width in widths.items()},
        fusion=ConcatenationFusion(widths, targets.outputs),
        targets=targets,
        linear_path=build_linear_path(modalities, targets.outputs),
    )
    model.load_state_dict(without_held_out(task.state_dict()), strict=True)
    model.eval()
    batch = replace(_batch(), inputs={**_batch().inputs, "first": _rows(int(_batch().present["first"].sum()))})
    features = {}
    for name, rows in batch.present.items():
        pooled, values = model(name, batch.inputs[name])
        assert values.shape[1] == model.widths[name]
        torch.testing.assert_close(with_pooled(model.heads[name], pooled, values), values)
        features[name] = values.new_zeros(len(rows), values.shape[1]).index_put((rows,), values)
    expected = task(batch)
    torch.testing.assert_close(model.fuse(features, batch.present), expected)
    task.linear_path.share.fill_(1.0)
    assert not torch.allclose(task(batch), expected)


def _rows(count: int) -> dict[str, torch.Tensor]:
    observed = torch.ones(count, 2, dtype=torch.bool)
    return {"values": torch.rand(count, 2), "observed": observed, "levels": torch.zeros(count, 0, dtype=torch.int64)}
