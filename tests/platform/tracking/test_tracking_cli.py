import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tracking_runs import artifact, curves, fit, fit_in, runs

pytestmark = pytest.mark.processes


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(sys, "argv", [f"{Path.home()}/bin/polyclinic"])


def test_two_fits_in_one_folder_each_keep_their_record(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "with space"
    uri = f"sqlite:///{out}/mlflow.db"
    for lr in ("0.1", "0.05"):
        fit_in(out, f"--model.lr={lr}", "--seed_everything=3")
    logged = runs(uri)
    assert [run.info.status for run in logged] == ["FINISHED", "FINISHED"]
    configs = [yaml.safe_load(artifact(uri, run.info.run_id, "config.yaml", tmp_path)) for run in logged]
    assert [config["model"]["lr"] for config in configs] == [0.1, 0.05]
    assert logged[1].data.params == {
        "model": "Line", "lr": "0.05", "batch_size": "4", "seed": "3", "max_epochs": "1", "cohort": "cohort.yaml"
    }  # fmt: skip
    assert logged[1].data.metrics["train/loss"] >= 0
    for run in logged:
        assert Path(out, run.info.experiment_id, run.info.run_id, "checkpoints", "epoch=0-step=2.ckpt").is_file()
    assert sorted(path.name for path in out.iterdir() if path.is_file()) == ["mlflow.db", "mlflow.db.lock"]
    assert (out / "mlartifacts" / logged[0].info.run_id).is_dir()
    assert not list(tmp_path.rglob("mlruns"))
    assert "mlflow.store" not in (errors := capfd.readouterr().err)
    assert "alembic" not in errors


def test_the_config_of_a_run_reproduces_an_equal_config(empty_store: Path, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    fit_in(tmp_path, "--model.lr=0.025", "--data.batch_size=2", "--seed_everything=11")
    first = artifact(uri, runs(uri)[0].info.run_id, "config.yaml", tmp_path)
    (tmp_path / "again.yaml").write_text(first)
    fit("-c", str(tmp_path / "again.yaml"))
    logged = runs(uri)
    assert artifact(uri, logged[1].info.run_id, "config.yaml", tmp_path) == first
    assert curves(logged[0]) == curves(logged[1])
    assert "train/loss" in curves(logged[0])


def test_the_environment_records_the_code_and_hides_the_home_folder(empty_store: Path, tmp_path: Path) -> None:
    def git(*words: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", *identity, *words], check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    Path("code.py").write_text("before\n")
    Path("patients.csv").write_text("DOE^JOHN\n")
    git("add", "."), git("commit", "-qm", "x")
    Path("code.py").write_text("after\n")
    Path("patients.csv").write_text("DOE^JANE\n")
    fit_in(tmp_path)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    report = json.loads(artifact(uri, runs(uri)[0].info.run_id, "environment.json", tmp_path))
    assert report["git"]["commit"] == git("rev-parse", "HEAD")
    assert report["git"]["dirty"] is True
    assert "+after" in report["git"]["diff"]
    assert "DOE" not in json.dumps(report)
    assert report["command"] == ["~/bin/polyclinic"]
    assert {"polyclinic", "torch", "lightning", "mlflow", "numpy", "monai", "transformers"} <= set(report["packages"])


def test_a_file_store_works_where_mlflow_allows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "store").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    fit_in(tmp_path / "runs")
    [run] = runs(uri)
    assert "max_epochs: 1" in artifact(uri, run.info.run_id, "config.yaml", tmp_path)


def test_without_a_logger_every_fit_stores_its_config_in_a_folder(tmp_path: Path) -> None:
    for lr in ("0.1", "0.2"):
        fit(
            "--trainer.logger=false",
            "--trainer.default_root_dir=kept",
            f"--model.lr={lr}",
            "--trainer.enable_checkpointing=false",
        )
    rates = sorted(yaml.safe_load(path.read_text())["model"]["lr"] for path in Path("kept").glob("run-*/config.yaml"))
    assert rates == [0.1, 0.2]
    assert len(list(Path("kept").glob("run-*/environment.json"))) == 2


def test_an_unusable_address_is_reported_with_its_cause(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("no database, " * 100)
    for uri, cause in (
        (f"sqlite:///{tmp_path}/note.txt", "file is not a database"),
        (f"sqlite:///{tmp_path}/note.txt/mlflow.db", "exists|Not a directory"),
        ("http://jane:secret@127.0.0.1:9/", "refused"),
        ("nonsense://here", "unsupported URI"),
    ):
        with pytest.raises(ValueError, match=rf"^cannot use MLflow .*({cause}).* set MLFLOW_TRACKING_URI or") as report:
            fit_in(tmp_path, f"--trainer.logger.tracking_uri={uri}")
        assert "\n" not in str(report.value)
        assert "secret" not in str(report.value)
