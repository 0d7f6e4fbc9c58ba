"""Masked pretraining: parity with the published model, speed-up by visible tokens only, and experiments/masked."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import Figure
from benchmarks.vitmae import gap
from polyclinic.data import Batch
from polyclinic.tasks import MaskedPretraining
from polyclinic_xray import XRay

COMMAND = "python -m benchmarks masked"
STUDIES, ROUNDS = 8, 7


def measure() -> list[Figure]:
    """Measure every figure of masked pretraining; the experiment trains for about two hours."""
    differences = gap()
    figures = [
        Figure(
            name="masked.vitmae_gap", value=max(differences.loss, *differences.gradients.values()), unit="", goal=1e-5,
            at_most=True, command=COMMAND,
        ),
        Figure(name="masked.visible_only_speedup", value=speedup(), unit="times", goal=2.5, command=COMMAND),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "experiments/masked/run.py", "--out", folder], check=True)
        report = json.loads((Path(folder) / "report.json").read_text(encoding="utf-8"))
    goals = {"probe_gain_xray": 0.10, "probe_gain_ecg": 0.10, "cross_modal_gain": 0.0, "transfer_gain": 0.0}
    return figures + [
        Figure(name=f"masked.{name}", value=report[name], unit="", goal=goal, command=COMMAND)
        for name, goal in goals.items()
    ]


def speedup() -> float:
    """Return the ratio of the median step time with all tokens in the encoder to that with the visible quarter."""
    torch.manual_seed(0)
    task = MaskedPretraining(modalities={"xray": XRay()}, size="tiny")
    optimizer = torch.optim.AdamW(task.parameters(), lr=1e-4)
    batch = Batch(
        inputs={"xray": {"image": torch.randn(STUDIES, 1, 224, 224)}},
        present={"xray": torch.ones(STUDIES, dtype=torch.bool)}, labels=torch.zeros(STUDIES, 0),
        study_ids=[f"S{i}" for i in range(STUDIES)], patient_ids=[f"P{i}" for i in range(STUDIES)], broken=(),
    )  # fmt: skip
    hidden = task.draw_masks(batch)
    nothing = {"xray": torch.zeros_like(hidden["xray"])}
    seconds = [(_seconds(task, optimizer, batch, hidden, nothing), _seconds(task, optimizer, batch, hidden, hidden))
               for _ in range(ROUNDS + 1)][1:]  # fmt: skip
    every, visible = (statistics.median(column) for column in zip(*seconds, strict=True))
    return every / visible


def _seconds(
    task: MaskedPretraining,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    hidden: dict[str, Tensor],
    left_out: dict[str, Tensor],
) -> float:
    """Time a training step, with the same decoder, loss and hidden tokens for both encoders."""
    started = time.perf_counter()
    optimizer.zero_grad()
    encoder: Any = task.encoders["xray"]
    tokens = encoder.tokenize(batch.inputs["xray"])
    visible = {"xray": encoder.encode(tokens, left_out["xray"])}
    predicted = task.decoders(visible, batch.present, batch.inputs, {"xray": tokens.padding}, hidden)
    task.losses(batch, hidden, predicted)["xray"].mean().backward()
    optimizer.step()
    return time.perf_counter() - started
