"""A cohort to change, in a separate folder."""

import shutil
from pathlib import Path

import pytest

from polyclinic.cohort import Study, read_cohort


@pytest.fixture
def cohort(pulse_cohort: Path, tmp_path: Path) -> Path:
    """A copy of the pulse cohort, to change."""
    shutil.copytree(pulse_cohort.parent, tmp_path / "cohort")
    return tmp_path / "cohort" / "cohort.yaml"


@pytest.fixture
def studies(cohort: Path) -> list[Study]:
    return [study for study in read_cohort(cohort).studies if "first" in study.sources]
