"""Two gloo processes against one on the joined batch: every parameter's gradient, for every objective."""

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mlflow_servers import free_port
from objective_family import objective_family
from polyclinic.objectives import (
    EmbeddingBatch,
    Objective,
    gather_embeddings,
)
from ranks import run_ranks

pytestmark = pytest.mark.processes

NAMES, WIDTH, D = ("a", "b", "c"), 4, 6
SIZES = (5, 3)
GROUPS = torch.tensor([0, 1, 2, 0, 3, 4, 2, 5])
FAMILY = objective_family(D)


class Towers(nn.Module):
    """A linear map per modality and an objective over them."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.maps = nn.ModuleDict({name: nn.Linear(WIDTH, D, dtype=torch.float64) for name in NAMES})
        self.objective = objective.double()

    def forward(self, inputs: dict[str, Tensor], present: dict[str, Tensor], groups: Tensor | None) -> Tensor:
        embedded = {
            name: torch.where(present[name][:, None], self.maps[name](value), 0.0) for name, value in inputs.items()
        }
        loss: Tensor = self.objective(embedded, present, groups)
        return loss


def _towers(kind: str) -> Towers:
    torch.manual_seed(0)
    return Towers(FAMILY[kind]())


def _batch(absent: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return eight studies; with ``absent``, the three of the second rank have no b, and one of the first has no c."""
    generator = torch.Generator().manual_seed(1)
    inputs = {name: torch.randn(8, WIDTH, generator=generator, dtype=torch.float64) for name in NAMES}
    present = {name: torch.ones(8, dtype=torch.bool) for name in NAMES}
    if absent:
        present["b"][SIZES[0] :] = False
        present["c"][2] = False
    return inputs, present


def _gradients(towers: nn.Module, rows: slice, absent: bool, groups: Tensor | None) -> dict[str, Tensor]:
    inputs, present = _batch(absent)
    loss = towers(
        {name: value[rows] for name, value in inputs.items()},
        {name: value[rows] for name, value in present.items()},
        None if groups is None else groups[rows],
    )
    loss.backward()
    gradients = {
        name.removeprefix("module."): p.grad.clone() for name, p in towers.named_parameters() if p.grad is not None
    }
    return {**gradients, "loss": loss.detach().clone()}


def _loss_of_rank(kind: str, rows: slice) -> Tensor:
    """Return the loss over the studies of one rank, as in validation: ranks differ in studies and in their number."""
    inputs, _ = _batch(absent=False)
    studies = EmbeddingBatch.of(
        {name: value[rows].repeat(1, 2)[:, :D] for name, value in inputs.items()}, None, GROUPS[rows]
    )
    return _towers(kind).objective.eval().loss(studies).detach()


def _rank(rank: int, port: int, out: Path) -> None:
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    assert dist.get_world_size() == 2
    rows = slice(0, SIZES[0]) if rank == 0 else slice(SIZES[0], sum(SIZES))
    report = {}
    for kind in FAMILY:
        for absent in (False, True):
            for groups in (None, GROUPS):
                key = f"{kind} absent={absent} groups={groups is not None}"
                report[key] = _gradients(DistributedDataParallel(_towers(kind)), rows, absent, groups)
    inputs, present = _batch(absent=True)
    report["alone"] = {kind: _loss_of_rank(kind, rows) for kind in FAMILY}
    inputs_here = {name: value[rows] for name, value in inputs.items()}
    joined = gather_embeddings(
        EmbeddingBatch.of(inputs_here, {name: value[rows] for name, value in present.items()}, GROUPS[rows])
    )
    report["joined"] = {**joined.embeddings, **{f"{name}?": value for name, value in joined.present.items()}}
    report["joined"]["groups"] = joined.groups
    report["negatives"] = {kind: torch.tensor(_towers(kind).objective.negatives(joined)) for kind in FAMILY}
    torch.save(report, out / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Tensor]]]:
    """Return the gradients, embeddings and negatives of both ranks."""
    out = tmp_path_factory.mktemp("ranks")
    port = free_port()
    run_ranks(_rank, port, out)
    return [torch.load(out / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("kind", FAMILY)
@pytest.mark.parametrize("absent", [False, True])
@pytest.mark.parametrize("groups", [None, GROUPS])
def test_two_ranks_equal_one(
    ranks: list[dict[str, dict[str, Tensor]]], kind: str, absent: bool, groups: Tensor | None
) -> None:
    single = _gradients(_towers(kind), slice(0, 8), absent, groups)
    assert any("scale.log" in name for name in single)
    for gradients in (rank[f"{kind} absent={absent} groups={groups is not None}"] for rank in ranks):
        assert gradients.keys() == single.keys()
        for name, value in single.items():
            torch.testing.assert_close(
                gradients[name], value, rtol=1e-5, atol=1e-9, msg=lambda text, n=name: f"{n}: {text}"
            )


def test_ragged_ranks_are_joined_in_order(ranks: list[dict[str, dict[str, Tensor]]]) -> None:
    inputs, present = _batch(absent=True)
    for rank in ranks:
        assert all(torch.equal(rank["joined"][name], inputs[name]) for name in NAMES)
        assert all(torch.equal(rank["joined"][f"{name}?"], present[name]) for name in NAMES)
        assert torch.equal(rank["joined"]["groups"], GROUPS)


def test_embeddings_that_were_not_gathered_are_those_of_the_rank(ranks: list[dict[str, dict[str, Tensor]]]) -> None:
    for rank, rows in zip(ranks, (slice(0, SIZES[0]), slice(SIZES[0], sum(SIZES))), strict=True):
        for kind in FAMILY:
            torch.testing.assert_close(rank["alone"][kind], _loss_of_rank(kind, rows))


def test_negatives_are_those_of_the_joined_batch(ranks: list[dict[str, dict[str, Tensor]]]) -> None:
    joined = EmbeddingBatch.of(*_batch(absent=True), GROUPS)
    for kind in FAMILY:
        expected = _towers(kind).objective.negatives(joined)
        assert [float(rank["negatives"][kind]) for rank in ranks] == [pytest.approx(expected)] * 2
