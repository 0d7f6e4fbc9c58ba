"""What `polyclinic fit` adds to a training step, over a plain loop on the same encoders, batches and objective.

Both train the pairwise baseline of the phantom cohort from prepared items, in one process and one thread, one after the
other, several times; the best round of each counts. `fit` is the real command with its defaults: MLflow, checkpoints,
quarantine. Counted are all steps of an epoch but its first, which starts the loader in both.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
import yaml
from lightning.pytorch.callbacks import Callback

from benchmarks.measure import Figure
from polyclinic.cli import main
from polyclinic.restore import build
from polyclinic.tasks.encoders import encode_batch

STUDIES, BATCH, EPOCHS, ROUNDS = 1200, 64, 2, 3
COMMAND = "python -m benchmarks step_overhead"
CONFIG = Path("experiments/phantom/clip.yaml")


class Clock(Callback):
    """Adds up the seconds from the end of an epoch's first step to the end of its last."""

    rounds: list[tuple[float, int]] = []  # noqa: RUF012 - the command line builds this object; its readings are here

    def __init__(self) -> None:
        self._seconds, self._steps, self._last = 0.0, 0, 0.0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """A step is done, its logging included for all but the last of an epoch."""
        now = time.perf_counter()
        if batch_idx:
            self._seconds += now - self._last
            self._steps += 1
        self._last = now

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the reading."""
        Clock.rounds.append((self._seconds, self._steps))


def measure() -> list[Figure]:
    """The best round of `fit` beside the best round of the loop."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    plain, fitted = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if main(["cohort", "phantom", str(folder / "cohort"), "--studies", str(STUDIES)]):
            raise RuntimeError("the phantom cohort could not be written")
        for number in range(ROUNDS):
            fitted.append(_fit(folder, number))
            plain.append(_loop(folder))
    torch.set_num_threads(threads)
    overhead = min(fitted) / min(plain) - 1
    return [
        Figure(
            name="step.overhead_vs_plain_loop", value=overhead, unit="", goal=0.05, at_most=True, command=COMMAND
        ),
        Figure(name="step.plain_loop_ms", value=1000 * min(plain), unit="ms", command=COMMAND),
    ]  # fmt: skip


def _data(folder: Path) -> dict[str, Any]:
    return {
        "cohort": str(folder / "cohort" / "cohort.yaml"),
        "prepared": str(folder / "prepared"),
        "batch_size": BATCH,
        "num_workers": 0,
    }


def _fit(folder: Path, number: int) -> float:
    """Seconds of a step through the command line."""
    given = [f"--data.{key}={value}" for key, value in _data(folder).items()]
    code = main([
        "fit", "-c", str(CONFIG), *given, f"--trainer.max_epochs={EPOCHS}", "--trainer.limit_val_batches=0",
        "--trainer.enable_progress_bar=false", f"--trainer.logger.init_args.out={folder / f'runs{number}'}",
        "--trainer.callbacks+=benchmarks.step_overhead.Clock",
    ])  # fmt: skip
    if code:
        raise RuntimeError("the fit did not finish")
    seconds, steps = Clock.rounds.pop()
    return seconds / steps


def _loop(folder: Path) -> float:
    """Seconds of a step as one would write it by hand."""
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    built = build({"model": config["model"], "data": config["data"] | _data(folder)})
    built.data.setup("fit")
    task, loader = built.model, built.data.train_dataloader()
    optimizer = torch.optim.AdamW(task.parameters(), lr=task.lr, weight_decay=task.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * len(loader))
    seconds, steps, last = 0.0, 0, 0.0
    for _ in range(EPOCHS):
        for place, batch in enumerate(loader):
            loss = task.objective(encode_batch(task.encoders, task.heads, batch), batch.present)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            now = time.perf_counter()
            if place:
                seconds += now - last
                steps += 1
            last = now
    return seconds / steps
