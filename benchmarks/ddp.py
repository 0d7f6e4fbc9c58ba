"""Difference of loss curves and gain in throughput of DDP in two processes, against one process with the joined batch.

Both train the same encoders with Symile on the same studies in the same order, with modalities missing at random. The
curves are compared in single precision, by the largest difference over 50 steps. Throughput is studies per second with
one thread per process, so that the second process adds the second core. The limit of the machine is measured as well,
as the speed-up of matrix products in two processes that do not communicate.
"""

import os
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks.measure import Figure
from polyclinic.data import Batch
from polyclinic.nn import Encoder, Tokenizer, Tokens, Transformer, TransformerEncoder
from polyclinic.objectives import Symile
from polyclinic.tasks import ContrastivePretraining

COMMAND = "python -m benchmarks ddp"
MISSING = {"a": 0.0, "b": 0.2, "c": 0.4}
STUDIES, PATCHES, FEATURES = 96, 32, 16
STEPS, TIMED_STEPS, PRODUCTS, ROUNDS = 50, 4, 200, 3


class Lines(Tokenizer):
    """Tokenizer that embeds each patch by a linear map."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Linear(FEATURES, width)

    def forward(self, inputs: dict[str, Tensor]) -> Tokens:
        """Embed each patch as a token."""
        values = self.embed(inputs["values"])
        return Tokens(values, torch.zeros_like(values[:1]), torch.zeros(values.shape[:2], dtype=torch.bool))


class Step(nn.Module):
    """The training step as a forward pass, which is what Lightning's strategy passes to DDP."""

    def __init__(self, task: ContrastivePretraining) -> None:
        super().__init__()
        self.task = task

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of the joined batch."""
        loss: Tensor = self.task.training_step(batch, 1)
        return loss


def measure() -> list[Figure]:
    """Compare the curves, then time one process and two processes in turns and use the best time of each."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    reference, curves = _curve(Step(_task("pico")), slice(0, STUDIES)), _spawn(_curves)
    gap = max(float((reference - curve).abs().max()) for curve in curves)
    alone, together = [], []
    for _ in range(ROUNDS):
        alone.append(_speeds(Step(_task("micro")), slice(0, STUDIES)))
        # A joint step takes as long as the slower process, whereas matrix products of the two are independent.
        first, second = _spawn(_both)
        together.append(torch.stack([torch.minimum(first, second)[0], (first + second)[1]]))
    torch.set_num_threads(threads)
    gain, limit = (torch.stack(together).amax(dim=0) / torch.stack(alone).amax(dim=0)).tolist()
    return [
        Figure(name="ddp.loss_gap_50_steps", value=gap, unit="", goal=1e-4, at_most=True, command=COMMAND),
        Figure(name="ddp.throughput_gain", value=gain, unit="times", goal=1.6, command=COMMAND),
        Figure(name="ddp.machine_gain", value=limit, unit="times", command=COMMAND),
    ]


def _task(size: str) -> ContrastivePretraining:
    torch.manual_seed(0)
    encoders: dict[str, Encoder] = {}
    modalities: dict[str, Any] = dict.fromkeys(MISSING)
    for name in MISSING:
        trunk = Transformer.of_size(size)
        encoders[name] = TransformerEncoder(tokenizer=Lines(trunk.width), trunk=trunk)
    task = ContrastivePretraining(
        modalities=modalities, encoders=encoders, objective=Symile(), subsets=[["a", "b"]], embedding=64
    )
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    return task


def _batch(step: int, rows: slice) -> Batch:
    generator = torch.Generator().manual_seed(step)
    hidden = torch.randn(STUDIES, 1, FEATURES, generator=generator)
    values = {name: hidden + torch.randn(STUDIES, PATCHES, FEATURES, generator=generator) for name in MISSING}
    present = {name: torch.rand(STUDIES, generator=generator) > share for name, share in MISSING.items()}
    ids = [f"S{place}" for place in range(STUDIES)][rows]
    return Batch(
        inputs={name: {"values": values[name][rows][present[name][rows]]} for name in MISSING},
        present={name: value[rows] for name, value in present.items()},
        labels=torch.zeros(len(ids), 0), study_ids=ids, patient_ids=ids, broken=(),
    )  # fmt: skip


def _curve(module: nn.Module, rows: slice, steps: int = STEPS) -> Tensor:
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
    losses = []
    for step in range(steps):
        loss = module(_batch(step, rows))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def _speeds(module: nn.Module, rows: slice) -> Tensor:
    """Return studies of all ranks per second, and matrix products per second, each after a warm-up."""
    _curve(module, rows, steps=1)
    started = time.perf_counter()
    _curve(module, rows, steps=TIMED_STEPS)
    studies = TIMED_STEPS * STUDIES / (time.perf_counter() - started)
    square = torch.randn(512, 512)
    started = time.perf_counter()
    for _ in range(PRODUCTS):
        square @ square
    return torch.tensor([studies, PRODUCTS / (time.perf_counter() - started)])


def _mine(rank: int) -> slice:
    return slice(rank * STUDIES // 2, (rank + 1) * STUDIES // 2)


def _curves(rank: int) -> Tensor:
    return _curve(DistributedDataParallel(Step(_task("pico"))), _mine(rank))


def _both(rank: int) -> Tensor:
    return _speeds(DistributedDataParallel(Step(_task("micro"))), _mine(rank))


def _spawn(work: Callable[[int], Tensor]) -> list[Tensor]:
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        mp.spawn(_rank, args=(work, port, folder), nprocs=2)
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(2)]


def _rank(rank: int, work: Callable[[int], Tensor], port: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    torch.save(work(rank), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()
