"""A password in the tracking address is used, and stored nowhere."""

import json
import logging
import socket
import sqlite3
from pathlib import Path

import pytest
from tracking_runs import server

from cli_runs import fit, write_config
from overlapping_cohorts import PULSES, rows, write
from polyclinic.cli import main
from polyclinic.tracking import RunLogger
from polyclinic.tracking.uri import resolve_uri, without_password

GIVEN, KEPT = "http://jane:planted@host:5000/a", "http://host:5000/a"


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.mark.parametrize(
    ("text", "report"),
    [
        (GIVEN, KEPT),
        ("postgresql://jane:pl@nted@host/runs", "postgresql://host/runs"),
        (f"uri: {GIVEN}\nother: http://x/y\nmail: a@b.c", f"uri: {KEPT}\nother: http://x/y\nmail: a@b.c"),
        ('{"a":"http://x","b":"y@z"}', '{"a":"http://x","b":"y@z"}'),
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
    ],
)
def test_addresses_are_shown_without_their_password(text: str, report: str) -> None:
    assert without_password(text) == report


def test_a_stored_address_gets_its_password_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", GIVEN)
    assert resolve_uri(given=KEPT, out=Path()) == GIVEN
    assert resolve_uri(given=None, out=Path()) == GIVEN
    for address in ("http://other:5000/a", "http://joe:other@host:5000/a"):
        assert resolve_uri(given=address, out=Path()) == address


def test_a_logger_reports_where_a_password_belongs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert RunLogger(tracking_uri=GIVEN).tracking_uri == KEPT
    assert "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead" in caplog.text
    assert RunLogger(tracking_uri="postgresql://jane:planted@host/runs").tracking_uri == "postgresql://host/runs"
    assert "set MLFLOW_TRACKING_URI instead" in caplog.text
    assert "planted" not in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://jane:planted@host/runs")
        RunLogger()
        RunLogger(tracking_uri="http://host:5000")
    assert caplog.text == ""


@pytest.mark.slow
def test_no_file_of_a_run_holds_the_password(
    empty_store: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    model = {"class_path": "Downstream", "init_args": {"size": "pico"}}
    write_config(write(tmp_path / "cohort", rows("a")), model, PULSES)
    with server(tmp_path, port) as uri:
        secret = uri.replace("//", "//jane:planted@")
        result = fit("--trainer.logger", "polyclinic.tracking.RunLogger", "--trainer.logger.tracking_uri", secret)
        assert result["tracking_uri"] == uri
        words = ["fit", "-c", "config.yaml", "--ckpt_path", result["last"], "--trainer.max_epochs", "2"]
        words += ["--trainer.logger", "polyclinic.tracking.RunLogger", "--trainer.logger.tracking_uri"]
        # The run of the checkpoint is at the same address, with or without a password.
        assert main([*words, uri]) == 0
        assert main(["evaluate", "classifier", result["last"], "--resamples", "20"]) == 0
    with sqlite3.connect(empty_store) as store:
        (count,) = store.execute("SELECT count(*) FROM runs").fetchone()
    store.close()
    assert count == 1
    contents = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert uri.encode() in contents["last.ckpt"]
    assert {"last.ckpt", "fit.json", "mlflow.db", "config.yaml", "environment.json"} <= contents.keys()
    assert [name for name, content in contents.items() if b"planted" in content] == []
    message = capfd.readouterr()
    assert "planted" not in message.out + message.err
    assert json.loads(contents["fit.json"])["tracking_uri"] == uri
