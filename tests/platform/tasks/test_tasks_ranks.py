"""A contrastive task on two real ranks, through the trainer: everything that a step gathers, at once."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import json, sys
from pathlib import Path
import lightning.pytorch as L
import torch
from polyclinic.data import CohortDataModule
from polyclinic.objectives import AlignmentUniformity, Clip, IntraModal, Symile, WithTerms
from polyclinic.tasks import ContrastivePretraining
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from pulse import Pulse

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
told = {name: float(value) for name, value in trainer.callback_metrics.items()}
with open(f"{out}/{trainer.global_rank}.json", "w") as file:
    told = {"world": trainer.world_size, "steps": trainer.global_step, "syncs": syncs, "told": told}
    json.dump({**told, "weights": weights.tolist()}, file)
"""


def test_two_ranks_train_the_same_weights_and_tell_the_same(pulse_cohort: Path, tmp_path: Path) -> None:
    script = tmp_path / "ranks.py"
    script.write_text(SCRIPT)
    subprocess.run(
        [sys.executable, str(script), str(pulse_cohort), str(tmp_path)],
        check=True,
        timeout=200,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[2]), "HOME": str(tmp_path)},
        cwd=tmp_path,
    )
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first["world"] == second["world"] == 2
    assert first == second
    # One bucket holds all gradients: parts of a batch do not synchronise one by one.
    assert first["syncs"] == first["steps"] > 1
    # 7 studies of two views on each rank: 28 rows, of which an anchor leaves out itself and its other view.
    assert 14 < first["told"]["train/negatives"] <= 26
    assert first["told"]["val/effective_rank/first"] > 1
    assert "val/spread" in first["told"]
