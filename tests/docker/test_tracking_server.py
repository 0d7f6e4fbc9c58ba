"""The services of the compose file, from system packages: users, PostgreSQL, served artifacts, a browser."""

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from mlflow import MlflowClient
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from cli_runs import fit, write_config
from mlflow_servers import PASSWORD, postgres, tracking_server
from polyclinic.cli import main

pytestmark = pytest.mark.processes

_SECONDS = 180
_QUIET = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--window-size=1400,2400",
)  # fmt: skip
MODEL = {
    "class_path": "ContrastivePretraining",
    "init_args": {"objective": {"class_path": "Symile"}, "size": "nano", "embedding": 16},
}


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with postgres(tmp_path) as database, tracking_server(database, tmp_path) as url:
        yield url


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    for word in (*_QUIET, f"--user-data-dir={tmp_path / 'browser'}"):
        options.add_argument(word)
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    yield driver
    driver.quit()


@pytest.mark.slow
def test_two_runs_are_compared_in_the_browser(
    address: str, browser: webdriver.Chrome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HTTPError, match="401") as error:
        urlopen(address)
    error.value.close()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    assert main(["cohort", "phantom", "cohort", "--studies", "40", "--modalities", '["report", "tabular", "ecg"]']) == 0
    plugins = {"report": "Report", "tabular": "Tabular", "ecg": "ECG"}
    write_config(Path("cohort/cohort.yaml"), MODEL, plugins, epochs=2)
    results = {
        rate: fit("--model.init_args.lr", rate, "--trainer.logger.init_args.run_name", f"rate {rate}")
        for rate in ("0.001", "0.0001")
    }
    client = MlflowClient(address)
    runs = [client.get_run(result["mlflow_run_id"]) for result in results.values()]
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    assert all(run.info.artifact_uri.startswith("mlflow-artifacts:/") for run in runs)
    assert len(list((tmp_path / "artifacts").rglob("config.yaml"))) == 2
    # The page shows a few digits, and the full number on hovering.
    texts = [f"{run.data.metrics['train/loss']:.5f}"[:4] for run in runs]
    texts += [run.data.tags["mlflow.runName"] for run in runs]
    _compare(browser, address, [run.info.run_id for run in runs], runs[0].info.experiment_id, texts)
    assert PASSWORD not in (tmp_path / "server.log").read_text()


def _compare(browser: webdriver.Chrome, address: str, runs: list[str], experiment: str, texts: list[str]) -> None:
    """Open the page that compares runs, and wait until it shows the texts."""
    login = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
    headers: dict[str, Any] = {"headers": {"Authorization": f"Basic {login}"}}
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd("Network.setExtraHTTPHeaders", headers)
    browser.get(f"{address}/#/compare-runs?runs={json.dumps(runs)}&experiments={json.dumps([experiment])}")
    text = ""
    for _ in range(_SECONDS * 2):
        text = browser.find_element(By.TAG_NAME, "body").text
        if "Comparing 2 Runs" in text and all(expected in text for expected in texts):
            return
        time.sleep(0.5)
    raise AssertionError(f"{[expected for expected in texts if expected not in text]} not in {text}")
