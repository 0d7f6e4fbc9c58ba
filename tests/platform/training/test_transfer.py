"""Encoders that move from run to run: every weight is accounted for, and nothing is loaded in part."""

import json
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

from cli_runs import fit, write_config
from polyclinic.cli import main
from polyclinic.training.restore import restore

MASKED = {"class_path": "MaskedPretraining", "init_args": {"size": "pico", "joint_width": 16, "decoder_width": 16}}
CONTRASTIVE = {
    "class_path": "ContrastivePretraining",
    "init_args": {"objective": {"class_path": "Clip"}, "embedding": 8, "size": "pico"},
}
HEAD = {"class_path": "Downstream", "init_args": {"size": "pico"}}
BOTH: dict[str, Any] = {
    "tabular": {"class_path": "Tabular"},
    "report": {"class_path": "Report", "init_args": {"vocabulary_size": 400, "max_tokens": 320}},
}


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _fit(cohort: Path, model: dict[str, Any], *words: str, modalities: dict[str, Any] | None = None) -> dict[str, Any]:
    write_config(cohort, model, BOTH if modalities is None else modalities)
    return fit(*words)


def _weights(result: dict[str, Any]) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(result["checkpoint"], weights_only=True)["state_dict"]
    return state


@pytest.mark.filterwarnings("ignore:Found .* module.* in eval mode")
@pytest.mark.parametrize(("model", "setting"), [(CONTRASTIVE, "adapters.tabular"), (HEAD, "adapter")])
def test_a_random_readout_that_would_be_frozen_is_reported_with_the_setting_that_trains_it(
    workplace: Path, phantom_cohort: Path, capsys: pytest.CaptureFixture[str], model: dict[str, Any], setting: str
) -> None:
    tabular = {"tabular": BOTH["tabular"]}
    masked = _fit(phantom_cohort, MASKED, modalities=tabular)["checkpoint"]
    modalities = tabular if model is not CONTRASTIVE else BOTH
    for readout, expected in (("false", 1), ("true", 0)):
        capsys.readouterr()
        adapted = [f"--model.init_args.{setting}", "Frozen", f"--model.init_args.{setting}.readout", readout]
        _fit(phantom_cohort, model, "--weights", masked, *adapted, modalities=modalities)
        shown = " ".join("".join(capsys.readouterr()).split())
        assert shown.count("has no readout of tabular, which stays at its initial values; set") == expected
        assert shown.count(f"`model.{setting}` to {{class_path: Frozen") == expected


