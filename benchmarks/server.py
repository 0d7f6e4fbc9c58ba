"""`polyclinic serve` in a separate process, as a hospital starts it."""

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
_MAX_START_SECONDS = 240.0


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running service, with the seconds from its command to the first answer of ``/readyz``."""

    address: str
    process: psutil.Process
    ready_seconds: float

    def megabytes(self) -> float:
        """Return the private memory of the service's processes in MB, without pages that they share."""
        processes = [self.process, *self.process.children(recursive=True)]
        return sum(process.memory_full_info().uss for process in processes if process.is_running()) / 1e6


@contextmanager
def serving(bundle: Path, folder: Path, *words: object) -> Iterator[Server]:
    """Start the service at a free port, and stop it by SIGTERM, which must end with exit code 0.

    Args:
        bundle: bundle to serve.
        folder: folder of the audit log and of the output of the process.
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
    deadline = time.monotonic() + _MAX_START_SECONDS
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
    raise RuntimeError(f"the service was not ready in {_MAX_START_SECONDS:g} s")


def free_port() -> int:
    """Return a free local port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
