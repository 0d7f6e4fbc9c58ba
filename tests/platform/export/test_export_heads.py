"""Exports of trained heads: every fusion, an adapter, any mix of labels, stored precisions, and refusals."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from cli_runs import fit, write_config
from head_runs import HEAD_MODALITIES, LABELS
from polyclinic.cli import main
from polyclinic.deploy.bundle import Bundle, load_bundle
from polyclinic.deploy.scoring import StudyScorer
from polyclinic.deploy.service.workers.model_worker import describe
from polyclinic.evaluation.scorers import TrainedScorer
from polyclinic.evaluation.supervised import predict_split
from polyclinic.training.restore import restore


def _fusion(name: str, **settings: Any) -> dict[str, Any]:
    return {"fusion": {"class_path": f"polyclinic.nn.{name}", "init_args": settings}}


HEADS: dict[str, dict[str, Any]] = {
    "attention": _fusion("AttentionFusion", width=16),
    "prompt pool": _fusion("PromptPoolFusion", pool=6, chosen=2, width=8),
    "sequential": _fusion("SequentialFusion", state=16, shuffled=True),
    "linear concatenation": _fusion("ConcatenationFusion", hidden=0),
    "low rank": {"adapter": {"class_path": "polyclinic.nn.lora.Lora", "init_args": {"rank": 2}}},
    "frozen": {"adapter": {"class_path": "polyclinic.nn.Frozen"}},
}


@pytest.fixture
def cohort(head_made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the labelled cohort, with a new working folder."""
    monkeypatch.chdir(tmp_path)
    return head_made / "cohort" / "cohort.yaml"


def _trained(cohort: Path, *words: str, **settings: Any) -> Path:
    write_config(cohort, {"class_path": "Downstream", "init_args": {"size": "pico", **settings}}, HEAD_MODALITIES)
    return Path(fit("--data.augment", "false", "--trainer.max_steps", "4", *words)["checkpoint"])


def _exported(checkpoint: Path, *words: str) -> Bundle:
    paths = [str(checkpoint), "--out", "bundle", "--resamples", "10"]
    assert main(["bundle", "export", *paths, "--baseline", "false", *words]) == 0
    return load_bundle("bundle")


def _largest_gap(checkpoint: Path, bundle: Bundle) -> float:
    restored = restore(checkpoint)
    predicted = predict_split(restored, "test", bundle.query).outputs.double().numpy()
    places = [
        restored.task.targets.columns.index(name)
        for name in (*bundle.findings, *(label.name for label in bundle.estimated))
    ]
    scorer, batches = StudyScorer(bundle), TrainedScorer(restored).read("test").batches
    outputs = np.concatenate([scorer.outputs(batch.inputs, batch.present).numpy() for batch in batches])
    return float(np.abs(outputs - predicted[:, places]).max())


LONG = ("frozen", "low rank", "prompt pool", "sequential")
"""Heads that `make soak` tests, as attention and concatenation are exported by the same code."""


@pytest.mark.filterwarnings("ignore:Found .* module.* in eval mode")  # of a frozen encoder, on purpose
@pytest.mark.parametrize("name", [pytest.param(each, marks=pytest.mark.slow if each in LONG else ()) for each in HEADS])
def test_a_head_scores_the_same_from_its_bundle(name: str, cohort: Path) -> None:
    checkpoint = _trained(cohort, **HEADS[name])
    bundle = _exported(checkpoint)
    assert _largest_gap(checkpoint, bundle) < 1e-4
    assert main(["bundle", "verify", "bundle"]) == 0


def test_a_head_of_quantities_alone_estimates_and_has_no_findings(
    cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = _trained(cohort, "--data.labels", "[hemoglobin]")
    bundle = _exported(checkpoint)
    assert (bundle.findings, [label.name for label in bundle.estimated]) == ([], ["hemoglobin"])
    assert _largest_gap(checkpoint, bundle) < 1e-4
    card = Path("bundle/MODEL_CARD.md").read_text()
    assert "| finding |" not in card
    assert "Mean absolute error on the validation split, each modality alone." in card
    file = next((cohort.parent / "tabular").iterdir())
    capsys.readouterr()
    assert main(["score", "bundle", "--tabular", str(file), "--json", "scores.json"]) == 0
    assert "g/dL" in capsys.readouterr().out
    report = json.loads(Path("scores.json").read_text())
    assert report["findings"] == []
    assert [estimate["unit"] for estimate in report["estimates"]] == ["g/dL"]
    assert main(["evaluate", "card", str(checkpoint), "--out", "card"]) == 1
    assert "expected findings or classes" in capsys.readouterr().err


def test_a_head_uses_only_the_chosen_input_modalities(cohort: Path, head_made: Path) -> None:
    bundle = _exported(head_made / "run.ckpt", "--query", "[tabular]")
    assert bundle.query == ["tabular"]
    assert set(bundle.content.rules) == {"tabular"}
    assert _largest_gap(head_made / "run.ckpt", bundle) < 1e-4


def test_lower_precision_is_smaller_and_refused_where_an_error_grows(
    cohort: Path, head_made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(head_made / "run.ckpt"), "--out", "bundle", "--resamples", "5", "--dtype", "int8"]
    monkeypatch.setattr("polyclinic.export.precision.MAX_ERROR_GROWTH", -0.5)
    monkeypatch.setattr("polyclinic.export.precision.MAX_AUROC_LOSS", 1.0)
    assert main(["bundle", "export", *words]) == 1
    assert "with a mean absolute error of 'age'" in capsys.readouterr().err
    assert not Path("bundle").exists()
    monkeypatch.setattr("polyclinic.export.precision.MAX_ERROR_GROWTH", 1.0)
    assert main(["bundle", "export", *words]) == 0
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (Path("bundle"), head_made / "bundle")]
    assert sizes[0] < 0.6 * sizes[1]


