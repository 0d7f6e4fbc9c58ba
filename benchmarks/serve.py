"""Start-up time, latency and batching gain of the service, with clients in another process.

It is compared with the faster of two settings of ``mlflow models serve`` for the same bundle: one process, and one
process per core.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.demo_bundle import DEMO, exported
from benchmarks.load import load
from benchmarks.measure import Figure
from benchmarks.multipart import Request
from benchmarks.server import TOKEN, free_port, serving
from benchmarks.studies_to_send import as_request, companions, complete_studies
from polyclinic.registry.flavour import save_bundle

COMMAND = "python -m benchmarks serve"
QUERY = ("xray", "ecg", "tabular")
STUDIES, STARTS, ROUNDS = 64, 3, 3
UNLIMITED = ("--per_minute", 0, "--in_flight", 64)


def measure() -> list[Figure]:
    """Measure every figure of the service with the demo's bundle."""
    with tempfile.TemporaryDirectory() as folder:
        return _measured(Path(folder))


def _measured(folder: Path) -> list[Figure]:
    bundle = exported(folder / "bundle")
    studies = complete_studies(DEMO / "cohort", QUERY, STUDIES)
    requests = [as_request(files) for files in studies]
    ready = []
    for _ in range(STARTS):
        with serving(bundle, folder) as server:
            ready.append(server.ready_seconds)
    with serving(bundle, folder, *UNLIMITED) as server:
        load(server.address, TOKEN, requests, folder, clients=2, seconds=3, rate=0)
        single = load(server.address, TOKEN, requests, folder, clients=1, seconds=10, rate=0)
        steady = load(server.address, TOKEN, requests, folder, clients=8, seconds=60, rate=5)
    assert set(steady["statuses"]) == {"200"}, steady["statuses"]
    waits = np.array(steady["seconds"]) * 1000
    batched, unbatched = _throughputs(bundle, requests, folder)
    theirs = _mlflow(bundle, [_as_inputs(files) for files in studies], folder)
    p50, p99 = (float(wait) for wait in np.quantile(waits, [0.5, 0.99]))
    return [
        Figure(name="serve.ready_seconds", value=median(ready), unit="s", goal=5, at_most=True, command=COMMAND),
        Figure(name="serve.p50_ms", value=p50, unit="ms", goal=60, at_most=True, command=COMMAND),
        Figure(name="serve.p99_ms", value=p99, unit="ms", goal=250, at_most=True, command=COMMAND),
        Figure(name="serve.batching_gain", value=batched / unbatched, unit="times", goal=2, command=COMMAND),
        Figure(name="serve.gain_over_one_client", value=batched / single["per_second"], unit="times", command=COMMAND),
        Figure(name="serve.gain_vs_mlflow", value=batched / max(theirs), unit="times", goal=1.5, command=COMMAND),
        Figure(name="serve.gain_vs_mlflow_as_it_starts", value=batched / theirs[0], unit="times", command=COMMAND),
        Figure(name="serve.per_second", value=batched, unit="requests/s", command=COMMAND),
    ]


def _throughputs(bundle: Path, requests: list[Request], folder: Path) -> tuple[float, float]:
    """Return the median throughputs of 32 clients with batches and with single studies, measured in turns."""
    rates: dict[int, list[float]] = {16: [], 1: []}
    for _ in range(ROUNDS):
        for batch_size, batch_rates in rates.items():
            with serving(bundle, folder, *UNLIMITED, "--together", batch_size) as server:
                load(server.address, TOKEN, requests, folder, clients=8, seconds=3, rate=0)
                result: dict[str, Any] = load(server.address, TOKEN, requests, folder, clients=32, seconds=10, rate=0)
            assert set(result["statuses"]) == {"200"}, result["statuses"]
            batch_rates.append(result["per_second"])
    return median(rates[16]), median(rates[1])


def _mlflow(bundle: Path, requests: list[Request], folder: Path) -> list[float]:
    """Return the requests per second of 32 clients, with the default of one process and with one per core."""
    save_bundle(bundle, folder / "model")
    rates = []
    for workers in (1, os.cpu_count() or 1):
        with _mlflow_serving(folder / "model", folder, workers) as address:
            load(address, "", requests, folder, clients=8, seconds=5, rate=0)
            result = load(address, "", requests, folder, clients=32, seconds=15, rate=0)
        assert set(result["statuses"]) == {"200"}, result["statuses"]
        rates.append(float(result["per_second"]))
    return rates


@contextmanager
def _mlflow_serving(model: Path, folder: Path, workers: int) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local", "--model-uri", str(model)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}
    environment["MLFLOW_TRACKING_URI"] = str(folder / "mlruns")
    # MLflow finds uvicorn on the PATH.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    with (folder / "mlflow.log").open("w") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        _wait(f"http://127.0.0.1:{port}/ping")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(running.pid, 15)
        running.wait(timeout=30)


def _wait(address: str, patience: float = 120) -> None:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address, timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"no answer from {address} in {patience:g} s")


def _as_inputs(files: dict[str, Path]) -> Request:
    """Return a request with one study as JSON, its files in base64."""
    inputs = {name: _encoded(path) for name, path in files.items()}
    return Request(
        name="study", body=json.dumps({"inputs": inputs}).encode(), path="/invocations", kind="application/json"
    )


def _encoded(path: Path) -> dict[str, object]:
    parts = {file.name: {"b64": base64.b64encode(file.read_bytes()).decode()} for file in (path, *companions(path))}
    return dict(parts) if len(parts) > 1 else dict(parts[path.name])
