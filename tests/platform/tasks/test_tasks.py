"""Contrastive tasks: masks, subsets, missing modalities, groups and schedules."""

import copy
from itertools import combinations
from pathlib import Path

import lightning.pytorch as L
import pytest
import torch

from polyclinic.data import Batch, CohortDataModule
from polyclinic.nn import Encoded, Encoder
from polyclinic.objectives import Clip, Cwcl, Symile
from polyclinic.tasks import ContrastivePretraining
from polyclinic.tasks.losses import batch_groups, refuse_non_finite
from pulse_plugin import Pulse

NAMES = ("first", "second")


def _batch(present: dict[str, list[bool]]) -> Batch:
    size = len(present["first"])
    generator = torch.Generator().manual_seed(0)
    return Batch(
        inputs={
            n: {"vitals": torch.randn(sum(rows), 2, generator=generator)} for n, rows in present.items() if any(rows)
        },
        present={name: torch.tensor(rows) for name, rows in present.items()},
        labels=torch.zeros(size, 3),
        study_ids=[f"S{i}" for i in range(size)],
        patient_ids=[f"P{i}" for i in range(size)],
        broken=(),
    )


def _task(names: tuple[str, ...] = NAMES, **settings: object) -> ContrastivePretraining:
    torch.manual_seed(0)
    modalities = {name: Pulse() for name in names}
    return ContrastivePretraining(modalities=modalities, objective=Symile(), embedding=8, **settings)


def test_embeddings_are_in_the_row_of_their_study() -> None:
    task = _task().eval()
    batch = _batch({"first": [True, False, True], "second": [True, True, True]})
    embedded = task(batch)["first"]
    expected = task.heads["first"](task.encoders["first"](batch.inputs["first"]).pooled)
    torch.testing.assert_close(embedded[[0, 2]], expected)
    assert (embedded[1] == 0).all()


def test_a_missing_modality_still_gives_every_parameter_a_gradient() -> None:
    task = _task()
    batch = _batch({"first": [True, True], "second": [False, False]})
    sum(value.sum() for value in task(batch).values()).backward()
    assert all(p.grad is not None for p in [*task.encoders.parameters(), *task.heads.parameters()])
    assert all((p.grad == 0).all() for p in task.encoders["second"].parameters())


def test_heads_start_around_the_neutral_value_of_the_objective() -> None:
    torch.manual_seed(0)
    modalities = {name: Pulse() for name in NAMES}
    for objective, neutral in ((Symile(), 1.0), (Clip(), 0.0)):
        task = ContrastivePretraining(modalities=modalities, objective=objective, embedding=4096)
        embedded = task(_batch({"first": [True] * 4, "second": [True] * 4}))["first"].detach()
        assert float(embedded.mean()) == pytest.approx(neutral, abs=0.1)
        assert 0.5 < embedded.std() < 2


def test_encoders_of_the_shared_width_are_not_projected() -> None:
    torch.manual_seed(0)
    modalities = {name: Pulse() for name in NAMES}
    task = ContrastivePretraining(modalities=modalities, objective=Symile(), embedding=None).eval()
    batch = _batch({"first": [True, False, True], "second": [False, False, False]})
    embedded = task(batch)
    torch.testing.assert_close(embedded["first"][[0, 2]], task.encoders["first"](batch.inputs["first"]).pooled)
    assert embedded["second"].shape == embedded["first"].shape
    assert (embedded["second"] == 0).all()
    assert not list(task.heads.parameters())
    sum(value.sum() for value in embedded.values()).backward()
    assert all(parameter.grad is not None for parameter in task.encoders.parameters())


@pytest.mark.parametrize("settings", [{"encoders": {"second": Pulse().default_encoder("tiny")}}, {"hidden": 8}])
def test_encoders_of_two_widths_need_a_projection(settings: dict[str, object]) -> None:
    modalities = {name: Pulse() for name in NAMES}
    with pytest.raises(ValueError, match=r"expected one width for all and hidden 0; set `model\.embedding`"):
        ContrastivePretraining(modalities=modalities, objective=Symile(), embedding=None, **settings)


