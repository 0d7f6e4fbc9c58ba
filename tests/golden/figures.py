"""Record the figures that a refactoring must not change, or compare them with the recorded ones.

    python tests/golden/figures.py            # compare: exits with 1 where a figure differs
    python tests/golden/figures.py --record   # replace figures.json
    python tests/golden/figures.py --figures FILE [--record]   # another file, such as that of this machine

Recorded are the first twenty losses of every experiment, the reports of one small run of each task, an evaluation card,
and the scores of twenty studies by a bundle. On one kind of processor and with the same versions they are equal to the
last bit. On another one, rounding differs from the first loss on: record a file there before the change.
"""

import argparse
import hashlib
import json
import runpy
import sys
import tempfile
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from mlflow import MlflowClient

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT)]

from polyclinic.cli import main as polyclinic  # noqa: E402
from polyclinic.cli.demo.inputs import RECIPES  # noqa: E402
from polyclinic.cohort import default_modalities, write_phantom_cohort  # noqa: E402

FIGURES = Path(__file__).with_name("figures.json")
STEPS = 20
LONG = 1000
ROUNDING = 1e-5
"""Relative difference of first losses that processors explain."""
CHANGING = {
    *("seconds", "seconds_after_encoding", "created", "date", "mlflow_run_id", "run_id", "tracking_uri"),
    *("checkpoint", "checkpoint_sha256", "last", "bundle", "sha256", "version", "commit"),
}
"""Keys whose values differ from run to run."""
MODALITIES: dict[str, Any] = {
    "xray": {"class_path": "XRay", "init_args": {"size": 32, "patch": 8}},
    "ecg": {"class_path": "ECG", "init_args": {"rate": 50, "seconds": 4, "patch": 20}},
    "report": {"class_path": "Report", "init_args": {"vocabulary_size": 400, "max_tokens": 512}},
    "tabular": {"class_path": "Tabular"},
}
TASKS: dict[str, dict[str, Any]] = {
    "contrastive": {
        "class_path": "ContrastivePretraining",
        "init_args": {"objective": {"class_path": "Symile"}, "embedding": 16, "size": "pico"},
    },
    "masked": {"class_path": "MaskedPretraining", "init_args": {"size": "pico"}},
    "downstream": {"class_path": "Downstream", "init_args": {"size": "pico", "fusion": "ConcatenationFusion"}},
}


def command(*words: object) -> None:
    """Run a command that must succeed."""
    if code := polyclinic([str(word) for word in words]):
        sys.exit(f"polyclinic {' '.join(map(str, words))} ended with {code}")


def losses(cohorts: Path) -> Iterator[tuple[str, list[float]]]:
    """Yield the first losses of every experiment, in small batches of a small cohort."""
    experiments = runpy.run_path(str(ROOT / "tests" / "test_experiments.py"))
    for name in experiments["RUNS"]:
        with tempfile.TemporaryDirectory() as folder, chdir(folder):
            config = yaml.safe_load((ROOT / name).read_text())
            cohort = experiments["_cohort"](name, config, cohorts, Path(folder))
            words = ["--data.cohort", cohort, "--data.prepared", "null", "--data.num_workers", 0]
            words += ["--data.batch_size", 8, "--trainer.max_epochs", -1, "--trainer.max_steps", STEPS]
            words += ["--trainer.log_every_n_steps", 1, "--trainer.limit_val_batches", 0]
            words += ["--trainer.enable_progress_bar", "false", "--trainer.logger.init_args.out", "runs"]
            words += experiments["_language_model"](Path("transformer"), cohort) if "/more_paper/" in name else []
            words += experiments["_small_arrays"](config) if "symile_mimic" in name else []
            command("fit", "-c", ROOT / name, *words, "--json", "fit.json")
            result = json.loads(Path("fit.json").read_text())
            history = MlflowClient(result["tracking_uri"]).get_metric_history(result["mlflow_run_id"], "train/loss")
            yield name, [metric.value for metric in history]


