"""Measure time and memory of one training step of the published model, with a smaller batch.

python experiments/symile_mimic/cost.py --studies 8
"""

import argparse
import resource
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from experiments.symile_mimic.encoders import LabsEncoder, ResNetEncoder

from polyclinic.objectives import Symile


def main() -> int:
    """Measure one step and print its cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=8, help="studies in the batch; 280 as published")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    started, before = time.perf_counter(), peak()
    built = {"xray": ResNetEncoder(), "ecg": ResNetEncoder(name="resnet18", channels=1), "tabular": LabsEncoder()}
    weights = sum(p.numel() for encoder in built.values() for p in encoder.parameters())
    shapes = {"xray": (3, 320, 320), "ecg": (1, 5000, 12), "tabular": (100,)}
    inputs = {name: torch.randn(arguments.studies, *shape) for name, shape in shapes.items()}
    step(built, inputs)
    print(
        f"{arguments.studies} studies, {weights / 1e6:.1f} million weights: {time.perf_counter() - started:.1f} s, "
        f"peak {peak():,.0f} MB ({peak() - before:,.0f} MB above what the libraries take)"
    )
    return 0


def step(encoders: dict[str, torch.nn.Module], inputs: dict[str, Tensor]) -> None:
    """Run forward, backward and one step of AdamW."""
    objective = Symile(normalize="none", initial_scale=9.118819655545162e-4, max_scale=1e6)
    parameters = [p for module in (objective, *encoders.values()) for p in module.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=5e-4, weight_decay=0.2)
    embedded = {name: encoder({"values": inputs[name]}).pooled for name, encoder in encoders.items()}
    objective(embedded).backward()
    optimizer.step()


def peak() -> float:
    """Return the peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
