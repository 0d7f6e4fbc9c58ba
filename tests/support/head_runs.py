"""A cohort with labels of every kind, and a head that learns them, for tests of bundles."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from polyclinic.cohort import default_modalities, write_phantom_cohort

HEAD_MODALITIES: dict[str, Any] = {
    "tabular": {"class_path": "Tabular"},
    "ecg": {"class_path": "ECG", "init_args": {"rate": 50, "seconds": 4, "patch": 20, "noise": 0.0}},
}
HEAD: dict[str, Any] = {"class_path": "Downstream", "init_args": {"size": "pico", "lr": 4e-3}}
LABELS: dict[str, Any] = {
    "anemia": {"column": "anemia"},
    "rhythm": {"column": "rhythm", "classes": ["sinus", "AF", "paced"]},
    "age": {"column": "age_band", "levels": ["under 50", "50 to 69", "70 and over"]},
    "hemoglobin": {"column": "hemoglobin", "unit": "g/dL"},
}


def write_labelled_cohort(folder: Path, labels: dict[str, Any] = LABELS, *, studies: int = 160) -> Path:
    """Write a phantom of two modalities with a finding, a class, a level and a quantity, some of them unknown."""
    plugins = {name: plugin for name, plugin in default_modalities().items() if name in HEAD_MODALITIES}
    cohort = write_phantom_cohort(folder, studies=studies, seed=3, modalities=plugins, workers=1)
    table = pd.read_csv(cohort.with_name("cohort.csv"), dtype=str, keep_default_na=False)
    rng = np.random.default_rng(0)
    fibrillates = table["atrial_fibrillation"] == "1"
    table["rhythm"] = np.where(fibrillates, "AF", np.where(rng.random(len(table)) < 0.2, "paced", "sinus"))
    values = 140 - 50 * table["anemia"].astype(float) + 4 * rng.normal(size=len(table))
    table["hemoglobin"] = [f"{value / 10:.2f}" for value in values]
    table.loc[::9, "hemoglobin"] = ""
    table.loc[::11, "rhythm"] = ""
    table.to_csv(cohort.with_name("cohort.csv"), index=False)
    spec = yaml.safe_load(cohort.read_text())
    cohort.write_text(yaml.safe_dump(spec | {"labels": labels}, sort_keys=False))
    return cohort
