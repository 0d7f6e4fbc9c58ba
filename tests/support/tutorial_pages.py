"""Tutorials of the documentation, run as a reader runs them: every block in order, in one folder per page.

A fenced block is one of these:

- ``sh``: commands, one a line. ``\\`` at the end of a line continues it. A variable lasts if it is exported.
- ``python``: a complete script.
- a block of any language with a title, such as ``yaml title="head.yaml"``: the content of that file.
- ``text``: output, which is not run.

``<!-- not run: REASON -->`` before a block leaves it out. It is for commands that do not end, such as a service.
A picture below ``../images`` that a page makes has the same name in its folder.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import nbformat
from jupyter_client.provisioning import LocalProvisioner
from nbclient import NotebookClient

from forked_commands import Forked

KERNEL = Path(__file__).with_name("notebook_kernel.py")
_FENCE = re.compile(r"```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?")
_NOT_RUN = re.compile(r"<!-- not run: .+ -->")
_LANGUAGES = ("sh", "python", "text")
_SECONDS_OF_A_CELL = 120


class Block(NamedTuple):
    """A fenced block of a page.

    Attributes:
        language: word after the fence.
        title: name of the file with this content; empty for a block that is run.
        text: content.
        line: number of its first line in the page.
    """

    language: str
    title: str
    text: str
    line: int


def read_blocks(page: Path) -> list[Block]:
    """Return the blocks of a page that are run or written, in order.

    Raises:
        ValueError: a block has another form, or does not end.
    """
    blocks: list[Block] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    place = 0
    while place < len(lines):
        if not lines[place].lstrip().startswith("```"):
            place += 1
            continue
        fence = _FENCE.fullmatch(lines[place])
        is_known = fence is not None and (fence["title"] or fence["language"] in _LANGUAGES)
        if fence is None or not is_known or "```" not in lines[place + 1 :]:
            raise ValueError(
                f"{page.name}, line {place + 1}: got {lines[place]!r}, expected a block of {_LANGUAGES} or with a "
                "title, without indent, up to ```"
            )
        end = lines.index("```", place + 1)
        block = Block(fence["language"], fence["title"] or "", "\n".join(lines[place + 1 : end]) + "\n", place + 2)
        if block.language != "text" and not _NOT_RUN.fullmatch(lines[place - 1]):
            blocks.append(block)
        place = end + 1
    return blocks


def run_page(page: Path, folder: Path) -> None:
    """Run the blocks of a page in an empty folder.

    Raises:
        AssertionError: a block fails; the message has the block and its output.
    """
    folder.mkdir()
    session = _Session(folder)
    for block in read_blocks(page):
        try:
            session.run(block)
        except _Failure as failure:
            raise AssertionError(
                f"{page.name}, line {block.line}: {failure.command}\nexit code {failure.code}\n\n{block.text}\n"
                f"--- output\n{failure.output}"
            ) from None


def made_pictures(page: Path, folder: Path) -> dict[str, Path]:
    """Return the pictures of a page that its blocks left in the folder, by name."""
    shown = re.findall(r"\]\(\.\./images/([\w-]+\.png)\)", page.read_text(encoding="utf-8"))
    return {name: path for name in shown if (path := folder / name).is_file()}


class _Failure(Exception):
    def __init__(self, command: str, code: int, output: str) -> None:
        super().__init__(command)
        self.command, self.code, self.output = command, code, output


class _Session:
    """The shell of a reader in one folder, with the variables that were exported."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = dict(os.environ)

    def run(self, block: Block) -> None:
        if block.title:
            (self.folder / block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            self._run_script(block.text)
        else:
            for command in block.text.replace("\\\n", " ").splitlines():
                self._run_command(command.strip())

    def _run_command(self, command: str) -> None:
        if command.startswith("export "):
            pairs = self._bash(f"{command}; env -0", command).split("\0")
            self.environment = dict(pair.split("=", 1) for pair in pairs if pair)
        elif command.startswith("polyclinic "):
            # Bash expands the words, and the command is forked from a process that has imported the libraries.
            words = self._bash(f"polyclinic() {{ printf '%s\\0' \"$@\"; }}; {command}", command).split("\0")[:-1]
            self._fork(command, words, self.environment)
        elif command and not command.startswith("#"):
            self._bash(command, command)

    def _run_script(self, text: str) -> None:
        with tempfile.TemporaryDirectory() as place:
            script = Path(place, "block.py")
            script.write_text(text, encoding="utf-8")
            # Python finds the modules beside a script that a reader runs.
            path = os.pathsep.join(filter(None, [str(self.folder), self.environment.get("PYTHONPATH", "")]))
            self._fork("python", [str(script)], {**self.environment, "PYTHONPATH": path})

    def _fork(self, command: str, words: list[str], environment: Mapping[str, str]) -> None:
        with tempfile.TemporaryDirectory() as place:
            output = Path(place, "output")
            process = Forked(words, folder=self.folder, environment=environment, out=output, errors=output)
            if code := process.wait():
                raise _Failure(command, code, output.read_text(encoding="utf-8"))

    def _bash(self, script: str, command: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise _Failure(command, done.returncode, done.stdout + done.stderr)
        return done.stdout


def run_notebook(path: Path, folder: Path) -> Any:
    """Run the cells of a notebook in a folder, and return it with their outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails; the message has the cell and its traceback.
    """
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    with tempfile.TemporaryDirectory() as place, _forked_kernels(Path(place, "output")):
        NotebookClient(notebook, timeout=_SECONDS_OF_A_CELL, kernel_name="python3", resources=resources).execute()
    return notebook


class _Kernel(Forked):
    """A forked kernel, with the streams that Jupyter closes."""

    stdin = stdout = stderr = None


@contextmanager
def _forked_kernels(output: Path) -> Iterator[None]:
    """Let Jupyter fork kernels from a process that has imported the libraries."""

    async def launch(self: LocalProvisioner, cmd: list[str], **settings: Any) -> Any:
        connection = cmd[cmd.index("-f") + 1]
        self.process = _Kernel(
            [str(KERNEL), connection],
            folder=Path(settings["cwd"]),
            environment={**settings["env"], "JPY_PARENT_PID": str(os.getpid())},
            out=output,
            errors=output,
        )
        # Without `pgid`: the kernel is in the process group of the tests, to which Jupyter would send its signals.
        self.pid = self.process.pid
        return self.connection_info

    with mock.patch.object(LocalProvisioner, "launch_kernel", launch):
        yield
