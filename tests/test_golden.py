"""Twenty steps of the headline recipes reproduce the recorded losses.

A change that should not affect numbers leaves these files alone; any other replaces them and explains why:
each file is the text that the failing test prints.
"""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from polyclinic.cli import main

ROOT = Path(__file__).parent.parent
STEPS = 20


@pytest.mark.parametrize("recipe", ["xray", "multimodal"])
def test_masked_losses_equal_the_recorded_ones(
    recipe: str, tmp_path: Path, phantom_cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--data.cohort", str(phantom_cohort), "--data.prepared", "null", "--data.num_workers", "0"]
    words += ["--data.batch_size", "8", "--trainer.max_epochs", "-1", "--trainer.max_steps", str(STEPS)]
    words += ["--trainer.log_every_n_steps", "1", "--trainer.limit_val_batches", "0"]
    words += ["--trainer.enable_progress_bar", "false", "--json", "fit.json"]
    assert main(["fit", "-c", str(ROOT / "experiments" / "masked" / f"{recipe}.yaml"), *words]) == 0
    result = json.loads(Path("fit.json").read_text())
    history = MlflowClient(result["tracking_uri"]).get_metric_history(result["mlflow_run_id"], "train/loss")
    losses = [metric.value for metric in history]
    assert len(losses) == STEPS
    golden = (ROOT / "tests" / "golden" / f"masked_{recipe}.txt").read_text().split()
    # Processors differ in the last bits of a product, and twenty steps of training multiply that.
    text = "\n".join(f"{loss:.6f}" for loss in losses)
    assert losses == pytest.approx([float(loss) for loss in golden], rel=1e-3), text
