"""Commands of Polyclinic in processes that are forked from one that has imported the libraries already.

Imports take most of the time of a start. A forked process is a real one, with a process id, signals and an exit
code. A test of the start itself starts a new interpreter instead.
"""

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path

import torch

import mlflow_tables
from polyclinic.cli import main

LIBRARIES = (
    "mlflow.store.tracking.sqlalchemy_store", "polyclinic.cli.evaluate.card", "polyclinic.cli.export",
    "polyclinic.cli.fit", "polyclinic_audio", "polyclinic_ecg", "polyclinic_report", "polyclinic_tabular",
    "polyclinic_xray",
)  # fmt: skip
_CONTEXT = multiprocessing.get_context("forkserver")
_started: set[int | None] = set()
_starting = threading.Lock()


class Forked:
    """A running command, with the part of ``subprocess.Popen`` that tests use.

    Args:
        words: of the command, without ``polyclinic``; or the path of a script and its arguments.
        folder: where it runs.
        environment: all of its variables.
        out: file to append its output to.
        errors: file to append its errors to; may be the same.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        out: Path,
        errors: Path,
    ) -> None:
        preload()
        values = (list(words), str(folder), dict(environment), str(out), str(errors), mlflow_tables.template())
        self._process = _CONTEXT.Process(target=_run, args=values)
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid
        self.errors = errors

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit code.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("polyclinic", timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run_forked(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command, or a script with its arguments, in the working folder; return its exit code and output."""
    with tempfile.TemporaryDirectory() as place:
        out, errors = Path(place, "out"), Path(place, "errors")
        process = Forked(words, folder=Path.cwd(), environment=os.environ, out=out, errors=errors)
        code = process.wait()
        return subprocess.CompletedProcess(words, code, out.read_text(), errors.read_text())


def preload() -> None:
    """Replace a server that the product has started with fewer libraries."""
    with _starting:
        if forkserver._forkserver._forkserver_pid not in _started:  # type: ignore[attr-defined]
            forkserver._forkserver._stop()  # type: ignore[attr-defined]
            _CONTEXT.set_forkserver_preload(list(LIBRARIES))
            forkserver.ensure_running()
            _started.add(forkserver._forkserver._forkserver_pid)  # type: ignore[attr-defined]


def _run(
    words: list[str], folder: str, environment: dict[str, str], out: str, errors: str, tables: Path | None
) -> None:
    for number, name in ((1, out), (2, errors)):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    torch.set_num_threads(1)
    mlflow_tables.copy_from(tables)
    multiprocessing.set_start_method("fork", force=True)  # as in a new interpreter, for loader workers
    try:
        if words[0].endswith(".py"):
            sys.argv = words
            runpy.run_path(words[0], run_name="__main__")
        else:
            sys.argv = ["polyclinic", *words]
            sys.exit(main())
    finally:
        atexit._run_exitfuncs()  # multiprocessing leaves these out
