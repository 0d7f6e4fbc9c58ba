"""Heads on the phantom cohort: fusion against single modalities, modalities missing not at random, and LoRA.

Every step is a command that a user could type; this file runs them in order and gathers their reports.
Results that exist are reused.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from rich.console import Console
from rich.table import Table

# The experiments are not installed; this finds `experiments.runner` from any working folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.runner import evaluate, fit, phantom_cohort, phantom_parser, write_report

from polyclinic.system.shell import print_next
from polyclinic.training.restore import restore

HERE = Path(__file__).parent
MODALITIES = ("xray", "ecg", "audio", "tabular")
FUSIONS: dict[str, dict[str, Any]] = {
    "concatenation": {"class_path": "ConcatenationFusion"},
    "attention": {"class_path": "AttentionFusion"},
    "stand_in": {"class_path": "PromptPoolFusion"},
    "sequential": {"class_path": "SequentialFusion", "init_args": {"shuffled": True}},
}
SHIFTED = {
    "xray": "pulmonary_edema",
    "ecg": "atrial_fibrillation",
    "audio": "airway_obstruction",
    "tabular": "renal_impairment",
}
"""Finding by which each modality goes missing: it is ordered where the finding is suspected."""
MISSING_IF_PRESENT, MISSING_IF_ABSENT = 0.1, 0.7
SHIFT_EPOCHS = 25
"""Most studies of the shifted cohorts lack most modalities, so that findings of one modality are learned late."""


def main() -> int:
    """Run everything and write ``report.json``."""
    parser = phantom_parser(__doc__, out="runs/heads")
    parser.add_argument("--split", default="test", help="evaluated split; val while choosing settings")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    runs = Runs(arguments.out, arguments.seed, arguments.split)
    cohort = phantom_cohort(runs.out, studies=arguments.studies, seed=arguments.seed)
    report = {"fusion": fusion(runs, cohort), "shift": shift(runs, cohort), "tuning": tuning(runs, cohort)}
    report["figures"] = figures(report)
    path = write_report(report, runs.out)
    show(report, Console())
    print(f"report: {path}")
    print_next("polyclinic", "runs", "--out", runs.out / "runs")
    return 0


class Runs:
    """Fits and evaluations in one folder; results that exist are reused."""

    def __init__(self, out: Path, seed: int, split: str) -> None:
        self.out, self.seed, self.split = out, seed, split

    def fit(self, name: str, config: Path, cohort: Path, *words: object) -> Path:
        """Train one recipe and return its checkpoint."""
        fitted = fit(
            config, cohort, self.out / f"{name}.json", "--data.prepared", self.out / "prepared",
            "--trainer.logger.init_args.run_name", name, *words,
            logs=self.out / "runs", seed=self.seed, reuse=True,
        )  # fmt: skip
        return Path(fitted["checkpoint"])

    def evaluate(self, name: str, checkpoint: Path, cohort: Path) -> dict[str, Any]:
        """Return the report of ``evaluate classifier`` on the chosen split."""
        result = self.out / "reports" / f"{name}-{self.split}.json"
        words = ("--cohort", cohort, "--split", self.split)
        return evaluate(result, "classifier", checkpoint, *words, reuse=True)


def fusion(runs: Runs, cohort: Path) -> dict[str, Any]:
    """Return the results of each modality alone and of every fusion, under the same budget."""
    reports = {}
    for name in MODALITIES:
        config = write_single(runs.out / "configs" / f"{name}.yaml", name)
        reports[name] = runs.evaluate(name, runs.fit(name, config, cohort), cohort)
    for name, fused in FUSIONS.items():
        checkpoint = runs.fit(name, HERE / "fusion.yaml", cohort, "--model.init_args.fusion", json.dumps(fused))
        reports[name] = runs.evaluate(name, checkpoint, cohort)
    return {name: summary(report) for name, report in reports.items()}


def shift(runs: Runs, cohort: Path) -> dict[str, Any]:
    """Train where missing modalities depend on findings; test under the same dependence and under the reverse."""
    same, reversed_ = (
        write_missing(cohort, f"{name}.yaml", runs.seed, reverse=reverse)
        for name, reverse in (("ordered", False), ("reversed", True))
    )
    results = {}
    for name in ("concatenation", "sequential"):
        words = ("--model.init_args.fusion", json.dumps(FUSIONS[name]), "--trainer.max_epochs", SHIFT_EPOCHS)
        checkpoint = runs.fit(f"ordered_{name}", HERE / "fusion.yaml", same, *words)
        before, after = (
            shifted_auroc(runs.evaluate(f"{missingness}_{name}", checkpoint, path))
            for missingness, path in (("ordered", same), ("reversed", reversed_))
        )
        results[name] = {"as trained": before, "reversed": after, "lost": before - after}
    return results


def tuning(runs: Runs, cohort: Path) -> dict[str, Any]:
    """Return the results of full fine-tuning, LoRA and frozen encoders, from the same pretrained encoders."""
    start = ("--weights", runs.fit("pretrain", HERE / "pretrain.yaml", cohort))
    ways: dict[str, tuple[object, ...]] = {
        "full": ("--model.init_args.adapter", "null", "--model.init_args.lr", "4e-3"),
        "lora": (),
        "frozen": ("--model.init_args.adapter", "Frozen"),
    }
    results = {}
    for name, words in ways.items():
        checkpoint = runs.fit(name, HERE / "lora.yaml", cohort, *start, *words)
        parameters = restore(checkpoint).task.parameters()
        trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
        results[name] = {**summary(runs.evaluate(name, checkpoint, cohort)), "trained_parameters": trained}
    return results


def figures(report: dict[str, Any]) -> dict[str, float]:
    """Return the headline metrics of the experiment."""
    auroc = {name: result["macro_auroc"] for name, result in report["fusion"].items()}
    tuned = report["tuning"]
    return {
        "fusion.gain_over_best_single": auroc["concatenation"] - max(auroc[name] for name in MODALITIES),
        "fusion.mnar_advantage_sequential": report["shift"]["concatenation"]["lost"]
        - report["shift"]["sequential"]["lost"],
        "lora.gap_to_full": tuned["full"]["macro_auroc"] - tuned["lora"]["macro_auroc"],
        "lora.trained_share": tuned["lora"]["trained_parameters"] / tuned["full"]["trained_parameters"],
    }


def write_single(path: Path, modality: str) -> Path:
    """Write ``fusion.yaml`` with a single modality and return its path."""
    config = yaml.safe_load((HERE / "fusion.yaml").read_text(encoding="utf-8"))
    config["data"]["modalities"] = {modality: config["data"]["modalities"][modality]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def write_missing(cohort: Path, name: str, seed: int, *, reverse: bool) -> Path:
    """Write a cohort whose modalities go missing by a finding, and return the path of its ``cohort.yaml``.

    Every study keeps at least one modality.

    Args:
        cohort: ``cohort.yaml`` of the complete cohort.
        name: file name of the new ``cohort.yaml``, in the same folder.
        seed: random seed.
        reverse: whether the dependence on the finding is reversed in the val and test splits.
    """
    path = cohort.with_name(name)
    spec = yaml.safe_load(cohort.read_text(encoding="utf-8"))
    table = pd.read_csv(cohort.with_name(spec["table"]), dtype=str, keep_default_na=False)
    rng = np.random.default_rng([seed, 1])
    for modality, finding in SHIFTED.items():
        suspected = (table[finding] == "1") ^ (reverse & (table["split"] != "train"))
        chance = np.where(suspected, MISSING_IF_PRESENT, MISSING_IF_ABSENT)
        has_other = (table[[column for column in MODALITIES if column != modality]] != "").any(axis=1)
        table.loc[(rng.random(len(table)) < chance) & has_other, modality] = ""
    spec["table"] = f"{path.stem}.csv"
    table.to_csv(path.with_name(spec["table"]), index=False)
    path.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    return path


def shifted_auroc(report: dict[str, Any]) -> float:
    """Return the mean AUROC of the findings on which missing modalities depend."""
    auroc = {entry["name"]: entry["auroc"] for entry in report["findings"]}
    return float(np.mean([auroc[finding] for finding in SHIFTED.values()]))


def summary(report: dict[str, Any]) -> dict[str, Any]:
    """Return the macro AUROC, its interval, and the AUROC of each finding."""
    return {
        "macro_auroc": report["macro_auroc"],
        "macro_ci95": report["macro_ci95"],
        "findings": {entry["name"]: entry["auroc"] for entry in report["findings"]},
    }


def show(report: dict[str, Any], console: Console) -> None:
    """Print the results as tables."""
    table = Table("head", "macro AUROC", "trained parameters")
    for part in ("fusion", "tuning"):
        for name, result in report[part].items():
            low, high = result["macro_ci95"]["low"], result["macro_ci95"]["high"]
            trained = f"{result['trained_parameters']:,}" if "trained_parameters" in result else ""
            table.add_row(name, f"{result['macro_auroc']:.3f} ({low:.3f} to {high:.3f})", trained)
        table.add_section()
    console.print(table)
    shifted = Table("fusion", "as trained", "reversed", "lost")
    for name, result in report["shift"].items():
        shifted.add_row(name, *(f"{result[key]:.3f}" for key in ("as trained", "reversed", "lost")))
    console.print(shifted)
    for name, value in report["figures"].items():
        console.print(f"{name}: {value:.4f}")


if __name__ == "__main__":
    sys.exit(main())
