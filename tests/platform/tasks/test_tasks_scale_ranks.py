"""Two real ranks against one process on the joined batch: every task, objective and fusion, any modality missing."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import lightning.pytorch as L
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mlflow_servers import free_port
from objective_family import objective_family
from polyclinic.cohort import Target
from polyclinic.data import Batch
from polyclinic.nn import (
    AttentionFusion,
    ConcatenationFusion,
    Fusion,
    PromptPoolFusion,
    SequentialFusion,
    StudyNorm,
)
from polyclinic.tasks import ContrastivePretraining, Downstream
from pulse_plugin import Pulse
from ranks import run_ranks

pytestmark = pytest.mark.processes

NAMES, WIDTH, STUDIES, SPLIT = ("a", "b", "c"), 8, 12, 7
OBJECTIVES = objective_family(WIDTH)
FUSIONS: dict[str, Callable[[dict[str, int], int], Fusion]] = {
    "concatenation": ConcatenationFusion,
    "attention": partial(AttentionFusion, width=8),
    "sequential": partial(SequentialFusion, state=8, hidden=8),
    "stand-in": partial(PromptPoolFusion, pool=8, width=8),
}
# The studies of twelve that have a modality, step by step: all; the second rank none of b, the first one of c; no
# study two of them, so that nothing can be contrasted; a single one b; none c.
STEPS: list[dict[str, list[bool]]] = [
    {},
    {"b": [place < SPLIT for place in range(STUDIES)], "c": [place >= SPLIT - 1 for place in range(STUDIES)]},
    {name: [place % 3 == number for place in range(STUDIES)] for number, name in enumerate(NAMES)},
    {"b": [place == 2 for place in range(STUDIES)]},
    {"c": [False] * STUDIES},
]


def _task(kind: str) -> L.LightningModule:
    torch.manual_seed(0)
    modalities = {name: Pulse() for name in NAMES}
    task: L.LightningModule
    if kind in OBJECTIVES:
        task = ContrastivePretraining(
            modalities=modalities, objective=OBJECTIVES[kind](), size="pico", embedding=WIDTH, subsets=[["a", "b"]],
            random_subsets=1, same="patient", micro_batch=2,
        )  # fmt: skip
    else:
        targets = (Target(name="x", kind="finding"), Target(name="y", kind="quantity"))
        task = Downstream(modalities=modalities, targets=targets, size="pico", fusion=FUSIONS[kind])
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    task._trainer = None
    return task.double()


class Step(nn.Module):
    """The training step as a forward pass, which is how Lightning's strategy hands it to DDP."""

    def __init__(self, task: L.LightningModule) -> None:
        super().__init__()
        self.task = task

    def forward(self, batch: Batch) -> Tensor:
        loss: Tensor = self.task.training_step(batch, 1)
        return loss


def _batch(step: int, rows: slice) -> Batch:
    generator = torch.Generator().manual_seed(step)
    present = {name: torch.tensor(STEPS[step].get(name, [True] * STUDIES)) for name in NAMES}
    values = {name: torch.randn(STUDIES, 2, generator=generator, dtype=torch.float64) for name in NAMES}
    labels = torch.randint(0, 2, (STUDIES, 2), generator=generator).double()
    labels[3] = torch.nan
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
        patient_ids=[f"P{place // 2}" for place in places],
        broken=(),
    )


def _train(module: nn.Module, rows: slice) -> list[dict[str, Tensor]]:
    """Return the gradients of each step and the statistics after it, while weights change."""
    report = []
    for step in range(len(STEPS)):
        module.zero_grad()
        module(_batch(step, rows)).backward()
        gradients = {name: p.grad.clone() for name, p in module.named_parameters() if p.requires_grad}
        gradients |= {name: value.clone() for name, value in module.named_buffers() if "running" in name}
        report.append({name.removeprefix("module."): value for name, value in gradients.items()})
        with torch.no_grad():
            for p in module.parameters():
                p -= 0.05 * p.grad
    return report


def _rank(rank: int, port: int, out: Path) -> None:
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    assert dist.get_world_size() == 2
    rows = slice(0, SPLIT) if rank == 0 else slice(SPLIT, STUDIES)
    report = {}
    for kind in [*OBJECTIVES, *FUSIONS]:
        module = DistributedDataParallel(Step(_task(kind)), find_unused_parameters=False)
        report[kind] = _train(module, rows)
    torch.save(report, out / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[dict[str, Tensor]]]]:
    """Return the gradients and statistics of both ranks."""
    out = tmp_path_factory.mktemp("ranks")
    port = free_port()
    run_ranks(_rank, port, out)
    return [torch.load(out / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("kind", [*OBJECTIVES, *FUSIONS])
def test_two_ranks_train_as_one_process_whichever_modality_is_missing(
    ranks: list[dict[str, list[dict[str, Tensor]]]], kind: str
) -> None:
    single = _train(Step(_task(kind)), slice(0, STUDIES))
    for steps in (rank[kind] for rank in ranks):
        for step, expected in enumerate(single):
            assert steps[step].keys() == expected.keys()
            for name, value in expected.items():
                torch.testing.assert_close(
                    steps[step][name], value, rtol=1e-5, atol=1e-8, msg=lambda text, n=(step, name): f"{n}: {text}"
                )
    assert any(bool((value != 0).any()) for name, value in single[0].items() if "encoders.b" in name)
    assert all(bool((value == 0).all()) for name, value in single[4].items() if "encoders.c" in name)


def test_statistics_without_ranks_are_those_of_batchnorm() -> None:
    norm, reference = StudyNorm(3).double(), nn.BatchNorm1d(3, momentum=0.05).double()
    values = torch.randn(6, 3, dtype=torch.float64)
    torch.testing.assert_close(norm(values), reference(values), rtol=1e-12, atol=1e-12)
    assert norm(values[:0]).shape == (0, 3)
    torch.testing.assert_close(norm.running_var, reference.running_var, rtol=1e-12, atol=1e-12)
