"""Overhead of a training step of `polyclinic fit` over a plain loop on the same encoders, batches and objective.

Both train the pairwise baseline of the phantom cohort from prepared items, in one process and one thread. They take
turns: each step of `fit` is followed by a step of the loop on the same studies, so that other load slows both alike.
Sums over ten steps, one of which Lightning logs, are compared, and the result is the median over all pairs of sums.
`fit` is the real command with its defaults: MLflow, checkpoints, quarantine. The first step of an epoch is left out,
because it starts the loader in both. The benchmark `tracking` measures the work of the tracking thread.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback

from benchmarks.measure import Figure
from polyclinic.cli import main
from polyclinic.cli.demo.inputs import RECIPES
from polyclinic.files.yaml_loader import load_yaml
from polyclinic.tasks.encode import encode_batch
from polyclinic.training.restore import build

STUDIES, BATCH, EPOCHS, STEPS_PER_SUM = 1200, 64, 12, 10
COMMAND = "python -m benchmarks step_overhead"
CONFIG = RECIPES / "clip.yaml"


class Turns(Callback):
    """Callback that runs a step of the plain loop after each step of the fit, and stores the seconds of both."""

    pairs: list[tuple[float, float]] = []  # noqa: RUF012 - the command line builds this object; its readings are here

    def __init__(self, folder: Path) -> None:
        self._loop, self._resumed = _loop(folder), 0.0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Time the finished step, whose logging counts towards the next step, and a step of the plain loop."""
        seconds = time.perf_counter() - self._resumed
        loop_seconds = next(self._loop)
        if batch_idx:
            Turns.pairs.append((seconds, loop_seconds))
        self._resumed = time.perf_counter()


def measure() -> list[Figure]:
    """Compare sums over ten steps of `fit` with those of the same ten steps of the loop."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if main(["cohort", "phantom", str(folder / "cohort"), "--studies", str(STUDIES)]):
            raise RuntimeError("the phantom cohort could not be written")
        _fit(folder)
    torch.set_num_threads(threads)
    starts = range(0, len(Turns.pairs) - STEPS_PER_SUM + 1, STEPS_PER_SUM)
    sums = [[sum(side) for side in zip(*Turns.pairs[start : start + STEPS_PER_SUM], strict=True)] for start in starts]
    overhead = median(fitted / plain for fitted, plain in sums) - 1
    plain_seconds = median(plain for _, plain in sums) / STEPS_PER_SUM
    return [
        Figure(name="step.overhead_vs_plain_loop", value=overhead, unit="", goal=0.05, at_most=True, command=COMMAND),
        Figure(name="step.plain_loop_ms", value=1000 * plain_seconds, unit="ms", command=COMMAND),
    ]


def _data(folder: Path) -> dict[str, Any]:
    return {
        "cohort": str(folder / "cohort" / "cohort.yaml"),
        "prepared": str(folder / "prepared"),
        "batch_size": BATCH,
        "num_workers": 0,
    }


def _fit(folder: Path) -> None:
    options = [f"--data.{key}={value}" for key, value in _data(folder).items()]
    code = main([
        "fit", "-c", str(CONFIG), *options, f"--trainer.max_epochs={EPOCHS}", "--trainer.limit_val_batches=0",
        "--trainer.enable_progress_bar=false", f"--trainer.logger.init_args.out={folder / 'runs'}",
        "--trainer.callbacks+=benchmarks.step_overhead.Turns", f"--trainer.callbacks.folder={folder}",
    ])  # fmt: skip
    if code:
        raise RuntimeError("the fit did not finish")


def _loop(folder: Path) -> Iterator[float]:
    """Yield the seconds of each step of a hand-written training loop."""
    config = load_yaml(CONFIG.read_bytes(), name=CONFIG.name)
    built = build({"model": config["model"], "data": config["data"] | _data(folder)})
    built.data.setup("fit")
    task: Any = built.model
    loader: Any = built.data.train_dataloader()
    optimizer = torch.optim.AdamW(task.parameters(), lr=task.lr, weight_decay=task.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * len(loader))
    for epoch in range(EPOCHS):
        loader.batch_sampler.sampler.set_epoch(epoch)
        started = time.perf_counter()
        for batch in loader:
            loss = task.objective(encode_batch(task.encoders, task.heads, batch), batch.present)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            yield time.perf_counter() - started
            started = time.perf_counter()
