"""`polyclinic serve` as a process of its own, as a hospital starts it."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

TOKEN = "benchmark-token-0123456789abcdef"
_PATIENCE = 240.0


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running service; ``ready_seconds`` after its command it answered ``/readyz``."""

    address: str
    process: psutil.Process
    ready_seconds: float

    def megabytes(self) -> float:
        """Memory that its processes have for themselves; what they share is there once, and other programs share it."""
        processes = [self.process, *self.process.children(recursive=True)]
        return sum(one.memory_full_info().uss for one in processes if one.is_running()) / 1e6


@contextmanager
def serving(bundle: Path, folder: Path, *words: object) -> Iterator[Server]:
    """Start it at a free port, and stop it by SIGTERM, which must end with exit code 0.

    Args:
        bundle: to serve.
        folder: for the audit log and what the process prints.
        words: further options.
    """
    port = free_port()
    command = [sys.executable, "-m", "polyclinic.cli", "serve", str(bundle), "--port", str(port)]
    command += ["--audit", str(folder / "audit.jsonl"), *map(str, words)]
    started = time.perf_counter()
    with (folder / "serve.log").open("w") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "POLYCLINIC_TOKEN": TOKEN})
    try:
        _wait(running, port)
        yield Server(
            address=f"http://127.0.0.1:{port}",
            process=psutil.Process(running.pid),
            ready_seconds=time.perf_counter() - started,
        )
    finally:
        running.send_signal(signal.SIGTERM)
        code = running.wait(timeout=120)
    assert code == 0, f"the service ended with {code}; see {folder / 'serve.log'}"


def _wait(running: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if running.poll() is not None:
            raise RuntimeError(f"the service ended with {running.returncode} before it was ready")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.02)
    raise RuntimeError(f"the service was not ready in {_PATIENCE:g} s")


def free_port() -> int:
    """One that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port
