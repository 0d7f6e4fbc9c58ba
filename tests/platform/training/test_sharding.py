"""Two real ranks with sharded encoders against one process on the joined batch, and the checkpoints they write."""

import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import lightning.pytorch as L
import pytest
import torch
import yaml
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.plugins import HalfPrecision, Precision
from torch import nn

from polyclinic.nn import Transformer
from polyclinic.tasks import ContrastivePretraining
from polyclinic.tasks.encode import dummy_inputs, encode_batch, eval_without_side_effects, number_of_calls
from polyclinic.tasks.optimizer import blocks_of
from polyclinic.training import ShardedEncoders
from polyclinic.training.restore import restore
from ranks import end_ranks, start_ranks
from sharded_runs import KINDS, STEPS, STUDIES, pulses, train

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory, phantom_cohort: Path) -> Path:
    """Train each kind of task on two ranks and return the folder of their checkpoints."""
    out = tmp_path_factory.mktemp("ranks")
    started = start_ranks(
        str(ROOT / "tests" / "support" / "sharded_runs.py"), str(phantom_cohort), str(out), *KINDS, folder=out
    )
    for ended in end_ranks(started, out):
        assert ended.code == 0, ended.errors
        # The strategy may misreport its world size; the process group does not.
        assert [line for line in ended.out.splitlines() if "ranks" in line] == [f"ranks 2 {kind}" for kind in KINDS]
    return out


def _load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


@pytest.mark.filterwarnings("ignore:Found .* in eval mode")
@pytest.mark.parametrize("kind", KINDS)
def test_two_ranks_with_sharded_encoders_train_as_one_process(
    ranks: Path, kind: str, phantom_cohort: Path, tmp_path: Path
) -> None:
    """Cover ragged batches, a modality missing on one or both ranks, clipped gradients and unequal validation steps."""
    torch.manual_seed(0)
    start = {name: value.clone() for name, value in KINDS[kind]().state_dict().items()}
    train(kind, phantom_cohort, tmp_path, slice(0, STUDIES))
    single, sharded = (_load(folder / f"{kind}.ckpt") for folder in (tmp_path, ranks))
    assert list(single["state_dict"]) == list(sharded["state_dict"])
    for name, value in single["state_dict"].items():
        torch.testing.assert_close(sharded["state_dict"][name], value, rtol=1e-5, atol=1e-6, msg=name)
    # Adapters start from zeros; the layers that they adapt get other names.
    before = {name: start.get(name, torch.zeros_like(value)) for name, value in single["state_dict"].items()}
    comparable = [name for name in before if name in start or "lora_B" in name]
    changed = [name for name in comparable if not torch.equal(single["state_dict"][name], before[name])]
    assert any(name.startswith("encoders.") for name in changed) == (kind != "frozen")
    assert single["global_step"] == sharded["global_step"] == STEPS


@pytest.mark.parametrize("kind", ["contrast", "downstream"])
def test_moments_and_schedule_are_saved_as_by_one_process(
    ranks: Path, kind: str, phantom_cohort: Path, tmp_path: Path
) -> None:
    train(kind, phantom_cohort, tmp_path, slice(0, STUDIES))
    single, sharded_run = (_load(folder / f"{kind}.ckpt") for folder in (tmp_path, ranks))
    assert single["lr_schedulers"] == sharded_run["lr_schedulers"]
    (expected,), (sharded,) = single["optimizer_states"], sharded_run["optimizer_states"]
    assert expected["param_groups"] == sharded["param_groups"]
    assert list(expected["state"]) == list(sharded["state"])
    for number, moments in expected["state"].items():
        for name, value in moments.items():
            torch.testing.assert_close(sharded["state"][number][name], value, rtol=1e-5, atol=1e-10)


