"""Heads on encoders: fusion, adapters, rates by layer, dropout of modalities, and metrics over ranks."""

import os
import socket
from pathlib import Path

import lightning.pytorch as L
import numpy as np
import pytest
import torch
import torch.distributed as dist
from lightning.pytorch.trainer.states import TrainerFn, TrainerState
from sklearn.metrics import log_loss, roc_auc_score
from torch import nn

from polyclinic.data import Batch, CohortDataModule, Target
from polyclinic.nn import Frozen, SequentialFusion
from polyclinic.nn.lora import Lora
from polyclinic.nn.targets import Targets
from polyclinic.tasks import Downstream
from polyclinic.tasks.optimizer import layer_scales
from polyclinic.tasks.validation import Predictions, measure
from polyclinic_tabular import Tabular
from pulse_plugin import Pulse
from ranks import run_ranks

NAMES = ("first", "second")
TARGETS = (Target(name="edema"), Target(name="effusion"), Target(name="age", kind="quantity"))


def _batch(size: int = 8, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    present = {name: torch.rand(size, generator=generator) < 0.7 for name in NAMES}
    labels = torch.randint(0, 2, (size, 3), generator=generator).float()
    labels[torch.rand(size, 3, generator=generator) < 0.3] = torch.nan
    return Batch(
        inputs={n: {"vitals": torch.randn(int(rows.sum()), 2, generator=generator)} for n, rows in present.items()},
        present=present,
        labels=labels,
        study_ids=[f"S{i}" for i in range(size)],
        patient_ids=[f"P{i}" for i in range(size)],
        broken=(),
    )


def _task(**settings: object) -> Downstream:
    torch.manual_seed(0)
    task = Downstream(modalities={name: Pulse() for name in NAMES}, targets=TARGETS, size="nano", **settings)
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    return task


def test_the_loss_averages_the_known_labels_of_every_prediction() -> None:
    task, batch = _task(fusion=SequentialFusion), _batch()
    loss = task.training_step(batch, 0)
    fused = task.fusion(task.features(batch), batch.present)
    means = []
    for outputs, rows in fused.earlier:
        losses = []
        for row in rows.nonzero()[:, 0].tolist():
            for column in range(3):
                label = float(batch.labels[row, column])
                if label == label:
                    value = outputs[row, column]
                    losses.append(
                        (value - label) ** 2
                        if column == 2
                        else nn.functional.binary_cross_entropy_with_logits(value, torch.tensor(label))
                    )
        means.append(torch.stack(losses).mean())
    torch.testing.assert_close(loss, torch.stack(means).mean() + fused.penalty)
    loss.backward()
    assert all(p.grad is not None for p in task.parameters() if p.requires_grad)


def test_training_balances_the_labels_by_their_shares_in_the_training_split(pulse_cohort: Path) -> None:
    data = CohortDataModule(cohort=pulse_cohort, modalities={name: Pulse() for name in NAMES}, prepared=None)
    task = Downstream(modalities=data.modalities, targets=data.targets, linear=False)
    L.Trainer(fast_dev_run=1, accelerator="cpu", enable_progress_bar=False, logger=False).fit(task, data)
    shares = [np.mean([study.labels[column] for study in data.studies("train")]) for column in range(len(data.targets))]
    entropies = [-(share * np.log(share) + (1 - share) * np.log(1 - share)) for share in shares]
    assert task.targets.constant_loss.tolist() == pytest.approx(entropies, rel=1e-5)


def test_frozen_encoders_keep_weights_and_statistics() -> None:
    task = _task(adapter=Frozen())
    assert all(p.requires_grad for p in task.encoders.parameters())
    task.configure_model()
    task.configure_model()
    assert not any(p.requires_grad for p in task.encoders.parameters())
    assert not any(module.training for module in task.encoders.modules() if module is not task.encoders)
    task.training_step(_batch(), 0).backward()
    assert all(p.grad is None for p in task.encoders.parameters())
    assert all(p.grad is not None for p in task.fusion.parameters())


def test_a_low_rank_change_starts_at_zero_and_trains_alone() -> None:
    task, batch = _task(adapter=Lora(rank=2)).eval(), _batch()
    before = task(batch)
    plain = set(task.state_dict())
    task.configure_model()
    torch.testing.assert_close(task(batch), before)
    assert len(task.state_dict()) > len(plain)
    trained = [name for name, p in task.encoders.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    task.train().training_step(batch, 0).backward()
    assert any(bool((p.grad != 0).any()) for name, p in task.encoders.named_parameters() if "lora_B" in name)
    # Two linear maps of attention and two of the perceptron, in each of two blocks of two encoders.
    assert sum("lora_A" in name for name in trained) == 4 * 2 * 2


def test_a_low_rank_change_is_the_product_of_its_factors() -> None:
    layer = nn.ModuleDict({"map": nn.Linear(5, 3)})
    weight, bias = layer["map"].weight.detach().clone(), layer["map"].bias.detach().clone()
    Lora(rank=2, alpha=6.0, modules=["map"]).adapt(layer)
    down, up = layer["map"].lora_A["default"].weight, layer["map"].lora_B["default"].weight
    nn.init.normal_(up)
    x = torch.randn(4, 5)
    torch.testing.assert_close(layer["map"](x), x @ (weight + 3.0 * up @ down).T + bias)
    with pytest.raises(ValueError, match=r"got modules \['nosuch'\], expected names of linear maps.*'map'"):
        Lora(modules=["nosuch"]).adapt(nn.ModuleDict({"map": nn.Linear(2, 2)}))
    with pytest.raises(ValueError, match="rank 0"):
        Lora(rank=0)


def test_earlier_blocks_have_smaller_learning_rates() -> None:
    task = _task(layer_decay=0.5)
    scales = layer_scales(task.encoders, 0.5)
    assert set(scales) == {name for name, _ in task.encoders.named_parameters()}
    assert {scale for name, scale in scales.items() if ".tokenizer." in name} == {0.25}
    assert {scale for name, scale in scales.items() if ".trunk.blocks.0." in name} == {0.5}
    assert {scale for name, scale in scales.items() if ".trunk.blocks.1." in name} == {1.0}
    assert {scale for name, scale in scales.items() if ".pool." in name} == {1.0}
    task._trainer = type("Trainer", (), {"estimated_stepping_batches": 10})()
    optimizer = task.configure_optimizers()["optimizer"]
    rates = {id(p): group["initial_lr"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in task.named_parameters():
        assert rates[id(parameter)] == pytest.approx(1e-3 * scales.get(name.removeprefix("encoders."), 1.0))
    with pytest.raises(ValueError, match=r"got layer_decay 1.5.*set `model.layer_decay`"):
        _task(layer_decay=1.5)


def test_dropout_hides_modalities_but_never_the_last_one() -> None:
    task, batch = _task(modality_dropout=0.5), _batch(400)
    present = task._drop_modalities(batch.present)
    complete = batch.present["first"] & batch.present["second"]
    for name in NAMES:
        assert not bool((present[name] & ~batch.present[name]).any())
        assert 0.5 < float(present[name][complete].float().mean()) < 0.75
    available = batch.present["first"] | batch.present["second"]
    assert torch.equal(present["first"] | present["second"], available)
    with pytest.raises(ValueError, match="modality_dropout 1"):
        _task(modality_dropout=1)


def _with_linear_path() -> tuple[Downstream, Batch]:
    torch.manual_seed(0)
    plugin = Tabular(numeric=["a", "b"], scaling="zscore")
    task = Downstream(modalities={"first": plugin, "second": Pulse()}, targets=TARGETS)
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    assert task.linear_path is not None
    for value in task.linear_path.buffers():
        value.copy_(torch.randn(value.shape) if value.is_floating_point() else torch.tensor([True, True, False]))
    batch = _batch(40)
    count = int(batch.present["first"].sum())
    batch.inputs["first"] = {
        "values": torch.randn(count, 2),
        "observed": torch.ones(count, 2, dtype=torch.bool),
        "levels": torch.zeros(count, 0, dtype=torch.int64),
    }  # fmt: skip
    return task, batch


def _validate(task: Downstream, batch: Batch, *, fitting: bool) -> dict[str, float]:
    logged: dict[str, float] = {}
    task.log = lambda name, value, **_: logged.update({name: float(value)})  # type: ignore[method-assign]
    state = TrainerState(fn=TrainerFn.FITTING if fitting else TrainerFn.VALIDATING)
    task._trainer = type("Trainer", (), {"state": state})()
    task.eval()
    with torch.no_grad():
        task.validation_step(batch, 0)
    task.on_validation_epoch_end()
    return logged


def test_validation_chooses_the_share_of_the_network_only_in_training() -> None:
    task, batch = _with_linear_path()
    path = task.linear_path
    assert path is not None
    path.share.fill_(0.3)
    evaluated = _validate(task, batch, fitting=False)
    assert float(path.share) == pytest.approx(0.3)
    losses = {}
    for number in range(11):
        path.share.fill_(number / 10)
        losses[number / 10] = _validate(task, batch, fitting=False)["val/loss"]
    assert len(set(losses.values())) == 11
    chosen = _validate(task, batch, fitting=True)
    share = chosen["val/network_share"]
    assert share != pytest.approx(0.3)
    assert chosen["val/loss"] == pytest.approx(losses[round(share, 1)], rel=1e-5)
    assert evaluated["val/loss"] == pytest.approx(losses[0.3], rel=1e-5)
    assert float(path.share) == pytest.approx(share)


def test_the_linear_path_changes_predictions_and_not_the_training_of_the_network() -> None:
    task, batch = _with_linear_path()
    assert task.linear_path is not None
    task.eval()  # without dropout, and with one state of the normalisation
    loss, before = task.training_step(batch, 0), task(batch)
    for value in task.linear_path.buffers():
        if value.is_floating_point():
            value.mul_(-1)
    task.linear_path.share.fill_(0.5)
    torch.testing.assert_close(task.training_step(batch, 0), loss, rtol=0, atol=0)
    changed = (task(batch) != before).any(dim=0)
    assert changed.tolist() == [True, True, False]  # the last output is not fitted


def test_a_checkpoint_of_an_earlier_release_continues_without_a_linear_path() -> None:
    task, batch = _with_linear_path()
    state = {name: value for name, value in task.state_dict().items() if not name.startswith("linear_path.")}
    task.on_load_checkpoint({"state_dict": task.state_dict()})
    assert task.linear_path is not None
    task.on_load_checkpoint({"state_dict": state})
    assert task.linear_path is None
    task.load_state_dict(state, strict=True)
    assert _validate(task, batch, fitting=True).keys() == {"val/loss", "val/auroc"}


def _expected_metrics(outputs: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    labelled = ~labels[:, :2].isnan()
    aurocs = [roc_auc_score(labels[labelled[:, c], c], outputs[labelled[:, c], c]) for c in range(2)]
    findings = [
        log_loss(labels[labelled[:, c], c], torch.sigmoid(outputs[labelled[:, c], c].double()))
        * int(labelled[:, c].sum())
        for c in range(2)
    ]
    measured = ~labels[:, 2].isnan()
    total = sum(findings) + float((outputs[measured, 2] - labels[measured, 2]).double().square().sum())
    return {"loss": total / int(labelled.sum() + measured.sum()), "auroc": float(np.mean(aurocs))}


def _metrics(outputs: torch.Tensor, labels: torch.Tensor, parts: list[slice]) -> dict[str, float]:
    predictions = Predictions()
    for part in parts:
        predictions.add(outputs[part], labels[part])
    return measure(Targets(TARGETS), *predictions.take(3, 3, outputs.device))


def _data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(41, 3, generator=generator), _batch(41, seed=2).labels


def _rank(rank: int, port: int, folder: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    assert dist.get_world_size() == 2
    outputs, labels = _data()
    # Ranks are ragged: of 41 studies, each once, the first rank has 21 in two batches, the second 20.
    share = slice(rank, None, 2)
    parts = [slice(0, 16), slice(16, None)] if rank == 0 else [slice(0, None)]
    torch.save(_metrics(outputs[share], labels[share], parts), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_ranks_give_the_metrics_of_one_process_and_count_each_study_once(tmp_path: Path) -> None:
    outputs, labels = _data()
    metrics = _metrics(outputs, labels, [slice(0, 16), slice(16, None)])
    assert metrics == pytest.approx(_expected_metrics(outputs, labels), abs=1e-6)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run_ranks(_rank, port, str(tmp_path))
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt", weights_only=True) == pytest.approx(metrics, abs=1e-6)


def test_no_studies_and_a_single_class_give_no_auroc() -> None:
    assert _metrics(torch.zeros(0, 3), torch.zeros(0, 3), []) == {"loss": 0.0}
    ones = torch.ones(4, 3)
    assert set(_metrics(torch.randn(4, 3), ones, [slice(None)])) == {"loss"}
