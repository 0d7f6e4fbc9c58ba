"""Commands run as several ranks that find each other, and callbacks that record what each rank did."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as L
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.nn import functional as F

from forked_commands import Forked, preload
from mlflow_servers import free_port
from polyclinic.data import Batch
from polyclinic.tasks import ContrastivePretraining


class Ended(NamedTuple):
    """Exit code and output of a rank."""

    code: int
    out: str
    errors: str


def start_ranks(*words: str, folder: Path, world: int = 2, **more: str) -> list[Forked]:
    """Start a command of Polyclinic as ranks, as torchrun would; ``end_ranks`` waits for them.

    Args:
        words: of the command, or the path of a script and its arguments.
        folder: where it runs.
        world: number of ranks.
        more: variables of the environment.
    """
    common = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parent),
        "HOME": str(folder), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world), "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test",
        **more,
    }  # fmt: skip
    ranks = []
    for rank in range(world):
        environment = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        out, errors = (folder / f"{kind}{rank}" for kind in ("out", "errors"))
        for file in (out, errors):
            file.unlink(missing_ok=True)
        ranks.append(Forked(words, folder=folder, environment=environment, out=out, errors=errors))
    return ranks


def run_ranks(function: Callable[..., None], *values: object, world: int = 2) -> None:
    """Call a function of a test module with the rank and the values in each of several processes.

    Raises:
        torch.multiprocessing.ProcessRaisedException: one of them failed.
    """
    preload()
    torch.multiprocessing.start_processes(function, values, nprocs=world, start_method="forkserver")


def end_ranks(ranks: list[Forked], folder: Path, *, timeout: float = 1000) -> list[Ended]:
    """Wait for ranks; a rank that does not end in time is killed, with code -9."""
    deadline = time.monotonic() + timeout
    for rank in ranks:
        try:
            rank.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            rank.kill()
            rank.wait()
    outputs = [[(folder / f"{kind}{number}").read_text() for kind in ("out", "errors")] for number in range(len(ranks))]
    return [Ended(rank.returncode, *output) for rank, output in zip(ranks, outputs, strict=True)]


class Dropping(ContrastivePretraining):
    """Contrastive task with dropout, so that the result depends on the random numbers of each rank."""

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return {name: F.dropout(value, 0.2, self.training) for name, value in super().forward(batch).items()}


class PathWitness(Callback):
    """Writes the linear path of each rank's task at the start of training.

    Args:
        file: start of the path of the files; the rank follows.
    """

    def __init__(self, file: str) -> None:
        self._file = file

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the buffers of the path, and the number of ranks."""
        state = {name: value.tolist() for name, value in pl_module.linear_path.state_dict().items()}
        Path(f"{self._file}{trainer.global_rank}").write_text(json.dumps({"world": dist.get_world_size(), **state}))


class RankWitness(Callback):
    """Records the studies of each batch of a rank, and sends the process a signal after one of them.

    Each rank draws as many random numbers per batch as its number, so that no two are in the same state.

    Args:
        file: to append to; the rank's number is added to its name.
        signal_after: the batch, counted over epochs; none unless set.
        by: the signal.
        ranks: that get it; all unless set.
    """

    def __init__(
        self, file: Path, signal_after: int | None = None, by: str = "SIGKILL", ranks: list[int] | None = None
    ) -> None:
        self._file, self._after, self._by, self._ranks = file, signal_after, by, ranks

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        torch.rand(trainer.global_rank)
        batches = trainer.fit_loop.total_batch_idx + 1
        report = [batches, trainer.current_epoch, batch_idx, list(batch.study_ids), float(outputs["loss"])]
        with self._file.with_name(f"{self._file.name}{trainer.global_rank}").open("a", encoding="utf-8") as file:
            file.write(json.dumps(report) + "\n")
        if batches == self._after and (self._ranks is None or trainer.global_rank in self._ranks):
            os.kill(os.getpid(), getattr(signal, self._by))


class Embedded(Callback):
    """Records the embeddings of four test studies after validation, and how the model was sharded.

    Args:
        file: to write.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        modules = list(pl_module.modules())
        batch = next(iter(trainer.datamodule.test_dataloader()))
        embedded = pl_module(batch)
        rows = {
            study: {name: value[row] for name, value in embedded.items()} for row, study in enumerate(batch.study_ids)
        }
        report = {
            "embedded": rows, "ranks": dist.get_world_size(),
            "shards": sum(isinstance(module, FSDPModule) for module in modules),
        }  # fmt: skip
        torch.save(report, self._file)
