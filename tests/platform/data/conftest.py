"""A copy of a cohort that tests may change."""

import shutil
from pathlib import Path

import pytest

from polyclinic.cohort import Study, read_cohort


@pytest.fixture
def cohort(pulse_cohort: Path, tmp_path: Path) -> Path:
    """Copy the pulse cohort to a folder that the test may change."""
    shutil.copytree(pulse_cohort.parent, tmp_path / "cohort")
    return tmp_path / "cohort" / "cohort.yaml"


@pytest.fixture
def studies(cohort: Path) -> list[Study]:
    return [study for study in read_cohort(cohort).studies if "first" in study.sources]
