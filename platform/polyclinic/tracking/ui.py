"""MLflow's UI as a process of this machine: is there one at a port, start one, stop it."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from typing import IO

from polyclinic.tracking.uri import without_password

HOST = "127.0.0.1"
_TIMEOUT = 10
_STOP_SECONDS = 5
_MAX_LOG_CHARACTERS = 300


class LocalUI:
    """A UI that shows one store to this machine.

    ``MLFLOW_STATIC_PREFIX``, the path behind which a proxy shows the UI, is part of its address.

    Args:
        uri: tracking address of the store.
        port: port on which the UI listens.

    Raises:
        ValueError: the port is out of range.
    """

    def __init__(self, uri: str, port: int) -> None:
        if not 0 < port < 1 << 16:
            raise ValueError(f"got port {port}, expected 1 to 65535; set `--port`")
        self._uri, self._port = uri, port
        self._prefix = os.environ.get("MLFLOW_STATIC_PREFIX", "").rstrip("/")
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @property
    def address(self) -> str:
        """Address of the UI, without a slash at its end."""
        return f"http://{HOST}:{self._port}{self._prefix}"

    def shows(self, run_id: str) -> bool:
        """Return whether a UI answers at the port and shows the store of a run; False if nothing answers.

        Raises:
            ValueError: another program, or the UI of another store, answers there.
        """
        status = self._status(f"/ajax-api/2.0/mlflow/runs/get?run_id={run_id}")
        if status not in (None, 200):
            raise ValueError(
                f"got port {self._port}, where another program or the UI of another store answers, expected a free "
                "one; set `--port`"
            )
        return status == 200

    @contextmanager
    def started(self) -> Iterator[None]:
        """Start the UI, and stop it and its processes at the end."""
        # The address may hold a password, which the list of processes would show. Uvicorn would import from the
        # working folder first. The job queue would be three more processes, and is for language models.
        settings = {
            "MLFLOW_BACKEND_STORE_URI": self._uri,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "UVICORN_APP_DIR": "/",
        }
        words = [sys.executable, "-P", "-m", "mlflow", "ui"]
        words += ["--host", HOST, "--port", str(self._port), "--workers", "1"]
        with tempfile.TemporaryFile() as log:
            self._log = log
            self._process = subprocess.Popen(
                words, env={**os.environ, **settings}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
            try:
                yield
            finally:
                _stop(self._process)

    def is_ready(self) -> bool:
        """Return whether the UI answers."""
        return self._status("/health") == 200

    def refuse_end(self) -> None:
        """Raise an error if the started UI has ended.

        Raises:
            ValueError: it has; the message has the last line of its log.
        """
        assert self._process is not None
        assert self._log is not None
        if self._process.poll() is not None:
            self._log.seek(0)
            lines = self._log.read().decode(errors="replace").strip().splitlines() or ["no message"]
            cause = without_password(lines[-1])[:_MAX_LOG_CHARACTERS]
            raise ValueError(f"the MLflow UI has ended ({cause}); set `--port`, or see `polyclinic doctor`")

    def _status(self, path: str) -> int | None:
        """Return the HTTP status of a path; None if nothing listens at the port, 0 if what listens is not HTTP."""
        connection = HTTPConnection(HOST, self._port, timeout=_TIMEOUT)
        try:
            connection.request("GET", f"{self._prefix}{path}")
            return connection.getresponse().status
        except ConnectionRefusedError:
            return None
        except (OSError, HTTPException):
            return 0
        finally:
            connection.close()


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End the UI with the processes that it has started, which are in one group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < deadline:
            process.poll()  # collects the process, so that its group can vanish
            os.killpg(process.pid, 0)
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
