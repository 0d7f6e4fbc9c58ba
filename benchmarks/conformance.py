"""Number of installed plugins that pass every test of the conformance suite."""

import sys

from benchmarks.measure import Figure
from benchmarks.passed import ROOT, run_tests
from polyclinic.modality import installed_modalities

COMMAND = "python -m benchmarks conformance"


def measure() -> list[Figure]:
    """Run the conformance tests of the plugins of this repository; one that a plugin has no part for may be skipped."""
    names = sorted(installed_modalities())
    files = [ROOT / "tests" / "modalities" / name / f"test_{name}_conformance.py" for name in names]
    results = run_tests([file for file in files if file.is_file()])
    outcomes = {name: {result.outcome for result in results if result.module.split(".")[2] == name} for name in names}
    right = [name for name, found in outcomes.items() if "passed" in found and "failed" not in found]
    if wrong := sorted({*names} - {*right}):
        sys.stderr.write(f"plugins with failed conformance tests, or without any that passed: {wrong}\n")
    return [Figure(name="plugins.conformance", value=len(right), unit="plugins", goal=len(names), command=COMMAND)]
