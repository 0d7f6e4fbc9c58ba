"""Two ranks that are killed or stopped, and started again, are the two ranks that were left alone."""

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
AFTER = 14
"""In the second epoch of nine batches, and in the middle of a step of two: the step ends with batch 15."""


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


def _stopped(folder: Path, by: str, ranks: list[int]) -> list[Ended]:
    """Start two ranks, some of which get a signal after batch 14."""
    report = {"signal_after": AFTER, "by": by, "ranks": ranks}
    words = [f"--trainer.callbacks.init_args.{key}={value}" for key, value in report.items()]
    return end_ranks(start_ranks(*WORDS, "--ckpt_path=last", *words, folder=folder), folder)


def _run(folder: Path) -> Any:
    client = MlflowClient(f"sqlite:///{folder}/runs/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("polyclinic").experiment_id])
    return run


def _seen(folder: Path, rank: int) -> list[list[Any]]:
    return [json.loads(line) for line in (folder / f"seen.txt{rank}").read_text().splitlines()]


def _last(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("runs/*/*/checkpoints/last.ckpt")
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


@pytest.mark.slow
def test_a_rank_that_is_reported_to_end_ends_both_after_the_same_saved_step(pulse_cohort: Path, tmp_path: Path) -> None:
    folder = _prepare(tmp_path / "cut", pulse_cohort)
    ended = _stopped(folder, "SIGTERM", [1])
    assert [one.code for one in ended] == [143, 143], ended
    assert _run(folder).info.status == "KILLED"
    assert [len(_seen(folder, rank)) for rank in range(2)] == [15, 15]
    last = _last(folder)
    # Five steps an epoch, of which the last one has a single batch.
    assert last["global_step"] == 8
    first, second = (states["torch"] for states in last["random_states"])
    assert not torch.equal(first, second)


@pytest.mark.slow
@pytest.mark.parametrize(
    "strategy", ["ddp", {"class_path": "polyclinic.training.ShardedEncoders"}], ids=["ddp", "sharded"]
)
def test_ranks_that_were_stopped_are_those_that_were_left_alone(
    pulse_cohort: Path, tmp_path: Path, strategy: Any
) -> None:
    whole = _prepare(tmp_path / "whole", pulse_cohort, strategy)
    assert [one.code for one in end_ranks(start_ranks(*WORDS, folder=whole), whole)] == [0, 0]
    for by, ranks, codes, again in (("SIGKILL", [0, 1], [-9, -9], 12), ("SIGTERM", [0, 1], [143, 143], 16)):
        cut = _prepare(tmp_path / by, pulse_cohort, strategy)
        assert [one.code for one in _stopped(cut, by, ranks)] == codes
        resumed = end_ranks(start_ranks(*WORDS, "--ckpt_path=last", folder=cut), cut)
        assert [one.code for one in resumed] == [0, 0], resumed
        for rank in range(2):
            expected, found = _seen(whole, rank), _seen(cut, rank)
            cutoff = AFTER if by == "SIGKILL" else AFTER + 1
            assert found == [*expected[:cutoff], *expected[again - 1 :]]
        assert _run(cut).info.status == "FINISHED"
        one, two = _last(whole), _last(cut)
        assert all(torch.equal(value, two["state_dict"][name]) for name, value in one["state_dict"].items())
        for rank in range(2):
            assert torch.equal(one["random_states"][rank]["torch"], two["random_states"][rank]["torch"])


@pytest.mark.parametrize(("world", "batch", "ends"), [(1, 0, False), (2, 1, False), (2, 2, True)])
def test_ranks_ask_each_other_before_a_step_begins_alone(
    monkeypatch: pytest.MonkeyPatch, world: int, batch: int, ends: bool
) -> None:
    asked = []

    def another_was_told(value: torch.Tensor, op: Any) -> None:
        asked.append(int(value))
        value.fill_(1)

    monkeypatch.setattr("torch.distributed.all_reduce", another_was_told)
    trainer = Mock(spec=L.Trainer, world_size=world, accumulate_grad_batches=2, checkpoint_callbacks=[])
    task = Mock(spec=L.LightningModule, device=torch.device("cpu"))
    try:
        GracefulStop().on_train_batch_start(trainer, task, None, batch)
        ended = False
    except SIGTERMException:
        ended = True
    assert (ended, asked) == (ends, [0] if ends else [])
