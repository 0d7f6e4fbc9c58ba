"""The published Symile-MIMIC experiment, from the released folder to accuracy among ten candidates.

Every step is a command that a user could type; this file only runs them in order and gathers what they wrote.

    python experiments/symile_mimic/run.py ROOT

What follows goes to every `polyclinic fit`, such as `--trainer.max_epochs 20`.
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

HERE = Path(__file__).resolve().parent
# The recipes name classes of this folder, which is not installed.
sys.path.insert(0, str(HERE.parent.parent))

from polyclinic.cli import main as polyclinic  # noqa: E402

RECIPES = {"symile": "Symile", "clip": "pairwise CLIP"}
QUERY, TARGET = ["ecg", "tabular"], "xray"
SPLITS = ("val", "test")


def main(argv: Sequence[str] | None = None) -> int:
    """Build, train and evaluate each recipe, and write ``report.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="the released folder, which holds data_npy")
    parser.add_argument("--out", type=Path, default=Path("runs/symile_mimic"))
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=["symile"])
    arguments, words = parser.parse_known_args(argv)
    out: Path = arguments.out
    build(arguments.root, out / "cohort")
    report = {name: measured(out, name, fit(out, name, words)) for name in arguments.recipes}
    (out / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    show(report, Console())
    print(f"report: {out / 'report.json'}\nnext: polyclinic evaluate retrieval --help")
    return 0


def build(root: Path, cohort: Path) -> None:
    """Build the cohort, or take the one that is there; stop where that is of another folder."""
    if not cohort.exists():
        run("cohort", "build", "symile-mimic-published", "--root", root, "--out", cohort)
    built = Path(yaml.safe_load((cohort / "cohort.yaml").read_text(encoding="utf-8"))["root"])
    if not built.is_relative_to(root.resolve()):
        sys.exit(f"got {cohort} of another folder than {root}; remove it, or set `--out` to another folder")


def run(*words: object) -> None:
    """Run one polyclinic command; stop where it fails."""
    arguments = [str(word) for word in words]
    print(f"\n$ polyclinic {' '.join(arguments)}", flush=True)
    if code := polyclinic(arguments):
        sys.exit(code)


def fit(out: Path, name: str, words: Sequence[str]) -> dict[str, Any]:
    """Train one recipe and return what ``fit --json`` wrote."""
    result = out / f"{name}.json"
    run(
        "fit", "-c", HERE / f"{name}.yaml", "--data.cohort", out / "cohort" / "cohort.yaml",
        "--trainer.logger.init_args.out", out, "--json", result, *words,
    )  # fmt: skip
    return read(result)


def measured(out: Path, name: str, fitted: dict[str, Any]) -> dict[str, Any]:
    """Accuracy among the published candidates of val, on which the epoch was chosen, and of test."""
    told = {"seconds": fitted["seconds"], "checkpoint": fitted["checkpoint"]}
    for split in SPLITS:
        result = out / f"{name}-{split}.json"
        run(
            "evaluate", "retrieval", fitted["checkpoint"], TARGET, "--query", json.dumps(QUERY), "--split", split,
            "--candidate_sets", out / "cohort" / "candidates.parquet", "--k", "[1, 5]", "--json", result,
        )  # fmt: skip
        told[split] = read(result)
    return told


def read(path: Path) -> dict[str, Any]:
    """A JSON file's content."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def show(report: dict[str, Any], console: Console) -> None:
    """Print one column per recipe."""
    names = [RECIPES[name] for name in report]
    table = Table("among ten candidates (chance 0.100)", *names, title="from ECG and labs to the X-ray")
    for split in SPLITS:
        for key, whose in (("given", "patients"), ("by_query", "queries")):
            cells = [cell(told[split][key]["recall"]["1"]) for told in report.values()]
            table.add_row(f"{split}, top-1, 95 % over {whose}", *cells)
    table.add_row("seconds of training", *(f"{told['seconds']:.0f}" for told in report.values()))
    console.print(table)


def cell(accuracy: dict[str, Any]) -> str:
    """A value and its interval."""
    return f"{accuracy['value']:.3f} ({accuracy['ci95']['low']:.3f} to {accuracy['ci95']['high']:.3f})"


if __name__ == "__main__":
    sys.exit(main())