def test_subsets_hold_the_hub_and_at_least_two() -> None:
    task = _task(("a", "b", "c", "d"), random_subsets=50, hub="c")
    task._trainer = None
    drawn = task._draw_subsets(["a", "b", "c", "d"])
    assert len(drawn) == 50
    assert all(len(names) == len(set(names)) >= 2 and "c" in names for names in drawn)
    assert {frozenset(names) for names in drawn} >= {frozenset("ac"), frozenset("abcd"), frozenset("bcd")}
    free = _task(("a", "b", "c"), random_subsets=50)._draw_subsets(["a", "b", "c"])
    assert {frozenset(names) for names in free} == {frozenset(s) for s in ("ab", "ac", "bc", "abc")}


def test_every_step_uses_all_modalities_and_each_subset() -> None:
    names = ("first", "second", "third")
    pair = ("first", "third")
    task = _task(names, subsets=[pair, list(pair)])
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    batch = _batch({name: [True] * 6 for name in names})
    loss = task.training_step(batch, 0)
    copied = _task(names)
    copied.load_state_dict(task.state_dict())
    embedded = copied(batch)
    full = copied.objective(embedded, batch.present)
    part = copied.objective({name: embedded[name] for name in pair}, batch.present)
    torch.testing.assert_close(loss, (full + 2 * part) / 3)


def test_studies_of_a_patient_or_a_diagnosis_are_grouped() -> None:
    batch = _batch({name: [True] * 4 for name in NAMES})
    batch.patient_ids = ["P0", "P1", "P0", "P2"]
    batch.labels = torch.tensor([[1.0, 0.0], [torch.nan, 0.0], [torch.nan, 0.0], [1.0, 0.0]])
    assert batch_groups(batch, None) is None
    for same, mates in (("study", ()), ("patient", (0, 2)), ("labels", (0, 3))):
        groups = batch_groups(batch, same).tolist()
        assert {(i, j) for i, j in combinations(range(4), 2) if groups[i] == groups[j]} == ({mates} if mates else set())
    batch.study_ids = ["S0", "S0", "S1", "S1"]
    with pytest.raises(ValueError, match=r"set `model\.same: study`"):
        batch_groups(batch, None)
    assert len(set(batch_groups(batch, "study").tolist())) == 2


def test_groups_reach_the_objective() -> None:
    batch = _batch({name: [True] * 6 for name in NAMES})
    batch.patient_ids = ["P0"] * 6
    tasks = [_task(same=same) for same in (None, "patient")]
    for task in tasks:
        task.log = lambda *_, **__: None  # type: ignore[method-assign]
    separate, grouped = (task.training_step(batch, 0) for task in tasks)
    assert grouped == 0 < separate


