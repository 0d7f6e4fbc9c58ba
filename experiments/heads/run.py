"""Heads on the phantom cohort: fusion against single modalities, modalities missing not at random, and LoRA.

Every step is a command that a user could type; this file only runs them in order and gathers what they wrote. What is
there is not done again.
"""

import argparse
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

from polyclinic.cli import main as polyclinic
from polyclinic.system.shell import print_next
from polyclinic.tracking.uri import sqlite_uri
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
"""By which finding each modality goes missing: it is ordered where the finding is suspected."""
MISSING_IF_PRESENT, MISSING_IF_ABSENT = 0.1, 0.7
SHIFT_EPOCHS = 25
"""Most studies lack most modalities there, and findings of one modality are learned late."""


def main() -> int:
    """Run everything and write ``report.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/heads"))
    parser.add_argument("--studies", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", default="test", help="val while choosing settings")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    run = Runs(arguments.out, arguments.seed, arguments.split)
    cohort = run.out / "cohort" / "cohort.yaml"
    if not cohort.exists():
        command("cohort", "phantom", cohort.parent, "--studies", arguments.studies, "--seed", arguments.seed)
    report = {"fusion": fusion(run, cohort), "shift": shift(run, cohort), "tuning": tuning(run, cohort)}
    report["figures"] = figures(report)
    (run.out / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    show(report, Console())
    print(f"report: {run.out / 'report.json'}")
    print_next("mlflow", "ui", "--backend-store-uri", sqlite_uri(run.out / "runs" / "mlflow.db"))
    return 0


class Runs:
    """Fits and evaluations in one folder, each done once."""

    def __init__(self, out: Path, seed: int, split: str) -> None:
        self.out, self.seed, self.split = out, seed, split
        out.mkdir(parents=True, exist_ok=True)

    def fit(self, name: str, config: Path, cohort: Path, *words: object) -> Path:
        """Train, unless an earlier call did; the checkpoint."""
        result = self.out / f"{name}.json"
        if not result.exists():
            command(
                "fit", "-c", config, "--seed_everything", self.seed, "--data.cohort", cohort, "--data.prepared",
                self.out / "prepared", "--trainer.logger.init_args.out", self.out / "runs",
                "--trainer.logger.init_args.run_name", name, "--json", result, *words,
            )  # fmt: skip
        return Path(json.loads(result.read_text(encoding="utf-8"))["checkpoint"])

    def evaluate(self, name: str, checkpoint: Path, cohort: Path) -> dict[str, Any]:
        """Measure, unless an earlier call did."""
        result = self.out / "reports" / f"{name}-{self.split}.json"
        if not result.exists():
            command("evaluate", "classifier", checkpoint, "--cohort", cohort, "--split", self.split, "--json", result)
        content: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return content


def fusion(run: Runs, cohort: Path) -> dict[str, Any]:
    """Each modality alone, and all of them by every fusion, under the same budget."""
    told = {}
    for name in MODALITIES:
        config = only(run.out / "configs" / f"{name}.yaml", name)
        told[name] = run.evaluate(name, run.fit(name, config, cohort), cohort)
    for name, fused in FUSIONS.items():
        checkpoint = run.fit(name, HERE / "fusion.yaml", cohort, "--model.init_args.fusion", json.dumps(fused))
        told[name] = run.evaluate(name, checkpoint, cohort)
    return {name: summary(one) for name, one in told.items()}


def shift(run: Runs, cohort: Path) -> dict[str, Any]:
    """Trained where modalities are missing by the findings, tested where they are so, and where it is reversed."""
    same, reversed_ = (
        missing(cohort, f"{name}.yaml", run.seed, reverse=reverse)
        for name, reverse in (("ordered", False), ("reversed", True))
    )
    told = {}
    for name in ("concatenation", "sequential"):
        words = ("--model.init_args.fusion", json.dumps(FUSIONS[name]), "--trainer.max_epochs", SHIFT_EPOCHS)
        checkpoint = run.fit(f"ordered_{name}", HERE / "fusion.yaml", same, *words)
        before, after = (
            shifted_findings(run.evaluate(f"{where}_{name}", checkpoint, path))
            for where, path in (("ordered", same), ("reversed", reversed_))
        )
        told[name] = {"as trained": before, "reversed": after, "lost": before - after}
    return told


def tuning(run: Runs, cohort: Path) -> dict[str, Any]:
    """From the same pretrained encoders: all of them trained, a low rank of them, none of them."""
    start = ("--weights", run.fit("pretrain", HERE / "pretrain.yaml", cohort))
    ways: dict[str, tuple[object, ...]] = {
        "full": ("--model.init_args.adapter", "null", "--model.init_args.lr", "4e-3"),
        "lora": (),
        "frozen": ("--model.init_args.adapter", "Frozen"),
    }
    told = {}
    for name, words in ways.items():
        checkpoint = run.fit(name, HERE / "lora.yaml", cohort, *start, *words)
        trained = sum(one.numel() for one in restore(checkpoint).task.parameters() if one.requires_grad)
        told[name] = {**summary(run.evaluate(name, checkpoint, cohort)), "trained_parameters": trained}
    return told


def figures(report: dict[str, Any]) -> dict[str, float]:
    """What the issue asks for, as single numbers."""
    auroc = {name: one["macro_auroc"] for name, one in report["fusion"].items()}
    tuned = report["tuning"]
    return {
        "fusion.gain_over_best_single": auroc["concatenation"] - max(auroc[name] for name in MODALITIES),
        "fusion.mnar_advantage_sequential": report["shift"]["concatenation"]["lost"]
        - report["shift"]["sequential"]["lost"],
        "lora.gap_to_full": tuned["full"]["macro_auroc"] - tuned["lora"]["macro_auroc"],
        "lora.trained_share": tuned["lora"]["trained_parameters"] / tuned["full"]["trained_parameters"],
    }


def only(path: Path, modality: str) -> Path:
    """``fusion.yaml`` with a single modality."""
    config = yaml.safe_load((HERE / "fusion.yaml").read_text(encoding="utf-8"))
    config["data"]["modalities"] = {modality: config["data"]["modalities"][modality]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def missing(cohort: Path, name: str, seed: int, *, reverse: bool) -> Path:
    """The cohort with modalities that go missing by a finding; in the val and test splits the other way round.

    The last modality of a study stays.
    """
    path = cohort.with_name(name)
    spec = yaml.safe_load(cohort.read_text(encoding="utf-8"))
    table = pd.read_csv(cohort.with_name(spec["table"]), dtype=str, keep_default_na=False)
    rng = np.random.default_rng([seed, 1])
    for modality, finding in SHIFTED.items():
        there = (table[finding] == "1") ^ (reverse & (table["split"] != "train"))
        chance = np.where(there, MISSING_IF_PRESENT, MISSING_IF_ABSENT)
        others = (table[[one for one in MODALITIES if one != modality]] != "").any(axis=1)
        table.loc[(rng.random(len(table)) < chance) & others, modality] = ""
    spec["table"] = f"{path.stem}.csv"
    table.to_csv(path.with_name(spec["table"]), index=False)
    path.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    return path


def shifted_findings(report: dict[str, Any]) -> float:
    """Mean AUROC of the findings by which modalities go missing."""
    auroc = {one["name"]: one["auroc"] for one in report["findings"]}
    return float(np.mean([auroc[finding] for finding in SHIFTED.values()]))


def summary(report: dict[str, Any]) -> dict[str, Any]:
    """The mean over findings, and each of them."""
    return {
        "macro_auroc": report["macro_auroc"],
        "macro_ci95": report["macro_ci95"],
        "findings": {one["name"]: one["auroc"] for one in report["findings"]},
    }


def command(*words: object) -> None:
    """Run one polyclinic command; stop where it fails."""
    arguments = [str(word) for word in words]
    print(f"\n$ polyclinic {' '.join(arguments)}", flush=True)
    if code := polyclinic(arguments):
        sys.exit(code)


def show(report: dict[str, Any], console: Console) -> None:
    """Print what was measured."""
    table = Table("head", "macro AUROC", "trained parameters")
    for part in ("fusion", "tuning"):
        for name, one in report[part].items():
            low, high = one["macro_ci95"]["low"], one["macro_ci95"]["high"]
            trained = f"{one['trained_parameters']:,}" if "trained_parameters" in one else ""
            table.add_row(name, f"{one['macro_auroc']:.3f} ({low:.3f} to {high:.3f})", trained)
        table.add_section()
    console.print(table)
    shifted = Table("fusion", "as trained", "reversed", "lost")
    for name, one in report["shift"].items():
        shifted.add_row(name, *(f"{one[key]:.3f}" for key in ("as trained", "reversed", "lost")))
    console.print(shifted)
    for name, value in report["figures"].items():
        console.print(f"{name}: {value:.4f}")


if __name__ == "__main__":
    sys.exit(main())
