"""The published Symile-MIMIC experiment, from the released folder to the accuracy among ten candidates.

Every step is a command that a user could type; this file runs them in order and gathers their reports.

    python experiments/symile_mimic/run.py ROOT

Further options, such as `--trainer.max_epochs 20`, are passed to every `polyclinic fit`.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

# The recipes name classes of this folder, and the experiments are not installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.runner import evaluate, fit, run_command, write_report

HERE = Path(__file__).resolve().parent
RECIPES = {"symile": "Symile", "clip": "pairwise CLIP"}
QUERY, TARGET = ["ecg", "tabular"], "xray"
SPLITS = ("val", "test")


def main(argv: Sequence[str] | None = None) -> int:
    """Build, train and evaluate each recipe, and write ``report.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="released folder, which holds data_npy")
    parser.add_argument("--out", type=Path, default=Path("runs/symile_mimic"))
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=["symile"])
    arguments, words = parser.parse_known_args(argv)
    out: Path = arguments.out
    build(arguments.root, out / "cohort")
    report = {name: measure(out, name, train(out, name, words)) for name in arguments.recipes}
    path = write_report(report, out)
    show(report, Console())
    print(f"report: {path}\nnext: polyclinic evaluate retrieval --help")
    return 0


def build(root: Path, cohort: Path) -> None:
    """Build the cohort, unless an earlier call did; exit if it was built from another folder."""
    if not cohort.exists():
        run_command("cohort", "build", "symile-mimic-published", "--root", root, "--out", cohort)
    built = Path(yaml.safe_load((cohort / "cohort.yaml").read_text(encoding="utf-8"))["root"])
    if not built.is_relative_to(root.resolve()):
        sys.exit(f"got {cohort} built from another folder than {root}; remove it, or set `--out` to another folder")


def train(out: Path, name: str, words: Sequence[str]) -> dict[str, Any]:
    """Train one recipe and return the report of ``fit --json``."""
    return fit(HERE / f"{name}.yaml", out / "cohort" / "cohort.yaml", out / f"{name}.json", *words, logs=out)


def measure(out: Path, name: str, fitted: dict[str, Any]) -> dict[str, Any]:
    """Return the accuracy among the published candidates of test, and of val, on which the epoch was chosen."""
    report = {"seconds": fitted["seconds"], "checkpoint": fitted["checkpoint"]}
    for split in SPLITS:
        report[split] = evaluate(
            out / f"{name}-{split}.json", "retrieval", fitted["checkpoint"], TARGET, "--query", json.dumps(QUERY),
            "--split", split, "--candidate_sets", out / "cohort" / "candidates.parquet", "--k", "[1, 5]",
        )  # fmt: skip
    return report


def show(report: dict[str, Any], console: Console) -> None:
    """Print a table with a column per recipe."""
    names = [RECIPES[name] for name in report]
    table = Table("among ten candidates (chance 0.100)", *names, title="from ECG and labs to the X-ray")
    for split in SPLITS:
        for key, unit in (("given", "patients"), ("by_query", "queries")):
            cells = [cell(result[split][key]["recall"]["1"]) for result in report.values()]
            table.add_row(f"{split}, top-1, 95 % over {unit}", *cells)
    table.add_row("seconds of training", *(f"{result['seconds']:.0f}" for result in report.values()))
    console.print(table)


def cell(accuracy: dict[str, Any]) -> str:
    """Format a value with its interval."""
    return f"{accuracy['value']:.3f} ({accuracy['ci95']['low']:.3f} to {accuracy['ci95']['high']:.3f})"


if __name__ == "__main__":
    sys.exit(main())