@pytest.mark.slow
def test_encoders_transfer_from_masked_to_contrastive_to_head(
    workplace: Path, phantom_cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masked = _fit(phantom_cohort, MASKED)
    capsys.readouterr()
    # The learning rate is nearly zero, so that the saved weights show which ones were loaded.
    frozen = ("--model.init_args.lr", "1e-12", "--model.init_args.weight_decay", "0")
    contrastive = _fit(phantom_cohort, CONTRASTIVE, "--weights", masked["checkpoint"], *frozen)
    text = capsys.readouterr().out
    assert "encoders.report" in text
    assert "loaded" in text
    before, after = _weights(masked), _weights(contrastive)
    encoder_keys = [key for key in before if key.startswith("encoders.")]
    assert len(encoder_keys) > 30
    for key in encoder_keys:
        torch.testing.assert_close(before[key], after[key], rtol=0, atol=1e-6)
    client = MlflowClient(contrastive["tracking_uri"])
    path = client.download_artifacts(contrastive["mlflow_run_id"], "weights.json", str(workplace))
    report = json.loads(Path(path).read_text())["checkpoint"]
    account = report["account"]
    assert set(account["loaded"]) == set(encoder_keys)
    assert set(account["loaded"]) | set(account["new"]) == set(after)
    assert set(account["loaded"]) | set(account["dropped"]) == set(before)
    assert not set(account["loaded"]) & set(account["new"])
    assert all("pool." in key for key in account["new"] if key.startswith("encoders."))
    assert report["run_id"] == masked["mlflow_run_id"]
    assert len(report["sha256"]) == 64
    assert report["changed"] == []
    head = _fit(phantom_cohort, HEAD, "--weights", contrastive["checkpoint"], *frozen)
    pool = "encoders.tabular.pool.mix.weight"
    torch.testing.assert_close(_weights(head)[pool], after[pool], rtol=0, atol=1e-6)
    back = _fit(phantom_cohort, MASKED, "--weights", contrastive["checkpoint"], *frozen)
    for key in encoder_keys:
        torch.testing.assert_close(_weights(back)[key], after[key], rtol=0, atol=1e-6)


@pytest.mark.slow
def test_the_state_of_a_modality_is_transferred(workplace: Path, phantom_cohort: Path, tmp_path: Path) -> None:
    """It is the vocabulary of the first run: token ids of one fitted on the second cohort would mean other words."""
    masked = _fit(phantom_cohort, MASKED)
    table = phantom_cohort.parent / "cohort.csv"
    lines = table.read_text().splitlines()
    folder = tmp_path / "other"
    folder.mkdir()
    header = lines[0].split(",")
    paths = [column for column, name in enumerate(header) if name in ("xray", "ecg", "report", "audio", "tabular")]
    rows = [line.split(",") for line in lines[1:30]]
    for row in rows:
        for column in paths:
            row[column] = str(phantom_cohort.parent / row[column]) if row[column] else ""
    (folder / "cohort.csv").write_text("\n".join([lines[0], *(",".join(row) for row in rows)]))
    (folder / "cohort.yaml").write_text(phantom_cohort.read_text())
    transferred = _fit(folder / "cohort.yaml", CONTRASTIVE, "--weights", masked["checkpoint"])
    fresh = _fit(folder / "cohort.yaml", CONTRASTIVE)
    states = [
        restore(Path(run["checkpoint"])).data.modalities["report"].state() for run in (masked, transferred, fresh)
    ]
    assert states[0] == states[1] != states[2]


def test_a_changed_setting_is_reported(workplace: Path, phantom_cohort: Path, masked: Path) -> None:
    noisy = {"tabular": {"class_path": "Tabular", "init_args": {"noise": 0.5}}}
    with pytest.warns(UserWarning, match=r"tabular\.noise: 0\.02, 0\.5"):
        _fit(phantom_cohort, HEAD, "--weights", str(masked), modalities=noisy)


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory, phantom_cohort: Path) -> Path:
    """Return the checkpoint of a masked run on laboratory values."""
    with chdir(tmp_path_factory.mktemp("masked")):
        return Path(_fit(phantom_cohort, MASKED, modalities={"tabular": BOTH["tabular"]})["checkpoint"]).absolute()


@pytest.mark.parametrize(
    ("modalities", "words", "message"),
    [
        ({"report": BOTH["report"]}, [], "has encoders of ['tabular'], the model of ['report']: none in common"),
        ({"tabular": BOTH["tabular"]}, ["--model.init_args.size", "nano"], "encoder of 'tabular' is not the model's"),
        (
            {"tabular": BOTH["tabular"]},
            ["config.yaml"],
            "which is a configuration of `polyclinic fit`, expected a checkpoint",
        ),
        ({"tabular": BOTH["tabular"]}, ["no.ckpt"], "checkpoint 'no.ckpt' does not exist"),
    ],
)
def test_incompatible_checkpoints_stop_the_run_before_it_starts(
    workplace: Path, phantom_cohort: Path, masked: Path, capfd: pytest.CaptureFixture[str],
    modalities: dict[str, Any], words: list[str], message: str,
) -> None:  # fmt: skip
    write_config(phantom_cohort, HEAD, modalities)
    weights = [] if words and words[0][0] != "-" else [str(masked)]
    assert main(["fit", "-c", "config.yaml", "--weights", *weights, *words]) == 1
    assert message in capfd.readouterr().err
    assert [path.name for path in workplace.iterdir()] == ["config.yaml"]
