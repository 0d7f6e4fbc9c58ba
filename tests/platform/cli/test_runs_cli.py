"""`polyclinic runs` on a store with a run: the printed address, opened in a browser, shows its name and figures."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from selenium import webdriver
from selenium.webdriver.common.by import By

from browser import chrome, wait
from cli_runs import fit, write_config
from forked_commands import Forked
from mlflow_servers import free_port
from polyclinic.cli import main

pytestmark = pytest.mark.processes

MODEL = {"class_path": "ContrastivePretraining", "init_args": {"objective": "Symile", "embedding": 8}}
PULSES: dict[str, Any] = {name: {"class_path": "pulse_plugin.Pulse"} for name in ("first", "second")}
PROMPTS = {
    "version": 1, "modality": "second", "score_rule": "difference", "templates": ["{}"],
    "findings": {"anemia": {"positive": ["100 37"], "negative": ["60 37"]}},
}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pulse_cohort: Path) -> dict[str, Any]:
    """Train and evaluate a small run in the working folder."""
    monkeypatch.chdir(tmp_path)
    write_config(pulse_cohort, MODEL, PULSES, epochs=2)
    Path("prompts.yaml").write_text(yaml.safe_dump(PROMPTS))
    result = fit("--trainer.logger", "polyclinic.tracking.RunLogger", "--trainer.logger.run_name", "pulses")
    assert main(["evaluate", "zeroshot", result["checkpoint"], "prompts.yaml", "--resamples", "20"]) == 0
    return result


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Forked]]:
    """Start `polyclinic runs`, and wait for the address that it prints."""
    started: list[Forked] = []

    def runs(*words: str, **environment: str) -> Forked:
        out = tmp_path / "out.txt"
        command = Forked(
            ["runs", "--no-browser", *words], folder=tmp_path, environment={**os.environ, **environment}, out=out,
            errors=tmp_path / "err.txt",
        )  # fmt: skip
        started.append(command)
        wait(lambda: command.poll() is not None or (out.is_file() and "next: " in out.read_text()))
        return command

    yield runs
    for command in started:
        if command.poll() is None:
            command.send_signal(signal.SIGINT)  # a killed command would leave the UI running
            command.wait(60)


def _printed(text: str) -> str:
    found = re.search(r"^runs: (\S+)$", text, re.MULTILINE)
    assert found is not None, text
    return found[1]


def _body(browser: webdriver.Chrome) -> str:
    return browser.find_element(By.TAG_NAME, "body").text


def test_the_printed_address_shows_the_runs_and_the_description_behind_a_path(
    run: dict[str, Any],
    start: Callable[..., Forked],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    capsys.readouterr()
    port = str(free_port())
    command = start("--port", port, MLFLOW_STATIC_PREFIX="/mlflow")
    address = _printed((tmp_path / "out.txt").read_text())
    assert address.startswith(f"http://127.0.0.1:{port}/mlflow/#/experiments/1/runs?workflowType=machine_learning")
    logged = MlflowClient(run["tracking_uri"]).get_run(run["mlflow_run_id"])
    best = f"{logged.data.metrics['best/val/loss']:.5f}"[:4]
    with chrome(tmp_path / "browser") as browser:
        browser.get(address)
        wait(lambda: all(text in _body(browser) for text in ("pulses", "best/val/loss", best)))
        # A tracking server shows its runs already: nothing is started.
        server = address.partition("/#")[0]
        assert main(["runs", "--no-browser", "--tracking-uri", server, "--run", run["mlflow_run_id"]]) == 0
        browser.get(_printed(capsys.readouterr().out))
        headline = f"Best val/loss: {logged.data.metrics['best/val/loss']:.4g}"
        described = ("Contrastive pretraining (Symile)", headline, "Model registry")
        wait(lambda: all(text in _body(browser) for text in described))
        browser.find_element(By.XPATH, "//button[.//text()='Show more']").click()
        wait(lambda: "test/zeroshot_macro_auroc" in _body(browser) and "95 % interval" in _body(browser))
    assert main(["runs", "--no-browser", "--port", port]) == 1  # without the path, another program answers
    monkeypatch.setenv("MLFLOW_STATIC_PREFIX", "/mlflow")
    assert main(["runs", "--no-browser", "--port", port]) == 0
    assert _printed(capsys.readouterr().out) == address
    command.send_signal(signal.SIGINT)
    assert command.wait(60) == 0
    with closing(socket.socket()) as probe:
        assert probe.connect_ex(("127.0.0.1", int(port))) != 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "got no runs at sqlite:////.*/runs/mlflow.db, expected those of `polyclinic fit`; set `--out`"),
        (["--tracking-uri", "http://127.0.0.1:9"], "cannot use MLflow tracking at http://127.0.0.1:9: .*refused"),
    ],
)
def test_a_store_without_runs_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["runs", *words]) == 1
    assert re.search(message, capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_run_and_a_port_in_use_are_refused(
    run: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*_: Any, **__: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", started)
    assert main(["runs", "--run", "missing"]) == 1
    assert "got run 'missing', which is not at sqlite:///" in capsys.readouterr().err
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        other.settimeout(5)
        monkeypatch.setattr("polyclinic.tracking.ui._TIMEOUT", 0.2)
        port = other.getsockname()[1]
        assert main(["runs", "--port", str(port)]) == 1
    assert f"got port {port}, where another program" in capsys.readouterr().err
    assert main(["runs", "--port", "0"]) == 1
    assert "got port 0, expected 1 to 65535; set `--port`" in capsys.readouterr().err