class Noisy(Encoder):
    """An encoder with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.width = 16
        self.layers = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Dropout(0.5), torch.nn.Linear(16, 16))
        self.largest = 0

    def forward(self, inputs: dict[str, torch.Tensor]) -> Encoded:
        values = self.layers(inputs["vitals"])
        self.largest = max(self.largest, len(values))
        return Encoded(values[:, None], values, torch.zeros(len(values), 1, dtype=torch.bool))


def test_micro_batches_give_the_gradient_of_the_whole_batch_with_dropout() -> None:
    """Compare with the same draws of dropout, part by part, with every activation in memory."""
    batch = _batch({"first": [True] * 10, "second": [True, False] * 5})
    gradients, largest = [], []
    for micro_batch in (4, 0):
        torch.manual_seed(3)
        task = _task(encoders={name: Noisy() for name in NAMES}, micro_batch=micro_batch)
        torch.manual_seed(5)
        if micro_batch:
            embedded = task(batch)
        else:
            parts = {
                n: [task.encoders[n]({"vitals": v}).pooled for v in batch.inputs[n]["vitals"].split(4)] for n in NAMES
            }
            embedded = {
                n: torch.zeros(10, 8).index_put((batch.present[n],), task.heads[n](torch.cat(parts[n]))) for n in NAMES
            }
        task.objective(embedded, batch.present).backward()
        gradients.append({name: p.grad for name, p in task.named_parameters()})
        largest.append(max(encoder.largest for encoder in task.encoders.values()))
    assert largest == [4, 4]
    for name, gradient in gradients[1].items():
        torch.testing.assert_close(gradients[0][name], gradient, rtol=1e-5, atol=1e-7)


def test_values_that_are_not_finite_stop_the_step_and_name_the_studies() -> None:
    batch = _batch({name: [True] * 3 for name in NAMES})
    batch.inputs["second"]["vitals"][1] = torch.nan
    task = _task().eval()
    with pytest.raises(ValueError, match=r"'second' that are not finite in rows \[1\].*S0, S1, S2"):
        task.training_step(batch, 0)
    with pytest.raises(ValueError, match=r"got loss inf.*S0, S1, S2"):
        refuse_non_finite(torch.tensor(torch.inf), batch)


def test_learning_rate_rises_then_falls_and_temperature_does_not_decay(pulse_cohort: Path, tmp_path: Path) -> None:
    data = CohortDataModule(cohort=pulse_cohort, modalities={n: Pulse() for n in NAMES}, batch_size=16)
    task = _task(lr=1e-2, warmup=0.2)
    rates: list[float] = []

    class Watch(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    trainer = L.Trainer(
        max_epochs=4, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
        enable_model_summary=False, use_distributed_sampler=False, callbacks=[Watch()], default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(task, datamodule=data)
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(1e-2)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] < 1e-4
    decayed, free = trainer.optimizers[0].param_groups
    assert any(p is task.objective.scale.log for p in free["params"])
    assert free["weight_decay"] == 0 < decayed["weight_decay"]


def test_validation_reports_the_diagnostics_of_embeddings(pulse_cohort: Path, tmp_path: Path) -> None:
    data = CohortDataModule(cohort=pulse_cohort, modalities={n: Pulse() for n in NAMES}, batch_size=8, views=2)
    trainer = L.Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
        enable_model_summary=False, use_distributed_sampler=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(_task(same="study"), datamodule=data)
    report = trainer.callback_metrics
    assert float(report["train/negatives"]) in range(2, 15, 2)
    assert {name for name in report if name.startswith("val/")} == {
        "val/loss", "val/pair_loss", "val/scale", "val/negatives", "val/modality_gap/first-second",
        "val/alignment/first-second",
        "val/uniformity/first", "val/uniformity/second", "val/effective_rank/first", "val/effective_rank/second",
    }  # fmt: skip
    assert 1 <= report["val/effective_rank/first"] <= 8


def test_training_lowers_the_loss(pulse_cohort: Path, tmp_path: Path) -> None:
    data = CohortDataModule(cohort=pulse_cohort, modalities={n: Pulse() for n in NAMES}, batch_size=32)
    task = _task(lr=3e-3)
    before = copy.deepcopy(task)
    trainer = L.Trainer(
        max_epochs=25, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
        enable_model_summary=False, use_distributed_sampler=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(task, datamodule=data)
    (batch, *_) = data.val_dataloader()
    losses = [float(trained.eval().objective(trained(batch), batch.present).detach()) for trained in (before, task)]
    assert losses[1] < losses[0] - 0.3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hub": "nobody"}, "hub 'nobody'"),
        ({"subsets": [["first", "third"]]}, "set `model.subsets`"),
        ({"subsets": [["first", "first"]]}, "two or more"),
        ({"subsets": ["first"]}, "two or more"),
        ({"same": "hospital"}, "expected same null or one of"),
        ({"micro_batch": -1}, "micro_batch 0 or more"),
        ({"size": "huge"}, "encoder size 'huge'"),
        ({"encoders": {"x": Pulse().default_encoder("nano")}}, "'x'"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _task(**settings)


def test_an_objective_with_an_unknown_modality_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got modality 'teacher', expected one of \['first', 'second'\]"):
        ContrastivePretraining(modalities={n: Pulse() for n in NAMES}, objective=Cwcl(teacher="teacher"))


def test_one_modality_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two"):
        _task(("first",))
