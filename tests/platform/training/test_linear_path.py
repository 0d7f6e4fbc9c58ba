"""The linear path fitted to a cohort, compared with scikit-learn, and its part in a run."""

import json
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from mlflow import MlflowClient
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from polyclinic.data import CohortDataModule
from polyclinic.modality.physiology import FINDINGS
from polyclinic.tasks import Downstream
from polyclinic.training import linear_path
from polyclinic.training.linear_path import fit_linear_path
from polyclinic.training.simple_models import fit_simple
from polyclinic_report import Report
from polyclinic_tabular import Tabular
from ranks import end_ranks, start_ranks

STUDIES = 240


def _cohort(folder: Path) -> Path:
    """Write a cohort whose labels depend linearly on two tables, of which the second is half missing."""
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=STUDIES) for name in ("a", "b", "c")}
    noise = rng.logistic(size=(3, STUDIES))
    table = pd.DataFrame(
        {
            "study": [f"s{number}" for number in range(STUDIES)],
            "patient": [f"p{number}" for number in range(STUDIES)],
            **columns,
            "ill": (2 * columns["a"] + 2 * columns["c"] + noise[0] > 0).astype(int),
            "kind": np.array(["x", "y", "z"])[np.digitize(columns["a"] + 0.3 * noise[1], [-0.6, 0.6])],
            "grade": np.array(["low", "high"])[(columns["b"] > 0).astype(int)],
            "age": 50 + 10 * columns["a"] + noise[2],
            "rare": [1, *[0] * (STUDIES - 1)],
            "split": ["train"] * 180 + ["val"] * 30 + ["test"] * 30,
        }
    )
    table.loc[rng.random(STUDIES) < 0.5, "c"] = np.nan
    table.to_csv(folder / "table.csv", index=False)
    (folder / "cohort.yaml").write_text(
        "table: table.csv\nstudy_id: study\npatient_id: patient\nsplit: split\n"
        "modalities: {vitals: {columns: [a, b]}, labs: {columns: [c]}}\n"
        "labels:\n"
        "  ill: {column: ill}\n"
        "  kind: {column: kind, classes: [x, y, z]}\n"
        "  grade: {column: grade, levels: [low, high]}\n"
        "  age: {column: age, unit: years}\n"
        "  rare: {column: rare}\n"
    )
    return folder / "cohort.yaml"


def _data(folder: Path) -> CohortDataModule:
    plugins = {"vitals": Tabular(scaling="zscore"), "labs": Tabular(scaling="zscore")}
    data = CohortDataModule(cohort=_cohort(folder), modalities=plugins, prepared=None)
    data.setup("fit")
    return data


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Downstream, CohortDataModule, dict[str, float]]:
    data = _data(tmp_path_factory.mktemp("linear"))
    task = Downstream(modalities=data.modalities, targets=data.targets).eval()
    return task, data, _fit(task, data)


def _fit(task: Downstream, data: CohortDataModule) -> dict[str, float]:
    assert task.linear_path is not None
    assert task.held_out_path is not None
    return fit_linear_path(task.linear_path, task.held_out_path, data, task.targets.targets, seed=0)


