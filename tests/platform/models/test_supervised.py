"""The supervised model for inference has the weights of the task, and predicts what it does."""

import pytest
import torch

from polyclinic.data import Batch
from polyclinic.models.supervised import SupervisedModel
from polyclinic.nn import (
    AttentionFusion,
    ConcatenationFusion,
    Encoder,
    Fusion,
    PromptPoolFusion,
    SequentialFusion,
    StudyNorm,
)
from polyclinic.nn.targets import Target, Targets
from polyclinic.tasks import Downstream
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