def reports(cohort: Path) -> Iterator[tuple[str, Any]]:
    """Yield reports of one run of each task, of a card, and of a bundle, in the working folder."""
    prompts = RECIPES / "prompts.yaml"
    few = ["--resamples", 20]
    checkpoints = {}
    for task, model in TASKS.items():
        config = {
            "seed_everything": 0,
            "model": model,
            "data": {"batch_size": 16, "cohort": str(cohort), "modalities": MODALITIES, "num_workers": 0},
            "trainer": {"accelerator": "cpu", "max_epochs": 2, "enable_progress_bar": False},
        }
        if task == "downstream":
            config["data"]["modalities"] = {name: modality for name, modality in MODALITIES.items() if name != "report"}  # type: ignore[index]
        Path(f"{task}.yaml").write_text(yaml.safe_dump(config))
        command("fit", "-c", f"{task}.yaml", "--json", "fit.json")
        checkpoints[task] = json.loads(Path("fit.json").read_text())["last"]
    contrastive = checkpoints["contrastive"]
    for name, words in {
        "zeroshot": [contrastive, prompts, *few],
        "retrieval": [contrastive, "report", "--query", '["xray", "ecg"]', "--candidates", 3, "--k", "[1]", *few],
        "linkage": [contrastive, "xray", "ecg", *few],
        "probe": [contrastive, "ecg", *few],
        "reconstruction": [checkpoints["masked"], *few],
        "classifier": [checkpoints["downstream"], *few],
    }.items():
        command("evaluate", name, *words, "--json", "report.json")
        yield name, json.loads(Path("report.json").read_text())
    arguments = [contrastive, "--prompts", prompts]
    command("evaluate", "card", *arguments, "--out", "card", "--minimum", 4, *few)
    yield "card", json.loads(Path("card/card.json").read_text())
    command("bundle", "export", *arguments, "--out", "bundle", *few)
    command("score", "bundle", "--cohort", cohort, "--json", "scores.json")
    yield "scores", json.loads(Path("scores.json").read_text())["studies"][:20]


def lasting(value: Any, parents: tuple[str, ...]) -> Any:
    """Return a report without what differs from run to run, and without sentences, which may be reworded."""
    if isinstance(value, dict):
        return {key: lasting(entry, parents) for key, entry in value.items() if key not in CHANGING}
    if isinstance(value, list):
        return [lasting(entry, parents) for entry in value]
    is_text = isinstance(value, str) and (" " in value or any(parent in value for parent in parents))
    return None if is_text else value


def short(value: Any, depth: int = 0) -> Any:
    """Replace long entries of a report by their SHA-256."""
    if depth >= 2 and len(text := json.dumps(value, sort_keys=True)) > LONG:
        return hashlib.sha256(text.encode()).hexdigest()
    if isinstance(value, dict):
        return {key: short(entry, depth + 1) for key, entry in value.items()}
    return [short(entry, depth + 1) for entry in value] if isinstance(value, list) else value


def make_figures() -> dict[str, Any]:
    """Compute every figure, by name."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        cohort = write_phantom_cohort(
            Path(folder, "cohort"), studies=120, seed=2, modalities=default_modalities(), workers=1
        )
        results: dict[str, Any] = {"losses": dict(losses(cohort))}
        with chdir(folder):
            results["reports"] = dict(reports(cohort))
        figures: dict[str, Any] = json.loads(json.dumps(lasting(results, (folder, str(ROOT)))))
    return {"losses": figures["losses"], "reports": {name: short(entry) for name, entry in figures["reports"].items()}}


def differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Yield where two figures differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from differences(old.get(key), new.get(key), f"{path}/{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for place, (old_entry, new_entry) in enumerate(zip(old, new, strict=True)):
            yield from differences(old_entry, new_entry, f"{path}/{place}")
    elif old != new and not (old != old and new != new):
        yield f"{path}: {old!r} before, {new!r} now"


def main() -> int:
    """Record or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--figures", type=Path, default=FIGURES, help="file of the figures")
    arguments = parser.parse_args()
    figures = make_figures()
    if arguments.record:
        arguments.figures.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")
        return 0
    recorded = json.loads(arguments.figures.read_text())
    lines = list(differences(recorded, figures))
    print("\n".join(lines) or "every figure is what it was")
    if lines and _first_losses(figures) == pytest.approx(_first_losses(recorded), rel=ROUNDING):
        print(
            f"got {len(lines)} different figures, but first losses that agree to {ROUNDING}: if this is another "
            "processor than that of the record, set --figures to a file recorded here before the change"
        )
    return bool(lines)


def _first_losses(figures: dict[str, Any]) -> dict[str, float]:
    """Return the first loss of every experiment."""
    return {name: losses[0] for name, losses in figures["losses"].items()}


if __name__ == "__main__":
    sys.exit(main())
