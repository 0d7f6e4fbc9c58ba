"""Two ranks that are killed or stopped and then resumed give the result of two uninterrupted ranks."""

import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import lightning.pytorch as L
import pytest
import torch
import yaml
from lightning.pytorch.utilities.exceptions import SIGTERMException
from mlflow import MlflowClient

from polyclinic.training.callbacks.graceful_stop import GracefulStop
from ranks import Ended, end_ranks, start_ranks

pytestmark = pytest.mark.processes

WORDS = ("fit", "-c", "config.yaml", "--json", "fit.json")
AFTER = 15
"""A batch of the second epoch of ten, in the middle of a step of two: the step ends with batch 16."""


def _prepare(folder: Path, cohort: Path, strategy: Any = "ddp") -> Path:
    folder.mkdir()
    witness = {"class_path": "ranks.RankWitness", "init_args": {"file": "seen.txt"}}
    content = {
        "model": {"class_path": "ranks.Dropping", "init_args": {"objective": "Symile", "embedding": 8}},
        "data": {
            "batch_size": 4, "cohort": str(cohort),
            "modalities": {name: {"class_path": "pulse_plugin.Pulse"} for name in ("first", "second")},
        },
        "trainer": {
            "accelerator": "cpu", "devices": 2, "strategy": strategy, "max_epochs": 3, "accumulate_grad_batches": 2,
            "enable_progress_bar": False, "enable_model_summary": False, "callbacks": [witness],
        },
        "last": {"every_n_steps": 2},
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    return folder


def _train_until_signal(folder: Path, by: str, ranks: list[int]) -> list[Ended]:
    """Start two ranks, some of which get a signal after batch 15."""
    report = {"signal_after": AFTER, "by": by, "ranks": ranks}
    words = [f"--trainer.callbacks.init_args.{key}={value}" for key, value in report.items()]
    return end_ranks(start_ranks(*WORDS, "--ckpt_path=last", *words, folder=folder), folder)


def _run(folder: Path) -> Any:
    client = MlflowClient(f"sqlite:///{folder}/runs/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("polyclinic").experiment_id])
    return run


def _recorded_batches(folder: Path, rank: int) -> list[list[Any]]:
    return [json.loads(line) for line in (folder / f"seen.txt{rank}").read_text().splitlines()]


def _last_checkpoint(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("runs/*/*/checkpoints/last.ckpt")
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


@pytest.mark.slow
def test_a_signal_to_one_rank_ends_both_after_the_same_saved_step(pulse_cohort: Path, tmp_path: Path) -> None:
    folder = _prepare(tmp_path / "cut", pulse_cohort)
    ended = _train_until_signal(folder, "SIGTERM", [1])
    assert [rank.code for rank in ended] == [143, 143], ended
    assert _run(folder).info.status == "KILLED"
    assert [len(_recorded_batches(folder, rank)) for rank in range(2)] == [16, 16]
    last = _last_checkpoint(folder)
    assert last["global_step"] == 8
    first, second = (states["torch"] for states in last["random_states"])
    assert not torch.equal(first, second)


@pytest.mark.slow
@pytest.mark.parametrize(
    "strategy", ["ddp", {"class_path": "polyclinic.training.ShardedEncoders"}], ids=["ddp", "sharded"]
)
def test_stopped_and_resumed_ranks_equal_uninterrupted_ones(pulse_cohort: Path, tmp_path: Path, strategy: Any) -> None:
    uninterrupted = _prepare(tmp_path / "whole", pulse_cohort, strategy)
    assert [rank.code for rank in end_ranks(start_ranks(*WORDS, folder=uninterrupted), uninterrupted)] == [0, 0]
    for by, ranks, codes, resumed_from in (("SIGKILL", [0, 1], [-9, -9], 13), ("SIGTERM", [0, 1], [143, 143], 17)):
        cut = _prepare(tmp_path / by, pulse_cohort, strategy)
        assert [rank.code for rank in _train_until_signal(cut, by, ranks)] == codes
        resumed = end_ranks(start_ranks(*WORDS, "--ckpt_path=last", folder=cut), cut)
        assert [rank.code for rank in resumed] == [0, 0], resumed
        for rank in range(2):
            expected, batches = _recorded_batches(uninterrupted, rank), _recorded_batches(cut, rank)
            cutoff = AFTER if by == "SIGKILL" else AFTER + 1
            assert batches == [*expected[:cutoff], *expected[resumed_from - 1 :]]
        assert _run(cut).info.status == "FINISHED"
        first, second = _last_checkpoint(uninterrupted), _last_checkpoint(cut)
        assert all(torch.equal(value, second["state_dict"][name]) for name, value in first["state_dict"].items())
        for rank in range(2):
            assert torch.equal(first["random_states"][rank]["torch"], second["random_states"][rank]["torch"])


@pytest.mark.parametrize(("world", "batch", "ends"), [(1, 0, False), (2, 1, False), (2, 2, True)])
def test_ranks_agree_before_each_step_whether_to_end(
    monkeypatch: pytest.MonkeyPatch, world: int, batch: int, ends: bool
) -> None:
    answers = []

    def other_rank_was_signalled(value: torch.Tensor, op: Any) -> None:
        answers.append(int(value))
        value.fill_(1)

    monkeypatch.setattr("torch.distributed.all_reduce", other_rank_was_signalled)
    trainer = Mock(spec=L.Trainer, world_size=world, accumulate_grad_batches=2, checkpoint_callbacks=[])
    task = Mock(spec=L.LightningModule, device=torch.device("cpu"))
    try:
        GracefulStop().on_train_batch_start(trainer, task, None, batch)
        ended = False
    except SIGTERMException:
        ended = True
    assert (ended, answers) == (ends, [0] if ends else [])
