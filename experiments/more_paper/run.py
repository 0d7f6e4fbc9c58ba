"""MoRE's recipe and Symile on the phantom cohort: same modalities, towers, data and number of steps.

Every step is a command that a user could type; this file only runs them in order and gathers what they wrote.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console
from rich.table import Table
from tiny_transformer import write_transformer

from polyclinic.cli import main as polyclinic
from polyclinic.modality.physiology import JOINT_FINDING

HERE = Path(__file__).parent
PROMPTS = HERE.parent / "phantom" / "prompts.yaml"
RECIPES = {"more": "MoRE", "symile": "Symile"}
QUERY, TARGET = ["xray", "ecg"], "report"


def main() -> int:
    """Run both recipes and write ``report.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/more"))
    parser.add_argument("--studies", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    # One core for the model, one for the loader: two threads that wait for each other are slower on two cores.
    torch.set_num_threads(1)
    out, seed = arguments.out, arguments.seed
    cohort = phantom(out, studies=arguments.studies, seed=seed)
    write_transformer(cohort, out / "transformer")
    report = {name: evaluated(out, name, fit(out, name, cohort, seed)) for name in RECIPES}
    (out / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    show(report, Console())
    print(f"report: {out / 'report.json'}\nnext: polyclinic evaluate zeroshot --help")
    return 0


def phantom(out: Path, **wanted: int) -> Path:
    """Write the cohort, or take the one that is there; stop where that is of another size or seed."""
    cohort = out / "cohort"
    if not cohort.exists():
        out.mkdir(parents=True, exist_ok=True)
        run("cohort", "phantom", cohort, *(word for key, value in wanted.items() for word in (f"--{key}", value)))
    origin = cohort / "phantom.yaml"
    made = yaml.safe_load(origin.read_text(encoding="utf-8")) if origin.exists() else {}
    got = {key: made.get(key, "unknown") for key in wanted}
    if got != wanted:
        sys.exit(f"got {cohort} with {got}, expected {wanted}; remove it, or set `--out` to another folder")
    return cohort / "cohort.yaml"


def run(*words: object) -> None:
    """Run one polyclinic command; stop where it fails."""
    arguments = [str(word) for word in words]
    print(f"\n$ polyclinic {' '.join(arguments)}", flush=True)
    if code := polyclinic(arguments):
        sys.exit(code)


def fit(out: Path, name: str, cohort: Path, seed: int) -> dict[str, Any]:
    """Train one recipe and return what ``fit --json`` wrote."""
    result, folder = out / f"{name}.json", out / "transformer"
    run(
        "fit", "-c", HERE / f"{name}.yaml", "--seed_everything", seed, "--data.cohort", cohort,
        "--data.prepared", out / "prepared", "--data.modalities.report.init_args.pretrained", folder,
        "--model.init_args.encoders.report.init_args.folder", folder,
        "--trainer.logger.init_args.out", out, "--json", result,
    )  # fmt: skip
    return read(result)


def evaluated(out: Path, name: str, fitted: dict[str, Any]) -> dict[str, Any]:
    """What X-ray and ECG tell of the test patients: each finding, the joint one where both are there, the report."""
    checkpoint, query = fitted["checkpoint"], ("--query", json.dumps(QUERY))
    joint = evaluate(out, f"{name}-joint", "zeroshot", checkpoint, PROMPTS, *query, "--complete", "true")
    # Last of the two, because the run keeps the figures of the latest evaluation.
    every = evaluate(out, f"{name}-zeroshot", "zeroshot", checkpoint, PROMPTS, *query)
    top1 = evaluate(out, f"{name}-retrieval", "retrieval", checkpoint, TARGET, *query)["sampled"]["recall"]["1"]
    return {
        "seconds": fitted["seconds"],
        "mlflow_run_id": fitted["mlflow_run_id"],
        "macro": figure(every["macro_auroc"], every["macro_ci95"]),
        "joint": aurocs(joint)[JOINT_FINDING],
        "top1": figure(top1["value"], top1["ci95"]),
        "findings": aurocs(every),
    }


def evaluate(out: Path, name: str, kind: str, *words: object) -> dict[str, Any]:
    """Run one evaluation and return its report."""
    result = out / f"{name}.json"
    run("evaluate", kind, *words, "--json", result)
    return read(result)


def aurocs(report: dict[str, Any]) -> dict[str, Any]:
    """The AUROC of each finding."""
    return {finding["name"]: figure(finding["auroc"], finding["ci95"]) for finding in report["findings"]}


def figure(value: float, ci95: dict[str, float]) -> dict[str, Any]:
    """A value with its interval over patients."""
    return {"value": value, "ci95": ci95}


def read(path: Path) -> dict[str, Any]:
    """A JSON file's content."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def show(report: dict[str, Any], console: Console) -> None:
    """Print one row per figure and one column per recipe."""
    asked = " and ".join(QUERY)
    table = Table("test patients, never seen", *RECIPES.values(), title=f"from {asked}, 95 % intervals")
    rows = {"macro AUROC": "macro", f"{JOINT_FINDING}, both there": "joint", f"{TARGET} among 10, top-1": "top1"}
    for label, key in rows.items():
        table.add_row(label, *(cell(report[name][key]) for name in RECIPES))
    table.add_section()
    for finding in report["more"]["findings"]:
        table.add_row(finding, *(cell(report[name]["findings"][finding]) for name in RECIPES))
    table.add_section()
    table.add_row("seconds of training", *(f"{report[name]['seconds']:.0f}" for name in RECIPES))
    console.print(table)


def cell(measured: dict[str, Any]) -> str:
    """A value and its interval."""
    low, high, *_ = measured["ci95"].values()
    return f"{measured['value']:.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    sys.exit(main())
