"""AUROC and size of the demo's bundle with float32, bfloat16 and int8 weights, on its test studies."""

import tempfile
from pathlib import Path

import torch

from benchmarks.demo_bundle import PROMPTS, demo_checkpoint, exported
from benchmarks.measure import Figure
from polyclinic.deploy.bundle import load_bundle
from polyclinic.deploy.scoring import StudyScorer
from polyclinic.evaluation import auroc_per_column, load_prompts, macro_mean
from polyclinic.evaluation.scorers import ZeroShotScorer
from polyclinic.training.restore import restore

COMMAND = "python -m benchmarks quantised"
MAX_AUROC_LOSS = 0.005


def measure() -> list[Figure]:
    """Measure the macro AUROC and the bytes of each bundle."""
    test = ZeroShotScorer(restore(demo_checkpoint()), load_prompts(PROMPTS)).read("test")
    aurocs, sizes = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for weights in ("float32", "bfloat16", "int8"):
            out = exported(Path(folder) / weights, "--dtype", weights, "--resamples", 10)
            scorer = StudyScorer(load_bundle(out))
            scores = torch.cat([scorer.log_odds(batch.inputs, batch.present) for batch in test.batches])
            aurocs[weights] = macro_mean(auroc_per_column(scores.numpy(), test.outcomes)).mean
            sizes[weights] = (out / "model.safetensors").stat().st_size
    lost = {weights: aurocs["float32"] - value for weights, value in aurocs.items()}
    return [
        Figure(
            name="serve.quantised_auroc_loss", value=max(lost["int8"], lost["bfloat16"]), unit="AUROC",
            goal=MAX_AUROC_LOSS, at_most=True, command=COMMAND,
        ),
        *(
            Figure(name=f"serve.{weights}_size_share", value=sizes[weights] / sizes["float32"], unit="share",
                   command=COMMAND)
            for weights in ("bfloat16", "int8")
        ),
    ]  # fmt: skip
