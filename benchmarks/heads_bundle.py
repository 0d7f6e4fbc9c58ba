"""Scores of a trained head from its bundle against the predictions of `polyclinic evaluate classifier`."""

import json
import tempfile
from contextlib import chdir
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from benchmarks.measure import Figure
from polyclinic.cli import main as polyclinic
from polyclinic.cohort import default_modalities, write_phantom_cohort
from polyclinic.deploy.bundle import load_bundle
from polyclinic.deploy.scoring import StudyScorer
from polyclinic.evaluation.embedding import split_batches
from polyclinic.evaluation.supervised import predict_split
from polyclinic.models.supervised import SupervisedModel
from polyclinic.training.restore import restore

COMMAND = "python -m benchmarks heads_bundle"
MAX_GAP = 1e-5
"""A bundle computes in float64 and a checkpoint in float32, whose rounding of 6e-8 grows tenfold through a network."""

STUDIES, MODALITIES = 200, ("ecg", "tabular")
LABELS = {
    "anemia": {"column": "anemia"},
    "site": {"column": "site", "classes": ["north", "south"]},
    "age": {"column": "age_band", "levels": ["under 50", "50 to 69", "70 and over"]},
    "hemoglobin": {"column": "hemoglobin", "unit": "g/dL"},
}


def measure() -> list[Figure]:
    """Train a small head on labels of every kind, export it, and score its test studies both ways."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        checkpoint = _checkpoint()
        _run("bundle", "export", checkpoint, "--out", "bundle", "--resamples", "10")
        gap = largest_gap(checkpoint, Path("bundle"))
    return [Figure(name="heads.bundle_gap", value=gap, unit="", goal=MAX_GAP, at_most=True, command=COMMAND)]


def largest_gap(checkpoint: Path, folder: Path) -> float:
    """Return the largest difference on the test split; quantities are in standard deviations of training."""
    restored, bundle = restore(checkpoint), load_bundle(folder)
    predicted = predict_split(restored, "test", bundle.query).outputs.double().numpy()
    model, scorer = bundle.model, StudyScorer(bundle)
    scales = {label.name: label.scale for label in bundle.estimated}
    names = [*bundle.findings, *scales]
    assert isinstance(model, SupervisedModel)
    places = [model.targets.columns.index(name) for name in names]
    batches = split_batches(restored, "test")
    scored = np.concatenate([scorer.outputs(batch.inputs, batch.present).numpy() for batch in batches])
    return float((np.abs(scored - predicted[:, places]) / [scales.get(name, 1.0) for name in names]).max())


def _checkpoint() -> Path:
    plugins = {name: plugin for name, plugin in default_modalities().items() if name in MODALITIES}
    cohort = write_phantom_cohort(Path("cohort"), studies=STUDIES, seed=0, modalities=plugins)
    table = pd.read_csv(cohort.with_name("cohort.csv"))
    table["hemoglobin"] = 14 - 5 * table["anemia"] + np.random.default_rng(0).normal(size=len(table))
    table.to_csv(cohort.with_name("cohort.csv"), index=False)
    spec = yaml.safe_load(cohort.read_text(encoding="utf-8"))
    cohort.write_text(yaml.safe_dump(spec | {"labels": LABELS}), encoding="utf-8")
    config = {
        "model": {"class_path": "Downstream", "init_args": {"size": "pico"}},
        "data": {
            "cohort": str(cohort),
            "modalities": {name: {"class_path": type(plugins[name]).__name__} for name in plugins},
        },
        "trainer": {"accelerator": "cpu", "max_epochs": 4, "enable_progress_bar": False},
    }
    Path("config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    _run("fit", "-c", "config.yaml", "--json", "fit.json")
    return Path(json.loads(Path("fit.json").read_text(encoding="utf-8"))["checkpoint"])


def _run(*words: object) -> None:
    if polyclinic([str(word) for word in words]):
        raise RuntimeError(f"polyclinic {words[0]} failed; see above")
