"""Masked pretraining on two real ranks against one process on the joined batch, a modality absent on one rank."""

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from masked_tasks import MODALITIES, batch_of, masked_task
from mlflow_servers import free_port
from polyclinic.data import Batch
from polyclinic.tasks import MaskedPretraining
from ranks import run_ranks

pytestmark = pytest.mark.processes

STEPS, SPLIT, STUDIES, RATE = 3, 5, 12, 0.1


def _batch(cohort: str) -> Batch:
    """Return twelve studies; the last seven, those of the second rank, have neither X-ray nor report."""
    batch = batch_of(Path(cohort), STUDIES)
    rows = torch.arange(STUDIES) < SPLIT
    for name in ("xray", "report"):
        selected = batch.present[name] & rows
        batch.inputs[name] = {key: value[selected[batch.present[name]]] for key, value in batch.inputs[name].items()}
        batch.present[name] = selected
    return batch


def _task() -> MaskedPretraining:
    task = masked_task(budget=40, weights={"ecg": 2.0}, read_depths={"xray": 1})
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    return task


class Step(torch.nn.Module):
    """The training step as a forward pass, which is how Lightning's strategy hands it to DDP."""

    def __init__(self, task: MaskedPretraining) -> None:
        super().__init__()
        self.task = task

    def forward(self, batch: Batch) -> Tensor:
        return self.task.training_step(batch, 0)


def _train(module: torch.nn.Module, batch: Batch) -> list[dict[str, Tensor]]:
    report = []
    for _ in range(STEPS):
        module.zero_grad()
        module(batch).backward()
        report.append(
            {
                name.removeprefix("module.task.").removeprefix("task."): p.grad.clone()
                for name, p in module.named_parameters()
            }
        )
        with torch.no_grad():
            for p in module.parameters():
                p -= RATE * p.grad
    return report


def _rank(rank: int, port: int, cohort: str, out: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    rows = torch.arange(STUDIES) < SPLIT
    batch = _batch(cohort).select(rows if rank == 0 else ~rows)
    report = _train(DistributedDataParallel(Step(_task())), batch)
    torch.save({"world": dist.get_world_size(), "names": list(batch.inputs), "gradients": report}, f"{out}/{rank}.pt")
    dist.destroy_process_group()


def test_two_ranks_give_the_gradients_of_one_process(phantom_cohort: Path, tmp_path: Path) -> None:
    port = free_port()
    run_ranks(_rank, port, str(phantom_cohort), str(tmp_path))
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    assert [report["world"] for report in ranks] == [2, 2]
    assert set(ranks[0]["names"]) - set(ranks[1]["names"]) == {"xray", "report"} < set(MODALITIES)
    expected = _train(Step(_task()), _batch(str(phantom_cohort)))
    for step in range(STEPS):
        for report in ranks:
            assert report["gradients"][step].keys() == expected[step].keys()
            for name, gradient in expected[step].items():
                torch.testing.assert_close(report["gradients"][step][name], gradient, rtol=1e-4, atol=1e-5, msg=name)
    assert any((gradient != 0).any() for name, gradient in expected[0].items() if "encoders.xray" in name)
