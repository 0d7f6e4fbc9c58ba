"""What tracking costs a run: a fit of 1,000 steps with a run in SQLite against the same without any logger.

Both run in one process, in turns; of each the fastest of three counts, from the call of ``fit`` to its return, so that
opening the run and waiting for its end are part of it. A step takes about five milliseconds. Three metrics are logged,
every fiftieth step as Lightning does unless told otherwise, and every step. The database has its tables already: making
them takes a second, once.
"""

import sqlite3
import tempfile
import time
from operator import itemgetter
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.measure import Figure
from polyclinic.tracking import RunLogger

STEPS, ROUNDS, WIDTH, BATCH = 1000, 3, 512, 32
COMMAND = "python -m benchmarks tracking"


class _Layers(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(*(torch.nn.Linear(WIDTH, WIDTH) for _ in range(4)))

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """Three metrics, as a contrastive step has them."""
        loss: torch.Tensor = (self.layers(batch[0]) - batch[0]).square().mean()
        self.log_dict({"train/loss": loss, "train/scale": loss + 1, "train/negatives": loss + 2})
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain descent."""
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def measure() -> list[Figure]:
    """Time fits in turns; then single calls while the database is locked."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        _fit(out, every=50)
        wall, processor = _overhead(out, every=50)
        _, often = _overhead(out, every=1)
        figures = [
            Figure(name="tracking.overhead", value=wall, unit="", goal=0.02, at_most=True, command=COMMAND),
            Figure(name="tracking.overhead_processor", value=processor, unit="", command=COMMAND),
            Figure(name="tracking.overhead_processor_every_step", value=often, unit="", command=COMMAND),
        ]
        return [*figures, *_calls_while_locked(out)]


def _overhead(out: Path, *, every: int) -> tuple[float, float]:
    """By the clock, and by the processor time of all threads, which other programs disturb less."""
    tracked, plain = zip(*((_fit(out, every=every), _fit(None, every=every)) for _ in range(ROUNDS)), strict=True)
    wall, processor = (min(map(kind, tracked)) / min(map(kind, plain)) - 1 for kind in (itemgetter(0), itemgetter(1)))
    return wall, processor


def _fit(out: Path | None, *, every: int) -> tuple[float, float]:
    torch.manual_seed(0)
    data = DataLoader(TensorDataset(torch.randn(STEPS * BATCH, WIDTH)), batch_size=BATCH)
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=1, logger=False if out is None else RunLogger(out=out), log_every_n_steps=every,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    started, worked = time.perf_counter(), time.process_time()
    trainer.fit(_Layers(), data)
    return time.perf_counter() - started, time.process_time() - worked


def _calls_while_locked(out: Path) -> list[Figure]:
    logger = RunLogger(out=out)
    _ = logger.experiment
    with sqlite3.connect(out / "mlflow.db", isolation_level=None) as blocker:
        blocker.execute("BEGIN EXCLUSIVE")
        waits = []
        for step in range(STEPS):
            started = time.perf_counter()
            logger.log_metrics({"train/loss": 1.0, "train/scale": 2.0, "train/negatives": 3.0}, step=step)
            waits.append(time.perf_counter() - started)
            time.sleep(0.005)
        blocker.execute("ROLLBACK")
    blocker.close()
    logger.finalize("success")
    held = logger.experiment.get_metric_history(logger.run_id, "train/loss")
    if sorted(point.step for point in held) != list(range(STEPS)):
        raise RuntimeError(f"got {len(held)} steps, expected {STEPS}")
    median, longest = sorted(waits)[STEPS // 2] * 1e6, max(waits) * 1e3
    return [
        Figure(name="tracking.call_while_locked_us", value=median, unit="us", command=COMMAND),
        Figure(name="tracking.longest_call_while_locked_ms", value=longest, unit="ms", command=COMMAND),
    ]
