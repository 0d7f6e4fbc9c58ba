"""A checkpoint and a bundle of release 0.2 still load, and give the scores that they gave there."""

import json
from pathlib import Path
from typing import Any

import pytest

from polyclinic.cli import main
from polyclinic.cohort import default_modalities, write_phantom_cohort
from polyclinic.training.checkpoint_file import exposure_of, load_checkpoint

RELEASE = Path(__file__).parents[2] / "golden" / "release_0_2"


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Draw again the cohort that the run was trained on."""
    modalities = {name: plugin for name, plugin in default_modalities().items() if name in ("report", "tabular")}
    return write_phantom_cohort(tmp_path / "cohort", studies=160, seed=3, modalities=modalities, workers=1)


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    """Return the AUROC of the checkpoint and the scores of the bundle as release 0.2 computed them."""
    content: dict[str, Any] = json.loads((RELEASE / "figures.json").read_text())
    return content


def test_an_old_checkpoint_keeps_its_metrics_and_its_training_exposure(
    cohort: Path,
    figures: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint, out = RELEASE / "run.ckpt", tmp_path / "zeroshot.json"
    words = [checkpoint, RELEASE / "prompts.yaml", "--cohort", cohort, "--resamples", "20", "--json", out]
    assert main(["evaluate", "zeroshot", *map(str, words)]) == 0
    # The tracking address of the run, runs/mlflow.db, is not here.
    assert "note: the run of the checkpoint is not at sqlite:///runs/mlflow.db" in capfd.readouterr().out
    report = json.loads(out.read_text())
    assert {finding["name"]: finding["auroc"] for finding in report["findings"]} == figures["auroc"]
    (exposure,) = exposure_of(load_checkpoint(checkpoint)).cohorts
    assert len(exposure.trained.patients) > len(exposure.selected.patients) > 0


def test_an_old_bundle_keeps_its_scores(cohort: Path, figures: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "scores.json"
    words = [RELEASE / "bundle", "--cohort", cohort, "--split", "test", "--json", out]
    assert main(["score", *map(str, words)]) == 0
    studies = json.loads(out.read_text())["studies"]
    # A study without an input modality has a problem in place of findings.
    scored = [study for study in studies if "findings" in study]
    scores = {study["study_id"]: [finding["score"] for finding in study["findings"]] for study in scored}
    assert scores.keys() == figures["scores"].keys()
    for study_id, expected in figures["scores"].items():
        assert scores[study_id] == pytest.approx(expected, abs=1e-6)
