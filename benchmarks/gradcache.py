"""Difference of gradients between encoding in parts without stored activations and encoding the full batch."""

import torch
from torch import Tensor, nn

from benchmarks.measure import Figure
from polyclinic.data import Batch
from polyclinic.nn import Encoded, Encoder
from polyclinic.objectives import Symile
from polyclinic.tasks.encode import encode_batch

COMMAND = "python -m benchmarks gradcache"
NAMES, STUDIES, PART_SIZE, WIDTH = ("a", "b", "c"), 96, 16, 64


class Perceptron(Encoder):
    """An encoder of two layers with dropout between them."""

    def __init__(self) -> None:
        super().__init__()
        self.width = WIDTH
        self.layers = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Dropout(0.3), nn.Linear(WIDTH, WIDTH))

    def forward(self, inputs: dict[str, Tensor]) -> Encoded:
        """Encode each study as one token."""
        values = self.layers(inputs["values"])
        return Encoded(values[:, None], values, torch.zeros(len(values), 1, dtype=torch.bool))


def measure() -> list[Figure]:
    """Measure the largest difference with dropout, relative to the largest element of the gradient."""
    torch.manual_seed(0)
    encoders = nn.ModuleDict({name: Perceptron() for name in NAMES})
    heads = nn.ModuleDict({name: nn.Linear(WIDTH, WIDTH) for name in NAMES})
    values = {name: torch.randn(STUDIES, WIDTH) for name in NAMES}
    modules = nn.ModuleList([encoders, heads])
    torch.manual_seed(1)
    in_parts = _gradients(modules, encode_batch(encoders, heads, _batch(values), at_once=PART_SIZE))
    torch.manual_seed(1)
    pooled = {
        name: [encoders[name]({"values": part}).pooled for part in values[name].split(PART_SIZE)] for name in NAMES
    }
    full = _gradients(modules, {name: heads[name](torch.cat(parts)) for name, parts in pooled.items()})
    pairs = zip(in_parts, full, strict=True)
    gap = max(float((actual - expected).abs().max() / expected.abs().max()) for actual, expected in pairs)
    return [Figure(name="gradcache.gradient_gap", value=gap, unit="", goal=1e-5, at_most=True, command=COMMAND)]


def _gradients(modules: nn.Module, embeddings: dict[str, Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(Symile()(embeddings), list(modules.parameters())))


def _batch(values: dict[str, Tensor]) -> Batch:
    present = torch.ones(STUDIES, dtype=torch.bool)
    ids = [f"S{place}" for place in range(STUDIES)]
    return Batch(
        inputs={name: {"values": value} for name, value in values.items()},
        present=dict.fromkeys(values, present),
        labels=torch.zeros(STUDIES, 0),
        study_ids=ids,
        patient_ids=ids,
        broken=(),
    )
