"""Number of commands from the files of PTB-XL to a page that is served, counted by running those of the README."""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Figure
from benchmarks.server import serving

COMMAND = "python -m benchmarks commands"
README = Path(__file__).parents[1] / "experiments" / "real" / "README.md"


def measure() -> list[Figure]:
    """Run the commands of experiments/real/README.md in a folder with ``ptbxl500``, the last of which serves."""
    data = Path(os.environ.get("POLYCLINIC_REAL", "../shared/real")).resolve() / "ptbxl500"
    if not data.is_dir():
        raise ValueError(f"got {data}, which is not a folder; set POLYCLINIC_REAL to the folder with ptbxl500")
    commands = re.findall(r"^    polyclinic (.+)$", README.read_text(encoding="utf-8"), re.MULTILINE)
    *before, last = map(shlex.split, commands)
    if last[0] != "serve":
        raise ValueError(f"got {commands[-1]!r} as the last command of {README.name}, expected polyclinic serve")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "ptbxl500").symlink_to(data)
        checkpoint = ""
        for words in before:
            output = _run([checkpoint if word == "CHECKPOINT" else word for word in words], folder)
            if found := re.search(r"^checkpoint: (.+)$", output, re.MULTILINE):
                checkpoint = found[1]
        with serving(folder / last[1], folder, *last[2:]):
            pass
    return [Figure(name="real.commands", value=len(commands), unit="", goal=5, at_most=True, command=COMMAND)]


def _run(words: list[str], folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "polyclinic", *words], cwd=folder, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout
