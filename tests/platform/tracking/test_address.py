"""Where to look at a run: on a server its address, otherwise the command that opens it."""

from pathlib import Path

import pytest

from polyclinic.tracking.address import experiment_address, place_of_run, run_address


@pytest.mark.parametrize("server", ["https://host:5000", "https://host/mlflow/", "https://jane:secret@host/mlflow"])
def test_addresses_keep_the_path_of_the_server_and_no_password(server: str) -> None:
    root = "https://host/mlflow" if "mlflow" in server else server
    address = experiment_address(server, "3")
    assert address == f"{root}/#/experiments/3/runs?workflowType=machine_learning"
    assert experiment_address(server, "3", view="mine") == f"{address}&viewStateShareKey=mine"
    assert run_address(server, "3", "abc") == f"{root}/#/experiments/3/runs/abc?workflowType=machine_learning"


def test_the_command_has_the_options_that_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def place(uri: str, out: str) -> str:
        return place_of_run(uri, out=Path(out), experiment_id="1", run_id="abc")

    local = f"sqlite:///{tmp_path}"
    assert place(f"{local}/runs/mlflow.db", "runs") == "polyclinic runs --run abc"
    assert place(f"{local}/demo/runs/mlflow.db", "demo/runs") == "polyclinic runs --run abc --out demo/runs"
    assert place("sqlite:////wards/mlflow.db", "/wards") == "polyclinic runs --run abc --out /wards"
    assert place("postgresql://jane:secret@host/runs", "runs") == (
        "polyclinic runs --run abc --tracking-uri postgresql://host/runs"
    )
    assert place("http://host:5000", "runs") == run_address("http://host:5000", "1", "abc")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://jane:secret@host/runs")
    assert place("postgresql://jane:secret@host/runs", "runs") == "polyclinic runs --run abc"
    assert place(f"{local}/a.db", "runs") == f"polyclinic runs --run abc --tracking-uri {local}/a.db"
