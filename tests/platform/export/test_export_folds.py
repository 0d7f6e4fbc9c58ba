"""A bundle of the heads of folds: it averages them, and takes its rules from the patients that each left out."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from bundle_checksums import write_checksums
from cli_runs import fit, write_config
from head_runs import HEAD_MODALITIES, write_labelled_cohort
from polyclinic.cli import main
from polyclinic.cohort import Study
from polyclinic.data import Batch
from polyclinic.deploy.bundle import Bundle, load_bundle
from polyclinic.deploy.scoring import StudyScorer
from polyclinic.deploy.scoring.reading import read_study
from polyclinic.training.restore import Restored, restore
from service_process import serving

FOLDS = 3
MODEL = {"class_path": "Downstream", "init_args": {"size": "pico", "lr": 4e-3}}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with a cohort of three folds, the report of their training, and the bundle."""
    folder = tmp_path_factory.mktemp("folds")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        cohort = write_labelled_cohort(folder / "cohort", studies=120)
        spec = yaml.safe_load(cohort.read_text())
        cohort.write_text(yaml.safe_dump(spec | {"split": {"folds": FOLDS, "val": 0.25}}, sort_keys=False))
        write_config(cohort, MODEL, HEAD_MODALITIES, epochs=3)
        checkpoints = [_fitted(fold) for fold in range(FOLDS)]
        _write_report("crossval.json", checkpoints)
        short = ["--trainer.max_steps", "1", "--model.init_args.linear", "false"]
        _fitted(1, "--data.labels", "[anemia]", *short, name="other_labels.ckpt")
        _fitted(1, *short, name="other_model.ckpt")
        words = ["crossval.json", "--out", "bundle", "--resamples", "20"]
        assert main(["bundle", "export", *words]) == 0
    return folder


def _fitted(fold: int, *words: str, name: str = "") -> str:
    result = fit("--data.augment", "false", "--data.fold", str(fold), *words)
    return str(Path(result["checkpoint"]).rename(name or f"fold{fold}.ckpt"))


def _write_report(name: str, checkpoints: list[str]) -> None:
    Path(name).write_text(json.dumps({"checkpoints": checkpoints}))


@pytest.fixture(scope="module")
def folds(made: Path) -> list[Restored]:
    return [restore(made / f"fold{fold}.ckpt") for fold in range(FOLDS)]


def _predicted(restored: Restored, study: Study) -> np.ndarray:
    """Return the head's predictions for one study, from its files."""
    plugins = restored.data.modalities
    inputs = {
        name: plugins[name].collate([plugins[name].prepare(plugins[name].read(source))])
        for name, source in study.sources.items()
    }
    batch = Batch(
        inputs=inputs, present={name: torch.tensor([name in inputs]) for name in plugins}, labels=torch.zeros(1, 4),
        study_ids=[study.study_id], patient_ids=[study.patient_id], broken=(),
    )  # fmt: skip
    predictions: np.ndarray = restored.task(batch).detach().numpy()[0]
    return predictions


def test_the_bundle_gives_the_mean_of_the_folds_whichever_modality_is_missing(
    made: Path, folds: list[Restored]
) -> None:
    bundle = load_bundle(made / "bundle")
    studies = [*folds[0].data.studies("test"), *folds[2].data.studies("test")][:24]
    assert {frozenset(study.sources) for study in studies} >= {frozenset({"ecg", "tabular"}), frozenset({"tabular"})}
    scored = StudyScorer(bundle).score([read_study(bundle, study.sources).items for study in studies])
    columns = folds[0].task.targets.columns
    for study, scores in zip(studies, scored, strict=True):
        found = {row.name: row.score for row in scores.findings} | {row.name: row.value for row in scores.estimates}
        members = np.array([_predicted(restored, study) for restored in folds])
        assert np.ptp(members, axis=0).min() > 1e-6, "the members are meant to differ"
        np.testing.assert_allclose([found[name] for name in columns], members.mean(axis=0), rtol=1e-4, atol=1e-4)


def test_members_keep_the_statistics_of_their_folds(made: Path, folds: list[Restored]) -> None:
    bundle = load_bundle(made / "bundle")
    states = [plugins["tabular"].state() for plugins in (bundle.modalities, *bundle.further)]
    assert states == [json.loads(json.dumps(restored.data.modalities["tabular"].state())) for restored in folds]
    assert states[0] != states[1] != states[2]


def test_rules_and_performance_come_from_the_patients_that_each_fold_left_out(
    made: Path, folds: list[Restored]
) -> None:
    content = load_bundle(made / "bundle").content
    place = folds[0].data.labels.index("anemia")
    validation, tested = (
        np.array([study.labels[place] for restored in folds for study in restored.data.studies(split)])
        for split in ("val", "test")
    )
    complete = [
        study.labels[place]
        for restored in folds
        for study in restored.data.studies("val")
        if {"ecg", "tabular"} <= set(study.sources)
    ]
    assert len(validation) > len(complete)
    rule = content.rules["ecg+tabular"]["anemia"]
    assert (rule.positives, rule.negatives) == (complete.count(1), complete.count(0))
    assert content.performance["anemia"]["n"] == int(np.isfinite(tested).sum()) == 120
    assert content.head is not None
    assert content.head.errors["hemoglobin"].n > 100
    card = (made / "bundle" / "MODEL_CARD.md").read_text()
    assert "The mean of the models of 3 folds." in card
    assert f"| test of fold 2 | {len(folds[2].data.studies('test'))} |" in card
    assert content.baseline is not None
    assert content.baseline.endswith("over 3 folds.")
    assert content.baseline in card


