"""The evaluation card: one page and one JSON file, from prompts or a trained head, with their limits."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from mlflow import MlflowClient
from sklearn.metrics import average_precision_score, roc_auc_score

from cli_runs import PROMPTS, fit, write_config
from polyclinic.cli import main
from polyclinic.evaluation.scorers import Scorer, TrainedScorer, ZeroShotScorer
from polyclinic.prompts import load_prompts
from polyclinic.training.restore import restore

MODALITIES: dict[str, Any] = {
    "ecg": {"class_path": "ECG", "init_args": {"rate": 50, "seconds": 4, "patch": 20, "noise": 0.0}},
    "report": {"class_path": "Report", "init_args": {"vocabulary_size": 400, "max_tokens": 320}},
    "tabular": {"class_path": "Tabular"},
}
CONTRASTIVE = {
    "class_path": "ContrastivePretraining",
    "init_args": {"objective": {"class_path": "Symile"}, "embedding": 8, "size": "pico"},
}
HEAD = {"class_path": "Downstream", "init_args": {"size": "pico", "fusion": "SequentialFusion"}}


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("prompts.yaml").write_text(PROMPTS)
    return tmp_path


@pytest.fixture
def thin_cohort(phantom_cohort: Path, workplace: Path) -> Path:
    """Write a cohort with a finding that no test study has, and a group of a single patient."""
    shutil.copytree(phantom_cohort.parent, "cohort")
    table = pd.read_csv("cohort/cohort.csv", dtype=str, keep_default_na=False)
    test = table["split"] == "test"
    table.loc[test, "anemia"] = "0"
    table.loc[test & (table["patient_id"] == table.loc[test, "patient_id"].iloc[0]), "site"] = "east"
    table.loc[test, "tabular"] = ""
    table.to_csv("cohort/cohort.csv", index=False)
    spec = yaml.safe_load(Path("cohort/cohort.yaml").read_text())
    spec["labels"] = ["cardiomegaly", "anemia", "pulmonary_edema"]
    Path("cohort/cohort.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    return workplace / "cohort" / "cohort.yaml"


def _fit(cohort: Path, model: dict[str, Any]) -> dict[str, Any]:
    write_config(cohort, model, MODALITIES)
    return fit()


def _card(out: str, *words: str) -> tuple[dict[str, Any], str]:
    assert main(["evaluate", "card", "--out", out, "--resamples", "30", "--minimum", "4", *words]) == 0
    return json.loads(Path(out, "card.json").read_text()), Path(out, "card.html").read_text()


def test_a_card_can_be_made_from_prompts(workplace: Path, phantom_cohort: Path) -> None:
    run = _fit(phantom_cohort, CONTRASTIVE)
    card, page = _card("out", run["checkpoint"], "--prompts", "prompts.yaml", "--explained", "1",
                       "--thresholds", "[0.25]")  # fmt: skip
    assert all(row["operating"][-1]["threshold"]["value"] == 0.25 for row in card["findings"])
    assert [row["name"] for row in card["findings"]] == ["cardiomegaly", "anemia"]
    assert card["origin"]["prompts"]["findings"]["anemia"] == {"positive": ["anemia"], "negative": ["no anemia"]}
    assert card["origin"]["fingerprint"] == card["origin"]["trained_on"]
    assert set(card["prompt_spread"]) == {"cardiomegaly", "anemia"}
    assert {tuple(row["modalities"]) for row in card["missingness"]["subsets"]} == {
        ("ecg",), ("tabular",), ("ecg", "tabular")
    }  # fmt: skip
    shapley = card["missingness"]["contributions"]
    assert sum(shapley["shapley"].values()) == pytest.approx(card["macro"]["auroc"]["value"] - 0.5)
    _check_page(page)
    assert page.count("<figure>") >= 8
    (explained,) = card["explanations"]
    assert f"Best case of cardiomegaly: study {explained['study_id']}" in page
    assert explained["label"] == 1
    client = MlflowClient(run["tracking_uri"])
    artifacts = {artifact.path for artifact in client.list_artifacts(run["mlflow_run_id"], "evaluation")}
    assert {"evaluation/card.html", "evaluation/card.json", "evaluation/card_reliability.png"} <= artifacts
    assert "test/card_macro_auroc" in client.get_run(run["mlflow_run_id"]).data.metrics


def test_the_card_of_a_head_reports_what_it_cannot_measure(thin_cohort: Path) -> None:
    checkpoint = _fit(thin_cohort, HEAD)["checkpoint"]
    small_head = _fit(thin_cohort, {**HEAD, "init_args": {"size": "pico"}})["checkpoint"]
    card, page = _card("out", checkpoint, "--against", small_head, "--studies", "[]")
    _check_page(page)
    notes = "\n".join(card["notes"])
    assert "no study of the split has modality 'tabular'" in notes
    assert re.search(r"anemia: the test split has 0 studies with the finding and \d+ without", notes)
    assert re.search(r"site east: \d studies of known label, fewer than the minimum of 4", notes)
    finding = card["findings"][1]
    assert finding["auroc"]["value"] is None
    assert finding["auroc"]["ci95"] == {"low": None, "high": None, "undefined": 0}
    assert (card["macro"]["used"], card["macro"]["total"]) == (2, 3)
    assert card["undefined_values"] > 0
    assert [row["name"] for row in card["comparison"]] == ["cardiomegaly", "anemia", "pulmonary_edema"]
    assert card["explanations"] == []
    for note in card["notes"]:
        assert note.split(":")[0] in page.replace("&#39;", "'")


def test_the_card_has_the_figures_of_independent_libraries(workplace: Path, phantom_cohort: Path) -> None:
    checkpoint = Path(_fit(phantom_cohort, HEAD)["checkpoint"])
    card, _ = _card("out", str(checkpoint), "--explained", "0")
    scorer = TrainedScorer(restore(checkpoint))
    studies = scorer.read("test")
    batches = torch.cat([scorer.task(batch) for batch in studies.batches]).detach().numpy()
    for column, row in enumerate(card["findings"]):
        truth = studies.outcomes[:, column]
        if row["problem"] is None:
            assert row["auroc"]["value"] == pytest.approx(roc_auc_score(truth, batches[:, column]), abs=1e-8)
            expected = average_precision_score(truth, batches[:, column])
            assert row["average_precision"]["value"] == pytest.approx(expected, abs=1e-8)
        point = next((entry for entry in row["operating"] if entry["threshold"]["reason"] is None), None)
        if point is not None:
            total = sum(point[key] for key in ("true_positive", "false_positive", "true_negative", "false_negative"))
            assert total == row["n"] == len(truth)


def _scorers(cohort: Path) -> list[Scorer]:
    head = restore(Path(_fit(cohort, HEAD)["checkpoint"]))
    contrastive = restore(Path(_fit(cohort, CONTRASTIVE)["checkpoint"]))
    return [TrainedScorer(head), ZeroShotScorer(contrastive, load_prompts(Path("prompts.yaml")))]


@pytest.mark.slow
def test_scores_depend_only_on_the_modalities_that_are_given(workplace: Path, phantom_cohort: Path) -> None:
    for scorer in _scorers(phantom_cohort):
        studies = scorer.read("test")
        empty_scores = scorer.scores(studies, ())
        assert np.ptp(empty_scores, axis=0).max() < 1e-6
        lacking = ~studies.present["ecg"].numpy()
        ecg_scores = scorer.scores(studies, ["ecg"])
        np.testing.assert_allclose(ecg_scores[lacking], empty_scores[lacking], atol=1e-6)
        all_scores = scorer.scores(studies, scorer.modalities)
        assert np.abs(all_scores - ecg_scores).max() > 1e-4
        for finding in scorer.findings:
            _check_score_of(scorer, studies.batches[0], finding, all_scores[:, scorer.findings.index(finding)])


def _check_score_of(scorer: Scorer, batch: Any, finding: str, expected: np.ndarray) -> None:
    """Check that the differentiable score of the vectors of the encoder equals the score."""
    rows = batch.present["ecg"]
    selected = batch.select(rows)
    encoder = scorer.task.encoders["ecg"]  # type: ignore[attr-defined]
    pooled = encoder(selected.inputs["ecg"]).pooled.detach().requires_grad_()
    score = scorer.score_of(selected, "ecg", finding)(pooled)
    np.testing.assert_allclose(score.detach().numpy(), expected[: len(batch)][rows.numpy()], atol=1e-4)
    score.sum().backward()
    assert bool((pooled.grad != 0).any())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "without prompts; set `--prompts`"),
        (["--prompts", "prompts.yaml", "--split", "val"], "got split 'val', from which thresholds"),
        (["--prompts", "prompts.yaml", "--query", "[report]"], r"got query modality 'report', expected one of"),
        (["--prompts", "prompts.yaml", "--studies", "[nobody]"], "got study 'nobody', which is not in the split"),
        (["--prompts", "unknown.yaml"], "got prompts for finding 'plague', expected one of ["),
        (["--prompts", "prompts.yaml", "--cohort", "other/cohort.yaml"], "got modality 'tabular', expected one of"),
        (["--prompts", "prompts.yaml", "--out", "full"], "got folder 'full', which is not empty"),
        (["--prompts", "prompts.yaml", "--alpha", "0"], "alpha 0"),
        (["--prompts", "prompts.yaml", "--thresholds", "[1.5]"], "got threshold 1.5, expected a probability"),
    ],
)
def test_invalid_requests_are_refused(
    contrastive: str, words: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "card", contrastive, "--resamples", "5", *words]) == 1
    assert message in capfd.readouterr().err
    assert not Path("card").exists()


@pytest.fixture
def contrastive(
    phantom_cohort: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Return a checkpoint that is trained once, in a folder with the files that the bad command lines name."""
    folder = Path(tmp_path_factory.getbasetemp()) / "contrastive"
    if not folder.exists():
        folder.mkdir()
        monkeypatch.chdir(folder)
        _fit(phantom_cohort, CONTRASTIVE)
    monkeypatch.chdir(tmp_path)
    Path("prompts.yaml").write_text(PROMPTS)
    Path("unknown.yaml").write_text(PROMPTS.replace("anemia:", "plague:"))
    Path("full").mkdir()
    Path("full", "here.txt").write_text("something")
    shutil.copytree(phantom_cohort.parent, "other")
    spec = yaml.safe_load(Path("other/cohort.yaml").read_text())
    del spec["modalities"]["tabular"]
    Path("other/cohort.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    return str(folder / json.loads((folder / "fit.json").read_text())["checkpoint"])


def _check_page(page: str) -> None:
    """Check that the page loads nothing from the network or from other files."""
    assert "not a medical device" in page
    assert not re.search(r"(src|href)=\"(?!data:image/png|#)", page)
    assert "<script" not in page
    assert "url(" not in page
