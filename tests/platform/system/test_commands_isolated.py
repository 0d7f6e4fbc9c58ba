"""Real work from a hostile working folder, and from within a hostile bundle: nothing of them is imported."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hostile_modules import STARTING, plant, ran

SCRIPT = [str(Path(sys.executable).with_name("polyclinic"))]
MODULE = [sys.executable, "-m", "polyclinic.cli"]


def _run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, env=environment | {"OMP_NUM_THREADS": "1"})


@pytest.fixture
def hostile_bundle(bundle_folder: Path, tmp_path: Path) -> Path:
    """Copy the bundle and add modules that its checksum file lists."""
    folder = tmp_path / "bundle"
    shutil.copytree(bundle_folder, folder)
    plant(folder)
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(folder.glob("*.py"))]
    with (folder / "SHA256SUMS").open("a") as sums:
        sums.writelines(lines)
    return folder


def test_a_bundle_is_checked_from_within_it_without_importing(hostile_bundle: Path) -> None:
    process = _run([*SCRIPT, "bundle", "verify", "."], hostile_bundle)
    assert process.returncode in (0, 1)
    assert "Traceback" not in process.stderr
    assert ran(hostile_bundle) == []


@pytest.mark.slow
@pytest.mark.parametrize("way", [SCRIPT, MODULE], ids=["script", "module"])
@pytest.mark.parametrize("command", ["score", "verify", "check", "fit", "deidentify"])
def test_work_from_a_hostile_folder_imports_nothing_of_it(
    way: list[str], command: str, made: Path, bundle_folder: Path, study_files: dict[str, Path], tmp_path: Path
) -> None:
    work, key = tmp_path / "work", tmp_path / "key"
    plant(work, without=STARTING if way is MODULE else ())
    key.write_text("0123456789abcdef" * 2)
    key.chmod(0o600)
    cohort = str(made / "cohort" / "cohort.yaml")
    model = ["--model", "Downstream", "--model.init_args.size", "pico", "--data.modalities.tabular", "Tabular"]
    words = {
        "score": ["score", str(bundle_folder), "--tabular", str(study_files["tabular"])],
        "verify": ["bundle", "verify", str(bundle_folder)],
        "check": ["cohort", "check", cohort, "--workers", "1"],
        "fit": ["fit", *model, "--data.cohort", cohort, "--trainer.max_steps", "1", "--data.num_workers", "1"],
        "deidentify": ["deidentify", cohort, "out", "--key", str(key), "--workers", "1", "--keep-suspects"],
    }[command]
    process = _run([*way, *words], work)
    assert process.returncode == 0, process.stderr
    assert ran(work) == []