@pytest.mark.processes
def test_the_bundle_is_verified_scores_explains_and_is_served(made: Path, tmp_path: Path) -> None:
    assert main(["bundle", "verify", str(made / "bundle")]) == 0
    file = next((made / "cohort" / "tabular").iterdir())
    record = tmp_path / "scores.json"
    assert main(["score", str(made / "bundle"), "--tabular", str(file), "--json", str(record)]) == 0
    expected = json.loads(record.read_text())
    with serving(made / "bundle", tmp_path / "service") as served:
        answer = served.score({"tabular": file}, explain="anemia", views="true").json()
        card = served.get("/v1/bundle").json()
    for ours, theirs in zip(answer["findings"], expected["findings"], strict=True):
        assert ours["score"] == pytest.approx(theirs["score"], rel=1e-9)
    assert answer["relevance"]["tabular"]
    assert card["evidence"].startswith("Evidence is that of the neural network of the first of 3 models.")


def test_smaller_weights_of_every_member_and_fewer_input_modalities(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)
    words = ["--dtype", "bfloat16", "--query", "[tabular]", "--resamples", "5", "--baseline", "false"]
    assert main(["bundle", "export", "crossval.json", "--out", str(tmp_path / "small"), *words]) == 0
    small, full = load_bundle(tmp_path / "small"), load_bundle(made / "bundle")
    assert list(small.content.rules) == ["tabular"]
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (tmp_path / "small", made / "bundle")]
    assert sizes[0] < 0.7 * sizes[1]
    source = {"tabular": next((made / "cohort" / "tabular").iterdir())}
    for ours, theirs in zip(*(_scores(bundle, source) for bundle in (small, full)), strict=True):
        assert ours == pytest.approx(theirs, abs=0.1)


def _scores(bundle: Bundle, source: dict[str, Path]) -> list[float]:
    (scores,) = StudyScorer(bundle).score([read_study(bundle, source).items])
    return [row.score for row in scores.findings]


@pytest.mark.parametrize(
    ("checkpoints", "words", "message"),
    [
        ([], [], "report.json has 0 checkpoints, expected at least 2"),
        (["fold0.ckpt"], [], "report.json has 1 checkpoints, expected at least 2"),
        (["fold0.ckpt", "fold1.ckpt", "fold0.ckpt"], [], "studies that several folds test, expected each in one"),
        (["fold0.ckpt", "other_labels.ckpt"], [], "the folds disagree on labels: other_labels.ckpt has"),
        (["fold0.ckpt", "other_model.ckpt"], [], "the folds disagree on the model: other_model.ckpt has"),
        (["fold1.ckpt", "other_model.ckpt"], [], "studies that several folds test, expected each in one"),
        (["fold0.ckpt", "fold1.ckpt"], ["--split", "train"], "leave out `--cohort` and `--split`"),
        (["fold0.ckpt", "fold1.ckpt"], ["fold0.ckpt"], "got 'fold0.ckpt', expected options after CHECKPOINT"),
    ],
)
def test_checkpoints_that_are_not_the_folds_of_one_cohort_are_refused(
    checkpoints: list[str],
    words: list[str],
    message: str,
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(made)
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"checkpoints": [str(made / name) for name in checkpoints]}))
    assert main(["bundle", "export", str(report), "--out", str(tmp_path / "bundle"), *words]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("content", ["", "[]", '{"macro": 1}', '{"checkpoints": 3}', '{"checkpoints": [3]}'])
def test_a_file_that_is_not_a_report_of_folds_is_refused(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    report.write_text(content)
    assert main(["bundle", "export", str(report), "--out", str(tmp_path / "bundle")]) == 1
    assert "report.json is not a report of `polyclinic crossval`" in capsys.readouterr().err


HARMS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no members": (lambda one: one["architecture"].pop("members"), "does not fit the architecture"),
    "fewer members": (lambda one: one["architecture"]["members"].pop(), "does not fit the architecture"),
    "a state is missing": (
        lambda one: one["architecture"]["members"][0]["states"].pop("ecg"),
        "states of other modalities",
    ),
    "a state does not fit": (
        lambda one: one["architecture"]["members"][0]["states"].update(tabular={"a": 1}),
        "its state does not fit",
    ),
    "an unknown key": (lambda one: one["architecture"]["members"][0].update(path="/etc"), "members.0.path"),
    "too many members": (
        lambda one: one["architecture"].update(members=one["architecture"]["members"] * 40),
        "architecture.members",
    ),
}


@pytest.mark.parametrize("name", HARMS)
def test_an_ensemble_that_contradicts_itself_is_refused(name: str, made: Path, tmp_path: Path) -> None:
    change, message = HARMS[name]
    folder = shutil.copytree(made / "bundle", tmp_path / "bundle")
    content = json.loads((folder / "bundle.json").read_text())
    change(content)
    (folder / "bundle.json").write_text(json.dumps(content))
    write_checksums(folder)
    with pytest.raises(ValueError, match=message):
        load_bundle(folder)


def test_weights_of_a_member_that_is_missing_are_refused(made: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(made / "bundle", tmp_path / "bundle")
    weights = load_file(folder / "model.safetensors")
    kept = {key: value for key, value in weights.items() if not key.startswith("members.2.")}
    save_file(kept, folder / "model.safetensors")
    write_checksums(folder)
    with pytest.raises(ValueError, match="does not fit the architecture"):
        load_bundle(folder)