def _copied(cohort: Path, change: Any = None, **labels: Any) -> Path:
    copy = Path(shutil.copytree(cohort.parent, "changed")) / cohort.name
    table = pd.read_csv(copy.with_name("cohort.csv"), dtype=str, keep_default_na=False)
    if change is not None:
        change(table)
        table.to_csv(copy.with_name("cohort.csv"), index=False)
    spec = yaml.safe_load(copy.read_text())
    copy.write_text(yaml.safe_dump(spec | {"labels": {**LABELS, **labels}}, sort_keys=False))
    return copy


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"rhythm": {"column": "rhythm", "classes": ["paced", "AF", "sinus"]}}, "expected ['sinus', 'AF', 'paced']"),
        ({"age": {"column": "age_band", "classes": LABELS["age"]["levels"]}}, "kind 'class', expected 'level'"),
        ({"hemoglobin": {"column": "hemoglobin", "unit": "mmol/L"}}, "unit 'mmol/L', expected 'g/dL'"),
    ],
)
def test_labels_that_changed_since_training_are_refused(
    labels: dict[str, Any], message: str, cohort: Path, head_made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = _copied(cohort, **labels)
    words = [str(head_made / "run.ckpt"), "--out", "bundle", "--cohort", str(changed)]
    assert main(["bundle", "export", *words]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "correct `labels." in error
    assert not Path("bundle").exists()


def _unknown_in_validation(*columns: str) -> Any:
    def change(table: pd.DataFrame) -> None:
        table.loc[table["split"] == "val", list(columns)] = ""

    return change


def test_a_label_that_is_unknown_in_validation_is_reported_and_abstains(
    cohort: Path, head_made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = _copied(cohort, _unknown_in_validation("hemoglobin", "anemia"))
    words = ("--cohort", str(changed), "--allow_overlap", "true")
    bundle = _exported(head_made / "run.ckpt", *words)
    message = capsys.readouterr().out
    for name in ("anemia", "hemoglobin"):
        assert f"label {name!r} is unknown in all 11 validation studies, expected two values" in message
    assert bundle.content.head is not None
    rule = bundle.content.head.estimates["ecg+tabular"]["hemoglobin"]
    assert (rule.studies, rule.error, rule.half_width) == (0, None, None)
    assert "an estimate needs 3" in str(rule.problem)
    assert bundle.content.rules["tabular"]["anemia"].problem is not None


def test_a_head_without_any_label_to_calibrate_is_refused(
    cohort: Path, head_made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = _copied(cohort, _unknown_in_validation("hemoglobin", "anemia", "rhythm", "age_band"))
    words = ["--cohort", str(changed), "--allow_overlap", "true", "--out", "bundle"]
    assert main(["bundle", "export", str(head_made / "run.ckpt"), *words]) == 1
    assert "no other label with two values there" in capsys.readouterr().err
    assert not Path("bundle").exists()


def test_the_evaluation_of_a_classifier_prints_the_export(
    cohort: Path, head_made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "classifier", str(head_made / "run.ckpt"), "--resamples", "5"]) == 0
    assert "next: polyclinic bundle export " in capsys.readouterr().out


def test_the_bundle_states_whether_the_head_beats_simple_models(head_made: Path) -> None:
    bundle = load_bundle(head_made / "bundle")
    verdict = bundle.content.baseline
    assert verdict is not None
    assert re.match(
        r"The model (is better than|is worse than|does not beat) the baseline: mean AUROC 0\.\d{3}", verdict
    )
    assert verdict in (head_made / "bundle" / "MODEL_CARD.md").read_text()
    assert describe(bundle).card["baseline"] == verdict


def test_without_a_comparison_the_card_says_so(head_made: Path, cohort: Path) -> None:
    bundle = _exported(head_made / "run.ckpt")
    assert bundle.content.baseline is None
    assert "baseline" not in json.loads(Path("bundle/bundle.json").read_text())
    assert "(`polyclinic evaluate baseline`): not compared." in Path("bundle/MODEL_CARD.md").read_text()
