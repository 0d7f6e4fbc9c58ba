"""Outcomes of tests that a benchmark counts."""

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

Outcome = Literal["passed", "failed", "skipped"]
ROOT = Path(__file__).parents[1]


class Result(NamedTuple):
    """Module of a test from ``tests`` on, its name with the parameters in brackets, and its outcome."""

    module: str
    name: str
    outcome: Outcome


def run_tests(files: Sequence[Path], *options: str) -> list[Result]:
    """Run the tests of files in two processes, and return the result of each; an error counts as failed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        words = ["-q", "-n", "2", "--dist", "worksteal", f"--junitxml={report}", *options, *map(str, files)]
        subprocess.run([sys.executable, "-m", "pytest", *words], cwd=ROOT, check=False)
        tests = ElementTree.parse(report).getroot().iter("testcase")
        return [Result(test.get("classname", ""), test.get("name", ""), _outcome(test)) for test in tests]


def _outcome(test: ElementTree.Element) -> Outcome:
    if test.find("failure") is not None or test.find("error") is not None:
        return "failed"
    return "passed" if test.find("skipped") is None else "skipped"
