"""A contrastive run with a frozen and an adapted encoder is exported with plain encoders that score the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli_runs import PROMPTS, fit, write_config
from polyclinic.cli import main
from polyclinic.deploy.bundle import load_bundle
from polyclinic.deploy.scoring import StudyScorer
from polyclinic.evaluation import load_prompts
from polyclinic.evaluation.scorers import ZeroShotScorer
from polyclinic.training.restore import restore

MODALITIES: dict[str, Any] = {"tabular": "Tabular", "report": "Report"}
MODEL = {
    "class_path": "ContrastivePretraining",
    "init_args": {
        "objective": "Clip", "size": "pico", "embedding": 8,
        "adapters": {
            "tabular": {"class_path": "Frozen", "init_args": {"readout": True}},
            "report": {"class_path": "polyclinic.nn.lora.Lora", "init_args": {"rank": 2}},
        },
    },
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Found .* module.* in eval mode")
def test_a_bundle_of_adapted_encoders_has_plain_ones_with_the_same_scores(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("prompts.yaml").write_text(PROMPTS)
    write_config(made / "cohort" / "cohort.yaml", MODEL, MODALITIES, epochs=2)
    checkpoint = fit("--model.init_args.lr", "0.01")["checkpoint"]
    words = [checkpoint, "--prompts", "prompts.yaml", "--out", "bundle", "--resamples", "10"]
    assert main(["bundle", "export", *words]) == 0
    assert main(["bundle", "verify", "bundle"]) == 0
    bundle = load_bundle(Path("bundle"))
    scorer = ZeroShotScorer(restore(Path(checkpoint)), load_prompts(Path("prompts.yaml")), list(bundle.query))
    studies = scorer.read("test")
    expected = scorer.scores(studies, scorer.modalities)
    found = [StudyScorer(bundle).outputs(batch.inputs, batch.present).numpy() for batch in studies.batches]
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-4)
