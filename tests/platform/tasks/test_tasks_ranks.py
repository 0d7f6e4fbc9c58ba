"""Contrastive training on two real ranks: through the trainer, and against one process on the joined batch."""

import json
import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mlflow_servers import free_port
from polyclinic.data import Batch
from polyclinic.objectives import Symile
from polyclinic.tasks.encode import encode_batch
from pulse_plugin import Pulse
from ranks import end_ranks, run_ranks, start_ranks

pytestmark = pytest.mark.processes

NAMES, STEPS, SPLIT = ("a", "b", "c"), 3, 5

SCRIPT = """
import json, sys
from pathlib import Path
import lightning.pytorch as L
import torch
from polyclinic.data import CohortDataModule
from polyclinic.objectives import AlignmentUniformity, Clip, IntraModal, Symile, WithTerms
from polyclinic.tasks import ContrastivePretraining
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from pulse_plugin import Pulse

syncs = 0

def count(state, bucket):
    global syncs
    syncs += 1
    return allreduce_hook(state, bucket)

class Counted(L.Callback):
    def on_train_start(self, trainer, pl_module):
        trainer.model.register_comm_hook(None, count)

cohort, out = sys.argv[1:]
torch.set_num_threads(1)
torch.manual_seed(0)
names = ("first", "second")
objective = WithTerms(objective=Symile(), terms={"spread": AlignmentUniformity(weight=0.1), "views": IntraModal()})
task = ContrastivePretraining(
    modalities={name: Pulse() for name in names}, objective=objective, embedding=8, same="study", micro_batch=5
)
data = CohortDataModule(cohort=Path(cohort), modalities={name: Pulse() for name in names}, batch_size=7, views=2)
trainer = L.Trainer(
    accelerator="cpu", devices=2, strategy="ddp", callbacks=[Counted()], max_epochs=2, logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
)
trainer.fit(task, datamodule=data)
weights = torch.cat([value.detach().flatten() for value in task.parameters()])
metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
with open(f"{out}/{trainer.global_rank}.json", "w") as file:
    metrics = {"world": trainer.world_size, "steps": trainer.global_step, "syncs": syncs, "metrics": metrics}
    json.dump({**metrics, "weights": weights.tolist()}, file)
"""


def test_two_ranks_train_the_same_weights_and_report_the_same_metrics(pulse_cohort: Path, tmp_path: Path) -> None:
    script = tmp_path / "ranks.py"
    script.write_text(SCRIPT)
    for ended in end_ranks(start_ranks(str(script), str(pulse_cohort), str(tmp_path), folder=tmp_path), tmp_path):
        assert ended.code == 0, ended.errors
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first["world"] == second["world"] == 2
    assert first == second
    # One bucket holds all gradients: parts of a batch do not synchronise separately.
    assert first["syncs"] == first["steps"] > 1
    # Each rank has 7 studies of two views: of 28 rows, an anchor leaves out itself and its other view.
    assert 14 < first["metrics"]["train/negatives"] <= 26
    assert first["metrics"]["val/effective_rank/first"] > 1
    assert "val/spread" in first["metrics"]


class Towers(nn.Module):
    """Encoders in parts of two studies, linear heads, which are independent of the batch, and an objective."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoders = nn.ModuleDict({name: Pulse().default_encoder("pico") for name in NAMES})
        self.heads = nn.ModuleDict({name: nn.Linear(self.encoders[name].width, 8) for name in NAMES})
        self.objective = Symile()

    def forward(self, batch: Batch) -> Tensor:
        embedded = encode_batch(self.encoders, self.heads, batch, at_once=2)
        loss: Tensor = self.objective(embedded, batch.present)
        return loss


def _batch(step: int, rows: slice) -> Batch:
    """Return eight studies, of which those after the split lack b."""
    generator = torch.Generator().manual_seed(step)
    values = {name: torch.randn(8, 2, generator=generator)[rows] for name in NAMES}
    places = torch.arange(8)[rows]
    present = {name: torch.ones(len(places), dtype=torch.bool) for name in NAMES} | {"b": places < SPLIT}
    ids = [f"S{place}" for place in places.tolist()]
    return Batch(
        inputs={name: {"vitals": value[present[name]]} for name, value in values.items() if present[name].any()},
        present=present, labels=torch.zeros(len(ids), 0), study_ids=ids, patient_ids=ids, broken=(),
    )  # fmt: skip


def _train(towers: nn.Module, rows: slice) -> dict[str, Tensor]:
    optimizer = torch.optim.SGD(towers.parameters(), lr=0.1)
    for step in range(STEPS):
        optimizer.zero_grad()
        towers(_batch(step, rows)).backward()
        optimizer.step()
    return {name.removeprefix("module."): value.detach() for name, value in towers.named_parameters()}


def _rank(rank: int, port: int, out: Path) -> None:
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    assert dist.get_world_size() == 2
    towers = DistributedDataParallel(Towers(), find_unused_parameters=False)
    torch.save(_train(towers, slice(0, SPLIT) if rank == 0 else slice(SPLIT, 8)), out / f"{rank}.pt")
    dist.destroy_process_group()


def test_a_modality_that_one_rank_lacks_trains_as_in_one_process(tmp_path: Path) -> None:
    """Train three steps in recomputed parts on ragged ranks, without a search for unused parameters."""
    run_ranks(_rank, free_port(), tmp_path)
    expected = _train(Towers(), slice(0, 8))
    assert not torch.equal(expected["encoders.b.tokenizer.embed.weight"], Towers().encoders["b"].tokenizer.embed.weight)
    for rank in range(2):
        gradients = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name, value in expected.items():
            torch.testing.assert_close(gradients[name], value, rtol=1e-5, atol=1e-6)
