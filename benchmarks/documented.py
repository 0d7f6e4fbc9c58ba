"""Tutorials, and examples in the help of commands, that run as they are printed."""

import sys
from pathlib import Path

from benchmarks.measure import Figure
from benchmarks.passed import ROOT, run_tests
from polyclinic.cli.commands import COMMANDS

COMMAND = "python -m benchmarks documented"
TUTORIALS, EXAMPLES = Path("tests/docs/test_tutorials.py"), Path("tests/platform/cli/test_help_examples.py")


def measure() -> list[Figure]:
    """Run every tutorial, with the notebook, and every example, slow ones included."""
    pages = sorted(path.stem for path in (ROOT / "docs" / "tutorials").glob("*.md"))
    passed = {result.name for result in run_tests([TUTORIALS, EXAMPLES], "-m", "") if result.outcome == "passed"}
    wrong = {name for name in pages if f"test_a_tutorial_runs[{name}]" not in passed}
    kinds = ("test_the_example_of_a_command_runs", "test_the_example_of_a_command_that_serves_runs")
    wrong |= {name for name in COMMANDS if not passed & {f"{kind}[{name}]" for kind in kinds}}
    if wrong:
        sys.stderr.write(f"tutorials and examples that did not run: {sorted(wrong)}\n")
    return [
        _count("docs.pages_executed", "tutorials", pages, wrong),
        _count("cli.examples_run", "commands", list(COMMANDS), wrong),
    ]


def _count(name: str, unit: str, names: list[str], wrong: set[str]) -> Figure:
    return Figure(name=name, value=len({*names} - wrong), unit=unit, goal=len(names), command=COMMAND)
