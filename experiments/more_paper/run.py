"""Comparison of MoRE's recipe and Symile on the phantom cohort, with equal modalities, encoders, data and steps.

Every step is a command that a user could type; this file runs them in order and gathers their reports.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from tiny_transformer import write_transformer

# The experiments are not installed; this finds `experiments.runner` from any working folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.runner import evaluate, fit, phantom_cohort, phantom_parser, write_report

from polyclinic.modality.physiology import JOINT_FINDING

HERE = Path(__file__).parent
PROMPTS = HERE.parent / "phantom" / "prompts.yaml"
RECIPES = {"more": "MoRE", "symile": "Symile"}
QUERY, TARGET = ["xray", "ecg"], "report"


def main() -> int:
    """Run both recipes and write ``report.json``."""
    arguments = phantom_parser(__doc__, out="runs/more", seed=1).parse_args()
    # One core for the model and one for the loader, as in the demo.
    torch.set_num_threads(1)
    out, seed = arguments.out, arguments.seed
    cohort = phantom_cohort(out, studies=arguments.studies, seed=seed)
    write_transformer(cohort, out / "transformer")
    report = {name: measure(out, name, train(out, name, cohort, seed)) for name in RECIPES}
    path = write_report(report, out)
    show(report, Console())
    print(f"report: {path}\nnext: polyclinic evaluate zeroshot --help")
    return 0


def train(out: Path, name: str, cohort: Path, seed: int) -> dict[str, Any]:
    """Train one recipe and return the report of ``fit --json``."""
    transformer = out / "transformer"
    return fit(
        HERE / f"{name}.yaml", cohort, out / f"{name}.json",
        "--data.prepared", out / "prepared", "--data.modalities.report.init_args.pretrained", transformer,
        "--model.init_args.encoders.report.init_args.folder", transformer, logs=out, seed=seed,
    )  # fmt: skip


def measure(out: Path, name: str, fitted: dict[str, Any]) -> dict[str, Any]:
    """Return metrics from X-ray and ECG on test patients: each finding, the joint finding, retrieval of the report.

    The joint finding is scored on the studies that have both modalities.
    """
    checkpoint, query = fitted["checkpoint"], ("--query", json.dumps(QUERY))
    joint = evaluate(out / f"{name}-joint.json", "zeroshot", checkpoint, PROMPTS, *query, "--complete", "true")
    # After the joint finding, because MLflow holds the metrics of the latest evaluation.
    every = evaluate(out / f"{name}-zeroshot.json", "zeroshot", checkpoint, PROMPTS, *query)
    retrieval = evaluate(out / f"{name}-retrieval.json", "retrieval", checkpoint, TARGET, *query)
    top1 = retrieval["sampled"]["recall"]["1"]
    return {
        "seconds": fitted["seconds"],
        "mlflow_run_id": fitted["mlflow_run_id"],
        "macro": figure(every["macro_auroc"], every["macro_ci95"]),
        "joint": aurocs(joint)[JOINT_FINDING],
        "top1": figure(top1["value"], top1["ci95"]),
        "findings": aurocs(every),
    }


def aurocs(report: dict[str, Any]) -> dict[str, Any]:
    """Return the AUROC of each finding."""
    return {finding["name"]: figure(finding["auroc"], finding["ci95"]) for finding in report["findings"]}


def figure(value: float, ci95: dict[str, float]) -> dict[str, Any]:
    """Return a value with its 95 % interval over patients."""
    return {"value": value, "ci95": ci95}


def show(report: dict[str, Any], console: Console) -> None:
    """Print a table with a row per metric and a column per recipe."""
    query = " and ".join(QUERY)
    table = Table("unseen test patients", *RECIPES.values(), title=f"from {query}, 95 % intervals")
    rows = {"macro AUROC": "macro", f"{JOINT_FINDING}, both present": "joint", f"{TARGET} among 10, top-1": "top1"}
    for label, key in rows.items():
        table.add_row(label, *(cell(report[name][key]) for name in RECIPES))
    table.add_section()
    for finding in report["more"]["findings"]:
        table.add_row(finding, *(cell(report[name]["findings"][finding]) for name in RECIPES))
    table.add_section()
    table.add_row("seconds of training", *(f"{report[name]['seconds']:.0f}" for name in RECIPES))
    console.print(table)


def cell(measured: dict[str, Any]) -> str:
    """Format a value with its interval."""
    low, high, *_ = measured["ci95"].values()
    return f"{measured['value']:.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    sys.exit(main())
