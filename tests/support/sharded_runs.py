"""Runs of every task on given batches, by one process or by a rank of several with sharded encoders."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader

from masked_tasks import batch_of, masked_task
from polyclinic.cohort import Target
from polyclinic.data import Batch
from polyclinic.nn import Frozen
from polyclinic.nn.lora import Lora
from polyclinic.objectives import Symile
from polyclinic.tasks import ContrastivePretraining, Downstream
from polyclinic.training import ShardedEncoders
from polyclinic.training.checkpoints import AtomicCheckpoints
from pulse_plugin import Pulse

NAMES, STUDIES, SPLIT, STEPS = ("a", "b", "c"), 12, 7, 5
# Which of the twelve studies have a modality, step by step: all; the second rank none of b, the first none of c; no
# study two of them; a single one b; none c.
ABSENT: list[dict[str, list[bool]]] = [
    {},
    {"b": [place < SPLIT for place in range(STUDIES)], "c": [place >= SPLIT for place in range(STUDIES)]},
    {name: [place % 3 == number for place in range(STUDIES)] for number, name in enumerate(NAMES)},
    {"b": [place == 2 for place in range(STUDIES)]},
    {"c": [False] * STUDIES},
]


def _contrast(**settings: Any) -> L.LightningModule:
    return ContrastivePretraining(
        modalities={name: Pulse() for name in NAMES}, objective=Symile(), size="nano", embedding=8, hidden=4,
        random_subsets=1, lr=0.01, **settings,
    )  # fmt: skip


def _downstream(**settings: Any) -> L.LightningModule:
    targets = (Target(name="x", kind="finding"), Target(name="y", kind="quantity"))
    return Downstream(
        modalities={name: Pulse() for name in NAMES}, targets=targets, size="nano", lr=0.01, **settings
    )  # fmt: skip


KINDS: dict[str, Callable[[], L.LightningModule]] = {
    "contrast": _contrast,
    "parts": lambda: _contrast(micro_batch=2),
    "downstream": lambda: _downstream(layer_decay=0.5),
    "frozen": lambda: _downstream(adapter=Frozen()),
    "lora": lambda: _downstream(adapter=Lora(rank=2)),
    "masked": lambda: masked_task(budget=40, lr=0.01),
}
# Clipping that takes effect, by norm or by value, and gradients accumulated over two batches.
SETTINGS: dict[str, dict[str, Any]] = {
    "contrast": {"gradient_clip_val": 0.05},
    "downstream": {"gradient_clip_val": 0.001, "gradient_clip_algorithm": "value"},
    "lora": {"accumulate_grad_batches": 2},
    "masked": {"gradient_clip_val": 0.5},
}


def pulses(step: int, rows: slice) -> Batch:
    """Make the batch of some of the studies of a step."""
    generator = torch.Generator().manual_seed(step)
    present = {name: torch.tensor(ABSENT[step].get(name, [True] * STUDIES)) for name in NAMES}
    values = {name: torch.randn(STUDIES, 2, generator=generator, dtype=torch.float64) for name in NAMES}
    labels = torch.randint(0, 2, (STUDIES, 2), generator=generator).double()
    places = list(range(STUDIES))[rows]
    return Batch(
        inputs={
            name: {"vitals": values[name][rows][present[name][rows]]}
            for name in NAMES
            if bool(present[name][rows].any())
        },
        present={name: value[rows] for name, value in present.items()},
        labels=labels[rows],
        study_ids=[f"S{place}" for place in places],
        patient_ids=[f"P{place}" for place in places],
        broken=(),
    )


def phantoms(cohort: Path, rows: slice) -> list[Batch]:
    """Make the same studies for each step; none of the last five has an X-ray or a report."""
    batch = batch_of(cohort, STUDIES)
    first = torch.arange(STUDIES) < SPLIT
    for name in ("xray", "report"):
        present = batch.present[name] & first
        batch.inputs[name] = {key: value[present[batch.present[name]]] for key, value in batch.inputs[name].items()}
        batch.present[name] = present
    chosen = torch.zeros(STUDIES, dtype=torch.bool)
    chosen[rows] = True
    return [batch.select(chosen)] * STEPS


def train(kind: str, cohort: Path, out: Path, rows: slice, **settings: Any) -> L.LightningModule:
    """Fit a task of a kind in double precision, and save it to ``KIND.ckpt``."""
    torch.manual_seed(0)
    task = KINDS[kind]()
    batches = phantoms(cohort, rows) if kind == "masked" else [pulses(step, rows) for step in range(STEPS)]
    # The ranks validate on different numbers of batches, some of which lack a modality.
    checks = batches[:1] if rows.start else batches[1:4]
    checkpoint = settings.pop("ckpt_path", None)
    trainer = L.Trainer(
        **{"accelerator": "cpu", "max_steps": STEPS, "precision": "64-true", "logger": False, **settings},
        plugins=[AtomicCheckpoints()], enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False, default_root_dir=out,
        **SETTINGS.get(kind, {}),
    )  # fmt: skip
    loaders = [DataLoader(split, batch_size=None, num_workers=0) for split in (batches, checks)]
    trainer.fit(task, *loaders, ckpt_path=checkpoint)
    trainer.save_checkpoint(out / f"{kind}.ckpt")
    if trainer.world_size > 1:
        # Validates once more, as in a notebook.
        trainer.validate(task, loaders[1], verbose=False)
    return task


def main() -> None:
    """Run as a rank: train the requested kinds, and print the number of ranks."""
    cohort, out, *kinds = sys.argv[1:]
    rows = slice(SPLIT, STUDIES) if int(os.environ["RANK"]) else slice(0, SPLIT)
    settings = json.loads(os.environ.get("GOING_ON", "{}"))
    for kind in kinds:
        train(kind, Path(cohort), Path(out), rows, devices=2, strategy=ShardedEncoders(), **settings)
        print("ranks", dist.get_world_size(), kind, flush=True)


if __name__ == "__main__":
    main()
