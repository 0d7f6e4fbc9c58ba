"""Runs of `polyclinic fit` on a small cohort, for tests that start from a checkpoint."""

import json
from pathlib import Path
from typing import Any

import yaml

from polyclinic.cli import main

PROMPTS = """
version: 1
modality: report
score_rule: softmax
templates: ["{}", "Findings: {}."]
findings:
  cardiomegaly:
    positive: [cardiomegaly, the heart is enlarged]
    negative: [the heart is of normal size]
  anemia:
    positive: [anemia]
    negative: [no anemia]
"""


def write_config(cohort: Path, model: dict[str, Any], modalities: dict[str, Any], *, epochs: int = 1) -> None:
    """Write ``config.yaml`` in the working folder."""
    config = {
        "model": model,
        "data": {"batch_size": 16, "cohort": str(cohort), "modalities": modalities},
        "trainer": {
            "accelerator": "cpu", "max_epochs": epochs, "enable_progress_bar": False, "enable_model_summary": False,
            "log_every_n_steps": 1,
        },
    }  # fmt: skip
    Path("config.yaml").write_text(yaml.safe_dump(config))


def fit(*words: str) -> dict[str, Any]:
    """Fit ``config.yaml`` and return what ``--json`` wrote."""
    assert main(["fit", "-c", "config.yaml", "--json", "fit.json", *words]) == 0
    result: dict[str, Any] = json.loads(Path("fit.json").read_text())
    return result
