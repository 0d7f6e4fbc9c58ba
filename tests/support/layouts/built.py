"""Results of ``polyclinic cohort build`` for tests."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from polyclinic.cli import main
from polyclinic.cohort import Cohort, read_cohort


class Result(NamedTuple):
    cohort: Cohort
    table: pd.DataFrame
    report: dict[str, Any]

    def excluded(self) -> dict[str, int]:
        return {
            event["reason"]: event["rows"]
            for arm in self.report["flow"]
            for event in arm["events"]
            if event["kind"] == "excluded"
        }


def build(name: str, root: Path, out: Path, *options: str) -> Result:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert main(["cohort", "build", name, "--root", str(root), "--out", str(out), *options]) == 0
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    report = json.loads((out / "build-report.json").read_text())
    table = pd.read_parquet(out / "cohort.parquet").set_index("study_id")
    return Result(read_cohort(out / "cohort.yaml"), table, report)
