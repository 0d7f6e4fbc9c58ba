"""Exclusive-or test of the Symile paper: classify the last of three binary variables from the others.

In the sweep, the last variable turns from a copy of the first into the exclusive-or of the others. The exclusive-or of
eight variables follows, and both are repeated with missing values.

Every step is a command that a user could type; this file runs them in order and gathers their reports.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from xor_cohort import write_cohort

# The experiments are not installed; this finds `experiments.runner` from any working folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.runner import evaluate, fit, write_report

HERE = Path(__file__).parent
SWEEP = [round(0.1 * step, 1) for step in range(11)]
MISSING = {3: 0.3, 8: 0.1}


def main() -> int:
    """Run all parts and write ``report.json`` and ``accuracy.png``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/xor"))
    parser.add_argument("--p", type=float, nargs="+", default=SWEEP)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    # The models are so small that threads would wait longer than they compute.
    torch.set_num_threads(1)
    out, seed = arguments.out, arguments.seed
    shutil.rmtree(out / "cohorts", ignore_errors=True)
    report = {
        "three": [{"p": p, **both(out, p, missing=0.0, seed=seed)} for p in arguments.p],
        "three_missing": {"p": 1.0, "missing": MISSING[3], **both(out, 1.0, missing=MISSING[3], seed=seed)},
        "eight": measure(out, "eight", variables=8, p=1.0, missing=0.0, seed=seed),
        "eight_missing": {
            "missing": MISSING[8], **measure(out, "eight", variables=8, p=1.0, missing=MISSING[8], seed=seed),
        },
    }  # fmt: skip
    path = write_report(report, out)
    draw(report["three"], out / "accuracy.png")
    show(report, Console())
    print(f"report: {path}\nnext: look at {out / 'accuracy.png'}")
    return 0


def both(out: Path, p: float, *, missing: float, seed: int) -> dict[str, Any]:
    """Return the accuracy of Symile and of CLIP on one cohort of three variables."""
    return {name: measure(out, name, variables=3, p=p, missing=missing, seed=seed) for name in ("symile", "clip")}


def measure(out: Path, name: str, *, variables: int, p: float, missing: float, seed: int) -> dict[str, Any]:
    """Train one recipe and return its accuracy on the last variable, over the complete test studies."""
    cohort = out / "cohorts" / f"{variables}-{p}-{missing}"
    if not cohort.exists():
        write_cohort(cohort, variables=variables, p=p, missing=missing, seed=seed)
    words = ("--trainer.enable_progress_bar", "false")
    fitted = fit(HERE / f"{name}.yaml", cohort / "cohort.yaml", out / "fit.json", *words, logs=out, seed=seed)
    query = json.dumps([f"v{place + 1}" for place in range(variables - 1)])
    prompts = HERE / ("prompts.yaml" if variables == 3 else "prompts_eight.yaml")
    words = ("--query", query, "--complete", "true")
    (finding,) = evaluate(out / "zeroshot.json", "zeroshot", fitted["checkpoint"], prompts, *words)["findings"]
    return {"accuracy": finding["accuracy"], "ci95": finding["accuracy_ci95"], "studies": finding["n"]}


def draw(sweep: list[dict[str, Any]], path: Path) -> None:
    """Plot accuracy over p, with the best possible accuracy from both inputs and from one input."""
    shares = [entry["p"] for entry in sweep]
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, label in (("symile", "Symile"), ("clip", "pairwise CLIP")):
        values = [entry[name]["accuracy"] for entry in sweep]
        reach = [
            [entry[name]["accuracy"] - entry[name]["ci95"]["low"] for entry in sweep],
            [entry[name]["ci95"]["high"] - entry[name]["accuracy"] for entry in sweep],
        ]
        axes.errorbar(shares, values, reach, label=label, marker="o", markersize=4, capsize=2)
    axes.plot(shares, [0.5 + max(p, 1 - p) / 2 for p in shares], "k--", linewidth=1, label="best from v1 and v2")
    axes.plot(shares, [1 - p / 2 for p in shares], "k:", linewidth=1, label="best from one of them")
    axes.set(xlabel="p: how often v3 is the exclusive-or", ylabel="accuracy on v3", ylim=(0.4, 1.03))
    axes.legend(loc="lower left")
    figure.savefig(path, dpi=120)


def show(report: dict[str, Any], console: Console) -> None:
    """Print the report as a table."""
    table = Table("variables", "p", "missing", "Symile", "95 %", "CLIP", "95 %")
    for entry in [*report["three"], report["three_missing"]]:
        table.add_row(
            "3", f"{entry['p']:g}", f"{entry.get('missing', 0):.0%}", *cells(entry["symile"]), *cells(entry["clip"])
        )
    for entry in (report["eight"], report["eight_missing"]):
        table.add_row("8", "1", f"{entry.get('missing', 0):.0%}", *cells(entry), "", "")
    console.print(table)


def cells(result: dict[str, Any]) -> tuple[str, str]:
    """Format an accuracy and its interval."""
    low, high, *_ = result["ci95"].values()
    return f"{result['accuracy']:.3f}", f"{low:.3f} to {high:.3f}"


if __name__ == "__main__":
    sys.exit(main())
