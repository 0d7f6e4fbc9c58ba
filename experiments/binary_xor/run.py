"""Symile's own test: how well the last of three binary variables is told from the others as it turns into an
exclusive-or, then the exclusive-or of eight, then both with values missing.

Every step is a command that a user could type; this file only runs them in order and gathers what they wrote.
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

from polyclinic.cli import main as polyclinic

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
    # The models are small enough for threads to wait longer than they work.
    torch.set_num_threads(1)
    out, seed = arguments.out, arguments.seed
    shutil.rmtree(out / "cohorts", ignore_errors=True)
    report = {
        "three": [{"p": p, **both(out, p, missing=0.0, seed=seed)} for p in arguments.p],
        "three_missing": {"p": 1.0, "missing": MISSING[3], **both(out, 1.0, missing=MISSING[3], seed=seed)},
        "eight": one(out, "eight", variables=8, p=1.0, missing=0.0, seed=seed),
        "eight_missing": {
            "missing": MISSING[8], **one(out, "eight", variables=8, p=1.0, missing=MISSING[8], seed=seed),
        },
    }  # fmt: skip
    (out / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    draw(report["three"], out / "accuracy.png")
    show(report, Console())
    print(f"report: {out / 'report.json'}\nnext: look at {out / 'accuracy.png'}")
    return 0


def both(out: Path, p: float, *, missing: float, seed: int) -> dict[str, Any]:
    """Symile and CLIP on one cohort of three variables."""
    return {name: one(out, name, variables=3, p=p, missing=missing, seed=seed) for name in ("symile", "clip")}


def one(out: Path, name: str, *, variables: int, p: float, missing: float, seed: int) -> dict[str, Any]:
    """Train one experiment and tell the last variable from all others, on test studies that have them all."""
    cohort = out / "cohorts" / f"{variables}-{p}-{missing}"
    if not cohort.exists():
        write_cohort(cohort, variables=variables, p=p, missing=missing, seed=seed)
    fitted, scored = out / "fit.json", out / "zeroshot.json"
    run(
        "fit", "-c", HERE / f"{name}.yaml", "--seed_everything", seed, "--data.cohort", cohort / "cohort.yaml",
        "--trainer.logger.init_args.out", out, "--trainer.enable_progress_bar", "false", "--json", fitted,
    )  # fmt: skip
    query = json.dumps([f"v{place + 1}" for place in range(variables - 1)])
    prompts = HERE / ("prompts.yaml" if variables == 3 else "prompts_eight.yaml")
    checkpoint = json.loads(fitted.read_text(encoding="utf-8"))["checkpoint"]
    run("evaluate", "zeroshot", checkpoint, prompts, "--query", query, "--complete", "true", "--json", scored)
    (finding,) = json.loads(scored.read_text(encoding="utf-8"))["findings"]
    return {"accuracy": finding["accuracy"], "ci95": finding["accuracy_ci95"], "studies": finding["n"]}


def run(*words: object) -> None:
    """Run one polyclinic command; stop where it fails."""
    arguments = [str(word) for word in words]
    print(f"\n$ polyclinic {' '.join(arguments)}", flush=True)
    if code := polyclinic(arguments):
        sys.exit(code)


def draw(sweep: list[dict[str, Any]], path: Path) -> None:
    """Accuracy over p, with the best that both inputs, and one alone, allow."""
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
    """A value and its interval."""
    low, high, *_ = result["ci95"].values()
    return f"{result['accuracy']:.3f}", f"{low:.3f} to {high:.3f}"


if __name__ == "__main__":
    sys.exit(main())
