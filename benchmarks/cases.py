"""Number of 29 public bug reports whose tests, marked ``public_report(number)``, pass."""

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path

from benchmarks.measure import Figure

COMMAND = "python -m benchmarks cases"
REPORTS = range(1, 30)


def measure() -> list[Figure]:
    """Run the marked tests; a report counts as right when it has tests and all of them pass."""
    outcomes = _outcomes()
    wrong = [number for number in REPORTS if not outcomes[number] or not all(outcomes[number])]
    if wrong:
        sys.stderr.write(f"bug reports without tests or with failed tests: {', '.join(map(str, wrong))}\n")
    return [
        Figure(name="cases.right", value=len(REPORTS) - len(wrong), unit="reports", command=COMMAND, goal=len(REPORTS)),
        Figure(name="cases.tests", value=sum(map(len, outcomes.values())), unit="tests", command=COMMAND),
    ]


def _outcomes() -> defaultdict[int, list[bool]]:
    """Return the outcomes of the tests of each report; a skipped test counts as failed."""
    outcomes: defaultdict[int, list[bool]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-m", "public_report", f"--junitxml={report}", "-n", "2"],
            check=False,
        )
        for test in ElementTree.parse(report).getroot().iter("testcase"):
            passed = not any(test.find(kind) is not None for kind in ("failure", "error", "skipped"))
            for entry in test.iter("property"):
                if entry.get("name") == "public_report":
                    outcomes[int(entry.get("value", "0"))].append(passed)
    return outcomes
