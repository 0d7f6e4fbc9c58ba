"""A masked run through the command line: pictures, reports, what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from cli_runs import fit, write_config
from polyclinic.cli import main

MODALITIES: dict[str, Any] = {
    "xray": {"class_path": "XRay", "init_args": {"size": 32, "patch": 8}},
    "ecg": {"class_path": "ECG", "init_args": {"rate": 50, "seconds": 4, "patch": 20, "shift": 0.5}},
    "report": {"class_path": "Report", "init_args": {"vocabulary_size": 400, "max_tokens": 320}},
    "audio": {"class_path": "Audio", "init_args": {"seconds": 2, "patch": 10}},
    "tabular": {"class_path": "Tabular"},
}
SMALL = {"size": "pico", "joint_width": 16, "decoder_width": 16}


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phantom_cohort: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    write_config(phantom_cohort, {"class_path": "MaskedPretraining", "init_args": SMALL}, MODALITIES, epochs=2)
    return tmp_path


def test_a_run_leaves_losses_by_modality_pictures_and_reports(workplace: Path) -> None:
    words = ["--pictures.every", "2", "--pictures.studies", "2"]
    result = fit(*words)
    client = MlflowClient(result["tracking_uri"])
    metrics = client.get_run(result["mlflow_run_id"]).data.metrics
    for name in MODALITIES:
        assert metrics[f"val/loss/{name}"] > 0
        assert f"train/loss/{name}" in metrics
        artifacts = [file.path for file in client.list_artifacts(result["mlflow_run_id"], f"reconstruction/{name}")]
        assert artifacts == [f"reconstruction/{name}/epoch0000.png"]
    assert main(["evaluate", "reconstruction", result["checkpoint"], "--resamples", "20", "--json", "r.json"]) == 0
    report = json.loads(Path("r.json").read_text())
    masked = {row["name"]: row["errors"] for row in report["results"] if row["mask"] == "masked"}
    assert set(masked) == set(MODALITIES)
    assert set(masked["ecg"]) == {"model", "mean fill", "linear interpolation"}
    assert main(["evaluate", "probe", result["checkpoint"], "ecg", "--resamples", "20", "--json", "p.json"]) == 0
    probe = json.loads(Path("p.json").read_text())
    assert probe["gain"] == pytest.approx(probe["trained"]["macro_auroc"] - probe["random"]["macro_auroc"])
    evaluated = client.get_run(result["mlflow_run_id"]).data.metrics
    assert evaluated["test/model_loss/ecg"] == pytest.approx(masked["ecg"]["model"]["value"])
    assert evaluated["test/probe_gain/ecg"] == pytest.approx(probe["gain"])
    assert main(["evaluate", "zeroshot", result["checkpoint"], "config.yaml"]) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model.init_args.ratios", "{xray: 1.5}"], "got mask ratios {'xray': 1.5}"),
        (["--model.init_args.budget", "3"], "got a budget of 3 visible tokens for 5 modalities"),
        (["--data.modalities.xray.init_args.stem", "conv"], "modality 'xray' cannot be masked: got stem 'conv'"),
        (["--data.modalities.ecg.init_args.stem", "conv"], "modality 'ecg' cannot be masked: got stem 'conv'"),
        (["--data.modalities.ecg.init_args.masking", "lead"], "got masking 'lead' with tokens of all leads"),
        (
            ["--model.init_args.encoders", "{report: {class_path: NgramEncoder}}"],
            "got encoder NgramEncoder for modality 'report', which cannot omit tokens",
        ),
        (["--pictures.every", "-1"], "set `pictures.every`"),
    ],
)
def test_a_modality_that_cannot_be_masked_stops_before_a_run_is_opened(
    workplace: Path, capfd: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["fit", "-c", "config.yaml", *words]) == 1
    assert message in capfd.readouterr().err
    assert not Path("runs").exists()


def test_evaluations_of_other_checkpoints_and_unknown_names_are_refused(
    workplace: Path, phantom_cohort: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    heads = {"class_path": "Downstream", "init_args": {"size": "pico"}}
    write_config(phantom_cohort, heads, {"tabular": MODALITIES["tabular"]})
    checkpoint = fit()["checkpoint"]
    for words, message in (
        (["reconstruction", checkpoint], "got a checkpoint of Downstream, expected one of MaskedPretraining"),
        (["probe", checkpoint, "pet"], "got modality 'pet', expected one of ['tabular']"),
        (["probe", checkpoint, "tabular", "--findings", "[gout]"], "got finding 'gout', expected one of"),
    ):
        assert main(["evaluate", *words]) == 1
        assert message in capfd.readouterr().err
    assert main(["evaluate", "probe", checkpoint, "tabular", "--findings", "[anemia]", "--resamples", "10"]) == 0
