"""Cost of tracking for a run of 1,000 steps, with MLflow in SQLite.

The cost is the time that the training thread spends in the logger, from opening the run to its end, plus the processor
time of the sending thread, which may delay the training thread. Wall-clock time against fits without a logger is
reported as well, measured in turns, because steps of a few milliseconds vary between runs by more than the cost of
tracking. Three metrics are logged, both every fifty steps (Lightning's default) and every step. The tables of the
database are created beforehand, which takes a second once.
"""

import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import lightning.pytorch as L
import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.measure import Figure
from polyclinic.tracking import RunLogger
from polyclinic.tracking.outbox import Outbox

STEPS, ROUNDS, WIDTH, BATCH = 1000, 5, 512, 32
COMMAND = "python -m benchmarks tracking"


class _Layers(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(*(torch.nn.Linear(WIDTH, WIDTH) for _ in range(4)))

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """Log three metrics, as a contrastive step does."""
        loss: torch.Tensor = (self.layers(batch[0]) - batch[0]).square().mean()
        self.log_dict({"train/loss": loss, "train/scale": loss + 1, "train/negatives": loss + 2})
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Use plain gradient descent."""
        return torch.optim.SGD(self.parameters(), lr=1e-3)


class _Timed(RunLogger):
    """Logger that counts the seconds that the calling thread spends in it."""

    def __init__(self, out: Path) -> None:
        super().__init__(out=out)
        self.seconds, self._inside = 0.0, False

    def __getattribute__(self, name: str) -> Any:
        """Time every public method and property, except for nested calls."""
        if name.startswith("_") or name in ("seconds", "works"):
            return super().__getattribute__(name)
        member = self._counted(lambda: super(_Timed, self).__getattribute__(name))
        return (
            (lambda *arguments, **options: self._counted(lambda: member(*arguments, **options)))
            if callable(member)
            else member
        )

    def _counted(self, work: Callable[[], Any]) -> Any:
        if self._inside:
            return work()
        self._inside = True
        started = time.perf_counter()
        try:
            return work()
        finally:
            self.seconds += time.perf_counter() - started
            self._inside = False


class _Sending:
    """Context that counts the processor time of the sending thread."""

    def __enter__(self) -> "_Sending":
        self.seconds, self._work = 0.0, Outbox._work

        def counted(outbox: Outbox) -> None:
            self._work(outbox)
            self.seconds += time.thread_time()

        Outbox._work = counted  # type: ignore[assignment, method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        Outbox._work = self._work  # type: ignore[method-assign]


def measure() -> list[Figure]:
    """Measure the share of tracking, fits with and without it in turns, and calls while the database is locked."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        _fit(RunLogger(out=out), every=50)
        shares = {every: median(_share(out, every=every) for _ in range(ROUNDS)) for every in (50, 1)}
        turns = [(_fit(RunLogger(out=out), every=50), _fit(None, every=50)) for _ in range(ROUNDS)]
        clock = median(tracked for tracked, _ in turns) / median(plain for _, plain in turns) - 1
        figures = [
            Figure(name="tracking.overhead", value=shares[50], unit="", goal=0.02, at_most=True, command=COMMAND),
            Figure(name="tracking.overhead_every_step", value=shares[1], unit="", command=COMMAND),
            Figure(name="tracking.overhead_by_clock", value=clock, unit="", command=COMMAND),
        ]
        return [*figures, *_calls_while_locked(out)]


def _share(out: Path, *, every: int) -> float:
    """Return the ratio of tracking time to the rest of the fit."""
    logger = _Timed(out)
    with _Sending() as sending:
        seconds = _fit(logger, every=every)
    if not sending.seconds or not logger.seconds:
        raise RuntimeError("the tracking was not counted")
    spent = logger.seconds + sending.seconds
    return spent / (seconds - spent)


def _fit(logger: RunLogger | None, *, every: int) -> float:
    torch.manual_seed(0)
    data = DataLoader(TensorDataset(torch.randn(STEPS * BATCH, WIDTH)), batch_size=BATCH)
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=1, logger=logger or False, log_every_n_steps=every, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    started = time.perf_counter()
    trainer.fit(_Layers(), data)
    return time.perf_counter() - started


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
    usual, longest = median(waits) * 1e6, max(waits) * 1e3
    return [
        Figure(name="tracking.call_while_locked_us", value=usual, unit="us", command=COMMAND),
        Figure(name="tracking.longest_call_while_locked_ms", value=longest, unit="ms", command=COMMAND),
    ]
