"""Number of installed plugins that pass every test of the conformance suite."""

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path

from benchmarks.measure import Figure
from polyclinic.modality import installed_modalities

COMMAND = "python -m benchmarks conformance"
TESTS = Path(__file__).parents[1] / "tests" / "modalities"


def measure() -> list[Figure]:
    """Run the conformance tests of the plugins of this repository; one that a plugin has no part for may be skipped."""
    names = sorted(installed_modalities())
    failed = _failed_tests(names)
    if wrong := {name: count for name, count in failed.items() if count}:
        sys.stderr.write(f"plugins with failed conformance tests, or without any that passed: {wrong}\n")
    right = sum(not failed[name] for name in names)
    return [Figure(name="plugins.conformance", value=right, unit="plugins", goal=len(names), command=COMMAND)]


def _failed_tests(names: list[str]) -> dict[str, int]:
    """Return the number of failed tests of each plugin; 1 where no test passed."""
    passed: defaultdict[str, int] = defaultdict(int)
    failed: defaultdict[str, int] = defaultdict(int)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        files = [TESTS / name / f"test_{name}_conformance.py" for name in names]
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-n", "2", f"--junitxml={report}", *filter(Path.is_file, files)],
            check=False,
        )
        for test in ElementTree.parse(report).getroot().iter("testcase"):
            name = test.get("classname", "").split(".")[2]
            passed[name] += not any(test.find(kind) is not None for kind in ("failure", "error", "skipped"))
            failed[name] += any(test.find(kind) is not None for kind in ("failure", "error"))
    return {name: failed[name] or int(not passed[name]) for name in names}