def _linear_outputs(
    task: Downstream, data: CohortDataModule, split: str, *, held_out: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    batches = list(data.loader(split))
    path = task.held_out_path if held_out else task.linear_path
    assert path is not None
    outputs = [path.outputs(path.contributions(batch.inputs, batch.present), batch.present) for batch in batches]
    return torch.cat(outputs), torch.cat([batch.labels for batch in batches])


def test_levels_and_labels_of_one_patient_are_left_to_the_network(
    fitted: tuple[Downstream, CohortDataModule, dict[str, float]],
) -> None:
    task, _, measured = fitted
    assert task.targets.columns == ["ill", "kind=x", "kind=y", "kind=z", "grade", "age", "rare"]
    assert task.linear_path is not None
    assert task.linear_path.fitted.tolist() == [True, True, True, True, False, True, False]
    assert 0.75 < measured["linear/out_of_fold_auroc"] < 1


@pytest.mark.parametrize(("held_out", "studies"), [(True, 180), (False, 210)])
def test_outputs_order_and_calibrate_studies_as_a_linear_model_of_scikit_learn_does(
    fitted: tuple[Downstream, CohortDataModule, dict[str, float]], held_out: bool, studies: int
) -> None:
    task, data, _ = fitted
    parts = [_linear_outputs(task, data, split, held_out=held_out) for split in ("train", "val")]
    outputs, labels = (torch.cat(part)[:studies] for part in zip(*parts, strict=True))
    table = pd.read_csv(data._path.parent / "table.csv").iloc[:studies]
    features = pd.DataFrame({name: table[name] for name in ("a", "b", "c")})
    scaled = StandardScaler().fit_transform(features)
    given = np.concatenate([np.nan_to_num(scaled), ~np.isnan(scaled[:, 2:])], axis=1)
    theirs = LogisticRegression(C=100).fit(given, table["ill"]).decision_function(given)
    ours = outputs[:, 0].numpy()
    assert np.corrcoef(ours, theirs)[0, 1] > 0.98
    # Calibrated: the probabilities add up to the number of positive studies, and are not those of balanced classes.
    assert torch.sigmoid(outputs[:, 0]).sum().item() == pytest.approx(labels[:, 0].sum().item(), rel=0.05)
    ages = task.targets.predictions(outputs)[:, 5].detach().numpy()
    expected = Ridge(alpha=1e-3).fit(given, table["age"]).predict(given)
    np.testing.assert_allclose(ages, expected, atol=1.0)


def test_the_prediction_of_a_validation_study_does_not_depend_on_the_validation_studies(tmp_path: Path) -> None:
    cohort = _cohort(tmp_path)
    outputs = {}
    for flipped in (False, True):
        table = pd.read_csv(tmp_path / "table.csv")
        if flipped:
            held_out = table["split"] == "val"
            table.loc[held_out, "ill"] = 1 - table.loc[held_out, "ill"]
            table.loc[held_out, "age"] = 120 - table.loc[held_out, "age"]
        table.to_csv(tmp_path / "table.csv", index=False)
        plugins = {name: Tabular(scaling="zscore") for name in ("vitals", "labs")}
        data = CohortDataModule(cohort=cohort, modalities=plugins, prepared=None)
        data.setup("fit")
        torch.manual_seed(0)
        task = Downstream(modalities=data.modalities, targets=data.targets).eval()
        _fit(task, data)
        batches = list(data.loader("val"))
        assert task.linear_path is not None
        task.linear_path.share.fill_(0)
        for kept in (False, True):
            features = [task.features(batch, held_out=kept) for batch in batches]
            fused = [task.fuse(each, batch.present) for each, batch in zip(features, batches, strict=True)]
            outputs[flipped, kept] = torch.cat(fused)[:, [0, 5]]
    complete = torch.cat([batch.present["labs"] & batch.present["vitals"] for batch in batches])
    assert 5 < complete.sum() < 30
    torch.testing.assert_close(outputs[False, True][complete], outputs[True, True][complete], rtol=1e-4, atol=1e-4)
    # Of a study that lacks a modality, half of the difference between the two biases remains.
    assert (outputs[False, True] - outputs[True, True]).abs()[:, 0].max() < 0.15
    assert (outputs[False, False] - outputs[True, False]).abs()[:, 0].mean() > 0.15


def test_the_model_of_all_studies_takes_the_penalties_of_findings_that_the_training_studies_chose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = _data(tmp_path)
    task = Downstream(modalities=data.modalities, targets=data.targets)
    asked: list[tuple[int, bool, tuple[float, ...], float]] = []

    def recorded(rows: Any, truth: Any, *args: Any, binary: bool, penalties: Any, **settings: Any) -> Any:
        simple = fit_simple(rows, truth, *args, binary=binary, penalties=penalties, **settings)
        if simple is not None:
            asked.append((len(truth), binary, tuple(penalties), simple.penalty))
        return simple

    monkeypatch.setattr(linear_path, "fit_simple", recorded)
    _fit(task, data)
    first, second = ([each for each in asked if each[0] == count] for count in (180, 210))
    assert len(first) == len(second) == 5  # ill, three classes of kind, age
    for (_, binary, searched, chosen), (_, _, taken, _) in zip(first, second, strict=True):
        assert searched == linear_path._PENALTIES
        assert taken == ((chosen,) if binary else linear_path._PENALTIES)


def test_few_validation_studies_are_read_and_none_beside_many_training_studies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = _data(tmp_path)
    task = Downstream(modalities=data.modalities, targets=data.targets)
    assert task.linear_path is not None
    assert linear_path._read(task.linear_path, data).is_training.tolist() == [True] * 180 + [False] * 30
    monkeypatch.setattr(linear_path, "_MAX_STUDIES", 180)
    assert linear_path._read(task.linear_path, data).is_training.tolist() == [True] * 180
    _fit(task, data)
    assert task.held_out_path is not None
    for name, value in task.linear_path.state_dict().items():
        torch.testing.assert_close(task.held_out_path.state_dict()[name], value, rtol=0, atol=0)


def test_a_checkpoint_of_before_predicts_validation_studies_by_its_only_linear_model(
    fitted: tuple[Downstream, CohortDataModule, dict[str, float]],
) -> None:
    task, data, _ = fitted
    old = {"state_dict": {name: value for name, value in task.state_dict().items() if "held_out" not in name}}
    restored = Downstream(modalities=data.modalities, targets=data.targets).eval()
    restored.on_load_checkpoint(old)
    restored.load_state_dict(old["state_dict"], strict=True)
    batch = next(iter(data.loader("val")))
    torch.testing.assert_close(restored.features(batch, held_out=True), restored.features(batch), rtol=0, atol=0)


def test_the_outputs_are_those_of_the_fitted_model_for_new_studies_too(
    fitted: tuple[Downstream, CohortDataModule, dict[str, float]],
) -> None:
    task, data, _ = fitted
    outputs, labels = _linear_outputs(task, data, "test")
    ages = task.targets.predictions(outputs)[:, 5]
    assert (ages - labels[:, 3]).abs().mean() < 3
    classes = outputs[:, 1:4].argmax(dim=1)
    assert (classes == labels[:, 1]).float().mean() > 0.7


def test_sparse_features_beside_dense_ones_give_the_same_model_written_out_or_not(
    phantom_cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = CohortDataModule(cohort=phantom_cohort, modalities={"report": Report(), "tabular": Tabular()}, prepared=None)
    data.setup("fit")
    outputs, aurocs = [], []
    for limit in (0, linear_path._MAX_DENSE_VALUES):
        monkeypatch.setattr(linear_path, "_MAX_DENSE_VALUES", limit)
        task = Downstream(modalities=data.modalities, targets=data.targets).eval()
        aurocs += _fit(task, data).values()
        outputs.append(_linear_outputs(task, data, "train")[0].double().numpy())
    assert aurocs[0] == pytest.approx(aurocs[1], abs=0.02)
    assert not np.array_equal(*outputs)  # two solvers
    learned = [(a, b) for a, b in zip(outputs[0].T, outputs[1].T, strict=True) if a.std() > 0 and b.std() > 0]
    assert len(learned) > len(FINDINGS) / 2  # the others are predicted for nobody
    assert min(np.corrcoef(a, b)[0, 1] for a, b in learned) > 0.98


@pytest.mark.parametrize("training", [180, 4])  # with four there are more features than studies
def test_studies_that_are_alike_have_no_features_to_learn_from(training: int, tmp_path: Path) -> None:
    cohort = _cohort(tmp_path)
    table = pd.read_csv(tmp_path / "table.csv").assign(a=1.0, b=1.0, c=1.0)
    table.loc[training:179, "split"] = "val"
    table.loc[:3, "ill"] = [0, 1, 0, 1]
    table.to_csv(tmp_path / "table.csv", index=False)
    plugins = {name: Tabular(scaling="zscore") for name in ("vitals", "labs")}
    data = CohortDataModule(cohort=cohort, modalities=plugins, prepared=None)
    data.setup("fit")
    task = Downstream(modalities=data.modalities, targets=data.targets)
    _fit(task, data)
    outputs, _ = _linear_outputs(task.eval(), data, "test")
    assert torch.isfinite(outputs).all()
    assert float(outputs.std(dim=0).max()) < 1e-6


def test_the_path_is_the_same_in_every_process(tmp_path: Path) -> None:
    states = []
    for name in ("once", "again"):
        (tmp_path / name).mkdir()
        data = _data(tmp_path / name)
        task = Downstream(modalities=data.modalities, targets=data.targets)
        _fit(task, data)
        states.append(task.state_dict())
    for name, value in states[0].items():
        if not name.startswith(("linear_path.", "held_out_path.")):
            continue
        torch.testing.assert_close(states[1][name], value, rtol=0, atol=0)


@pytest.mark.processes
def test_two_ranks_have_the_path_of_the_first(tmp_path: Path) -> None:
    _cohort(tmp_path)
    plugin = {"class_path": "Tabular", "init_args": {"scaling": "zscore"}}
    content = {
        "model": {"class_path": "Downstream"},
        "data": {"cohort": "cohort.yaml", "modalities": {"vitals": plugin, "labs": plugin}, "labels": ["ill", "age"]},
        "trainer": {
            "accelerator": "cpu", "devices": 2, "strategy": "ddp", "max_epochs": 1, "enable_progress_bar": False,
            "callbacks": [{"class_path": "ranks.PathWitness", "init_args": {"file": "path.txt"}}],
        },
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    ended = end_ranks(start_ranks("fit", "-c", "config.yaml", "--json", "fit.json", folder=tmp_path), tmp_path)
    assert [rank.code for rank in ended] == [0, 0], ended[0].errors[-3000:]
    first, second = (json.loads((tmp_path / f"path.txt{rank}").read_text()) for rank in (0, 1))
    assert first["world"] == second["world"] == 2
    assert first["fitted"] == [True, True]
    assert first == second
    with chdir(tmp_path):
        result = json.loads(Path("fit.json").read_text())
        history = MlflowClient(result["tracking_uri"]).get_metric_history(result["mlflow_run_id"], "val/network_share")
        share = torch.load(result["last"], weights_only=True)["state_dict"]["linear_path.share"]
    assert [metric.value for metric in history] == [pytest.approx(float(share))]
    assert float(share) != 0.5  # a network of one epoch has less, or more
