"""Steps of a demo: commands that write their output to a log file, while the terminal shows how far each one is."""

import ctypes
import logging
import multiprocessing
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import torch

from polyclinic.cli.entry import main as polyclinic
from polyclinic.system.progress import step_bars
from polyclinic.system.shell import command_line
from polyclinic.system.terminal import Console, printable

EPOCH_LINES = "--trainer.callbacks+=polyclinic.cli.demo.epochs.EpochLines"
"""Option of ``fit`` that makes it print a line for each epoch to the log, where a step finds it."""

_EPOCH = re.compile(r"^epoch (\d+)\b", re.MULTILINE)
_POLL_SECONDS = 0.2
_SHOWN_LINES = 8
_TAIL_BYTES = 4096
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # glibc's malloc.h


class Step(NamedTuple):
    """A command, and what the terminal says while it runs.

    Attributes:
        title: what the step does.
        words: words of the command line after ``polyclinic``.
        epochs: number of epochs of a training, for its bar; 0 if how far it is cannot be known.
    """

    title: str
    words: Sequence[object]
    epochs: int = 0


def run_steps(steps: Sequence[Step], folder: Path, console: Console, *, preload: Sequence[str] = ()) -> None:
    """Run commands at the same time, and return when all of them have ended.

    Each runs in a process that is forked from this one, so that the libraries are imported once.

    Args:
        steps: commands, which write ``FOLDER/logs/TITLE.log``.
        folder: output folder of the demo.
        console: where the bars are shown.
        preload: modules of later steps, imported while these ones run.

    Raises:
        ValueError: a command failed; the message ends with the last lines of its log.
    """
    logs = [folder / "logs" / f"{step.title.replace(' ', '_')}.log" for step in steps]
    with _running(steps, logs) as processes, step_bars(console) as bars:
        rows = [bars.add_task(step.title, total=step.epochs or None) for step in steps]
        for module in preload:
            import_module(module)
        while True:
            ended = [process.exitcode is not None for process in processes]
            for row, step, log, has_ended in zip(rows, steps, logs, ended, strict=True):
                if has_ended and not bars.tasks[row].finished:
                    bars.update(row, total=1, completed=1)
                elif not has_ended and step.epochs:
                    bars.update(row, completed=epochs_done(_tail(log)))
            if all(ended):
                break
            time.sleep(_POLL_SECONDS)
    for step, log, process in zip(steps, logs, processes, strict=True):
        if process.exitcode:
            last = "\n".join(_tail(log).splitlines()[-_SHOWN_LINES:])
            raise ValueError(f"`{_shown(step)}` ended with code {process.exitcode}; see {log}, which ends:\n{last}")


@contextmanager
def _running(steps: Sequence[Step], logs: Sequence[Path]) -> Iterator[list[BaseProcess]]:
    # Where libraries of the system do not survive a fork, a new interpreter imports them again.
    context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    logs[0].parent.mkdir(parents=True, exist_ok=True)
    processes: list[BaseProcess] = [
        context.Process(target=_run, args=(step, log)) for step, log in zip(steps, logs, strict=True)
    ]
    for process in processes:
        process.start()
    try:
        yield processes
    finally:
        for process in processes:
            if process.exitcode is None:
                process.terminate()
            process.join()


def _run(step: Step, log: Path) -> None:
    """Run the command of a step in this process, with its output in the log."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout = sys.stderr = os.fdopen(descriptor, "w", buffering=1)
    logging.getLogger().handlers.clear()  # that of the demo would print each line a second time
    # On two cores, a second thread slows the model and its loader, or two models, down.
    torch.set_num_threads(1)
    _keep_freed_memory()
    print(f"$ {_shown(step)}")  # noqa: T201
    code = polyclinic([str(word) for word in step.words])
    sys.stdout.flush()
    sys.exit(code)


def _keep_freed_memory() -> None:
    """Make glibc keep freed memory for the next step, because mapping its pages again takes a twentieth of a step."""
    with suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for setting, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 * 2**20)):
            mallopt(setting, value)


def epochs_done(log: str) -> int:
    """Return the number of epochs that a training has done, from the end of its log."""
    found = _EPOCH.findall(log)
    return int(found[-1]) if found else 0


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return printable(file.read().decode(errors="replace"))
    except FileNotFoundError:
        return ""


def _shown(step: Step) -> str:
    return command_line("polyclinic", *step.words)
