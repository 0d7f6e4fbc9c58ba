"""A small cohort, a run on it and its bundle, which are made once."""

from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from cli_runs import PROMPTS, fit, write_config
from head_runs import HEAD, HEAD_MODALITIES, write_labelled_cohort
from polyclinic.cli import main
from polyclinic.cohort import default_modalities, write_phantom_cohort

MODALITIES: dict[str, Any] = {
    "xray": {"class_path": "XRay", "init_args": {"size": 32, "patch": 8, "rotation": 0.0, "zoom": 0.0, "shift": 0.0}},
    "ecg": {"class_path": "ECG", "init_args": {"rate": 50, "seconds": 4, "patch": 20, "noise": 0.0}},
    "report": {"class_path": "Report", "init_args": {"vocabulary_size": 400, "max_tokens": 512}},
    "tabular": {"class_path": "Tabular"},
}
MODEL = {
    "class_path": "ContrastivePretraining",
    "init_args": {
        "objective": {
            "class_path": "ReliabilityGate",
            "init_args": {
                "objective": {"class_path": "Symile", "init_args": {"negatives": "shuffled", "initial_scale": 20.0}},
                "modalities": ["xray", "ecg"],
                "embedding": 16,
            },
        },
        "encoders": {"report": {"class_path": "polyclinic_report.NgramEncoder", "init_args": {"width": 32}}},
        "embedding": 16,
        "size": "pico",
        "random_subsets": 2,
        "hub": "report",
        "lr": 4e-3,
    },
}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Make a folder with ``cohort/``, ``prompts.yaml``, ``run.ckpt`` and ``bundle/`` for all test processes."""
    root = tmp_path_factory.getbasetemp()
    folder = (root if worker_id == "master" else root.parent) / "deploy"
    with FileLock(f"{folder}.lock"):
        if not (folder / "bundle").exists():
            _make(folder)
    return folder


def _make(folder: Path) -> None:
    plugins = {name: plugin for name, plugin in default_modalities().items() if name in MODALITIES}
    cohort = write_phantom_cohort(folder / "cohort", studies=160, seed=3, modalities=plugins, workers=1)
    with chdir(folder):
        Path("prompts.yaml").write_text(PROMPTS)
        write_config(cohort, MODEL, MODALITIES, epochs=6)
        Path(fit("--data.augment", "false")["checkpoint"]).rename("run.ckpt")
        words = ["run.ckpt", "--prompts", "prompts.yaml", "--out", "bundle", "--resamples", "40"]
        assert main(["bundle", "export", *words]) == 0


@pytest.fixture(scope="session")
def head_made(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Make a folder with ``cohort/``, ``run.ckpt`` and ``bundle/`` of a trained head with labels of every kind."""
    root = tmp_path_factory.getbasetemp()
    folder = (root if worker_id == "master" else root.parent) / "head"
    with FileLock(f"{folder}.lock"):
        if not (folder / "bundle").exists():
            cohort = write_labelled_cohort(folder / "cohort")
            with chdir(folder):
                write_config(cohort, HEAD, HEAD_MODALITIES, epochs=8)
                Path(fit("--data.augment", "false")["checkpoint"]).rename("run.ckpt")
                words = ["run.ckpt", "--out", "bundle", "--resamples", "40"]
                assert main(["bundle", "export", *words]) == 0
    return folder


@pytest.fixture(scope="session")
def bundle_folder(made: Path) -> Path:
    """Return the folder of the bundle."""
    return made / "bundle"


@pytest.fixture(scope="session")
def study_files(made: Path) -> dict[str, Path]:
    """Return the files of one study of the test split that has every modality."""
    cohort = made / "cohort"
    rows = [line.split(",") for line in (cohort / "cohort.csv").read_text().splitlines()]
    place = {name: rows[0].index(name) for name in ("split", *MODALITIES)}
    row = next(row for row in rows[1:] if row[place["split"]] == "test" and all(row[at] for at in place.values()))
    return {name: cohort / row[place[name]] for name in MODALITIES}