@pytest.mark.slow
def test_a_run_of_one_process_can_be_resumed_with_sharded_encoders(phantom_cohort: Path, tmp_path: Path) -> None:
    """Each rank gets its shards of the weights and of the moments of the same parameters."""
    first = tmp_path / "first"
    train("contrast", phantom_cohort, first, slice(0, STUDIES))
    settings = {"ckpt_path": str(first / "contrast.ckpt"), "max_steps": 2 * STEPS}
    train("contrast", phantom_cohort, tmp_path / "one", slice(0, STUDIES), **settings)
    two = tmp_path / "two"
    two.mkdir()
    words = [str(ROOT / "tests" / "support" / "sharded_runs.py"), str(phantom_cohort), str(two), "contrast"]
    for ended in end_ranks(start_ranks(*words, folder=two, GOING_ON=json.dumps(settings)), two):
        assert ended.code == 0, ended.errors
    single, sharded = (_load(tmp_path / folder / "contrast.ckpt") for folder in ("one", "two"))
    assert sharded["global_step"] == 2 * STEPS
    for name, value in single["state_dict"].items():
        torch.testing.assert_close(sharded["state_dict"][name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_a_checkpoint_of_sharded_encoders_gives_the_same_results_elsewhere(pulse_cohort: Path, tmp_path: Path) -> None:
    """Run the command line with the settings of experiments/distributed, on eight and seven studies."""
    content = {
        "model": {"class_path": "ContrastivePretraining", "init_args": {"objective": "Symile", "embedding": 8}},
        "data": {
            "batch_size": 4, "cohort": str(pulse_cohort),
            "modalities": {name: {"class_path": "pulse_plugin.Pulse"} for name in ("first", "second")},
        },
        "trainer": {
            "accelerator": "cpu", "devices": 2, "max_epochs": 2, "enable_progress_bar": False,
            "callbacks": [{"class_path": "ranks.Embedded", "init_args": {"file": "embedded.pt"}}],
        },
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    words = ["fit", "-c", "config.yaml", "-c", str(ROOT / "experiments" / "distributed" / "sharded.yaml")]
    started = start_ranks(*words, "--json", "fit.json", folder=tmp_path)
    for ended in end_ranks(started, tmp_path):
        assert ended.code == 0, ended.errors
    report = torch.load(tmp_path / "embedded.pt", weights_only=True)
    assert report["ranks"] == 2
    assert report["shards"] > 0
    path = tmp_path / json.loads((tmp_path / "fit.json").read_text())["last"]
    restored = restore(path)
    task = restored.task_of(ContrastivePretraining)
    for batch in restored.data.loader("test"):
        with torch.no_grad():
            embedded = task(batch)
        for row, study in enumerate(batch.study_ids):
            for name, value in report["embedded"].get(study, {}).items():
                torch.testing.assert_close(embedded[name][row], value, rtol=1e-5, atol=1e-6)
    assert len(report["embedded"]) == 4
    assert not any("fsdp" in key.lower() for key in _load(path)["state_dict"])


@pytest.mark.parametrize(
    ("precision", "callbacks", "message"),
    [
        (HalfPrecision("16-true"), [], "got `trainer.precision` 16-true with sharded encoders.*set it to bf16-mixed"),
        (Precision(), [EMAWeightAveraging()], "got averaged weights with sharded encoders.*`trainer.strategy` to ddp"),
    ],
)
def test_models_that_cannot_be_sharded_are_refused(
    precision: Precision, callbacks: list[L.Callback], message: str
) -> None:
    strategy = ShardedEncoders()
    strategy.precision_plugin = precision
    with pytest.raises(ValueError, match=message):
        strategy.setup(Mock(spec=L.Trainer, callbacks=callbacks))


def test_without_shards_no_dummy_forward_pass_runs() -> None:
    batch = pulses(1, slice(0, STUDIES))
    encoders = nn.ModuleDict({"a": Transformer(width=8, depth=1, heads=2)})
    assert dummy_inputs(encoders, batch.inputs, torch.device("cpu")) == {}


@pytest.mark.parametrize(("studies", "at_once", "calls"), [(0, 2, 0), (7, 0, 1), (7, 2, 4), (8, 2, 4), (1, 2, 1)])
def test_an_encoder_is_called_for_every_part_of_a_batch(studies: int, at_once: int, calls: int) -> None:
    inputs = {"vitals": torch.zeros(studies, 2)} if studies else None
    assert number_of_calls(inputs, at_once) == calls


def test_a_dummy_forward_pass_changes_no_random_state_no_statistics_and_no_mode() -> None:
    frozen = nn.BatchNorm1d(3).eval()
    encoder = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5), frozen)
    before = torch.get_rng_state()
    with eval_without_side_effects(encoder):
        encoder(torch.ones(2, 3))
    assert torch.equal(before, torch.get_rng_state())
    assert int(encoder[0].num_batches_tracked) == 0
    assert [module.training for module in encoder.modules()] == [True, True, True, False]


def test_micro_batches_give_the_gradient_of_the_whole_batch() -> None:
    """Without shards, micro-batches change nothing."""
    report = []
    for at_once in (0, 2):
        torch.manual_seed(0)
        task = KINDS["contrast"]().double()
        encoders, heads = task.get_submodule("encoders"), task.get_submodule("heads")
        assert isinstance(encoders, nn.ModuleDict)
        assert isinstance(heads, nn.ModuleDict)
        for parameter in encoders.parameters():
            nn.init.normal_(parameter, std=0.2)
        embedded = encode_batch(encoders, heads, pulses(1, slice(0, STUDIES)), at_once=at_once)
        sum(value.square().mean() for value in embedded.values()).backward()  # type: ignore[union-attr]
        report.append([p.grad for p in encoders.parameters()])
    for gradient, parts in zip(*report, strict=True):
        torch.testing.assert_close(parts, gradient, rtol=1e-9, atol=1e-12)


def test_blocks_are_the_longest_list_of_an_encoder() -> None:
    trunk = Transformer(width=8, depth=3, heads=2)
    assert blocks_of(trunk) == list(trunk.blocks)
    assert blocks_of(nn.Linear(2, 2)) == []
