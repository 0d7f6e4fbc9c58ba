"""Time that the evaluation card takes after inference."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Figure

COMMAND = "python -m benchmarks card"
STUDIES = 4000
"""A quarter of them are the test split."""
_POLYCLINIC = str(Path(sys.executable).with_name("polyclinic"))


def measure() -> list[Figure]:
    """Time the complete card of 1,000 test studies: 1,000 resamples, every figure, four explained studies."""
    with tempfile.TemporaryDirectory() as folder:
        cohort, fitted, card = (str(Path(folder) / name) for name in ("cohort", "fit.json", "card"))
        _run("cohort", "phantom", cohort, "--studies", str(STUDIES))
        _run(
            "fit", "-c", "experiments/heads/fusion.yaml", "--data.cohort", f"{cohort}/cohort.yaml", "--data.prepared",
            f"{folder}/prepared", "--trainer.logger.init_args.out", f"{folder}/runs", "--trainer.max_epochs", "1",
            "--json", fitted,
        )  # fmt: skip
        checkpoint = json.loads(Path(fitted).read_text(encoding="utf-8"))["checkpoint"]
        _run("evaluate", "card", checkpoint, "--out", card)
        card_report = json.loads((Path(card) / "card.json").read_text(encoding="utf-8"))
    seconds = card_report["seconds_after_encoding"] * 1000 / card_report["data"]["studies"]
    return [Figure(name="card.seconds_1000", value=seconds, unit="s", goal=60.0, at_most=True, command=COMMAND)]


def _run(*words: str) -> None:
    subprocess.run([_POLYCLINIC, *words], check=True)
