"""`import polyclinic` offers what a notebook needs, and loads nothing before it is used."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import polyclinic
from polyclinic.cohort import default_modalities, write_phantom_cohort

ROOT = Path(__file__).parents[2]
RELEASE = ROOT / "tests" / "golden" / "release_0_2"


def test_every_public_name_is_importable_and_documented() -> None:
    reference = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", reference, re.MULTILINE)) == set(polyclinic.__all__)
    assert all(getattr(polyclinic, name).__doc__ for name in polyclinic.__all__)
    assert set(polyclinic.__all__) <= set(dir(polyclinic))
    with pytest.raises(AttributeError, match="has no attribute 'read_cohrt'; it offers read_cohort"):
        polyclinic.read_cohrt  # noqa: B018


def test_the_import_loads_no_heavy_libraries() -> None:
    code = "import sys, polyclinic; print(sorted({'torch', 'numpy', 'lightning', 'mlflow'} & set(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"


def test_commands_that_do_not_train_load_nothing_that_does() -> None:
    commands = ("audit", "bundle", "cohort", "deidentify", "doctor", "register", "score", "serve", "tracking")
    imports = "; ".join(f"import polyclinic.cli.{command}" for command in commands)
    loaded = "sorted({'lightning', 'torchmetrics', 'sklearn', 'monai'} & set(sys.modules))"
    code = f"import sys; {imports}; print({loaded})"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"


def test_paths_of_checkpoints_and_bundles_may_be_strings(pulse_cohort: Path, tmp_path: Path) -> None:
    assert polyclinic.read_cohort(str(pulse_cohort)).studies
    modalities = {name: plugin for name, plugin in default_modalities().items() if name in ("report", "tabular")}
    cohort = write_phantom_cohort(tmp_path / "cohort", studies=160, seed=3, modalities=modalities, workers=1)
    model = polyclinic.load_checkpoint(str(RELEASE / "run.ckpt"), cohort=str(cohort))
    arrays, table = model.embeddings("test"), model.frame("test")
    studies = [study for study in polyclinic.read_cohort(cohort).studies if study.split == "test"]
    assert arrays.keys() == {"report", "tabular"}
    for name, rows in arrays.items():
        available = np.array([name in study.sources for study in studies])
        assert rows.shape == (len(studies), 8)
        assert (np.isnan(rows).all(axis=1) == ~available).all()
        assert list(table.loc[name].index) == [study.study_id for study in studies if name in study.sources]
    bundle = polyclinic.load_bundle(str(RELEASE / "bundle"))
    file = next(str(study.sources["tabular"]) for study in studies if "tabular" in study.sources)
    assert [finding.name for finding in polyclinic.score(bundle, {"tabular": file}).findings] == bundle.findings
