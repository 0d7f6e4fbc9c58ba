"""Masked pretraining on the phantom cohort: one modality alone, two and five together, and what contrast gains by it.

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

from polyclinic.cli import main as polyclinic
from polyclinic.system.shell import print_next

HERE = Path(__file__).parent
PROMPTS = HERE.parent / "phantom" / "prompts.yaml"
SHOWN = {
    "xray": ["cardiomegaly", "pulmonary_edema", "consolidation", "pleural_effusion", "airway_obstruction"],
    "ecg": ["atrial_fibrillation", "ventricular_hypertrophy", "myocardial_ischemia", "renal_impairment", "anemia"],
}
"""Findings that a modality shows at all, by `polyclinic.modality.physiology`; from it the others are chance."""

TENTH = 10


def main() -> int:
    """Run everything and write ``report.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/masked"))
    parser.add_argument("--studies", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    # One core for the model, one for the loader, as in the demo.
    torch.set_num_threads(1)
    out, seed = arguments.out, arguments.seed
    cohort = out / "cohort" / "cohort.yaml"
    if cohort.exists():
        refuse_another(cohort.with_name("phantom.yaml"), studies=arguments.studies, seed=seed)
    else:
        run("cohort", "phantom", cohort.parent, "--studies", arguments.studies, "--seed", seed)
    fits = {name: fit(name, name, out, seed) for name in ("xray", "ecg", "pair", "multimodal")}
    report = {
        "reconstruction": {name: evaluate(out, "reconstruction", name, fits[name]) for name in fits},
        "probes": {
            f"{name}/{modality}{'/deviation' if deviation else ''}": probe(out, name, fits[name], modality, deviation)
            for name, modality in (("xray", "xray"), ("ecg", "ecg"), ("multimodal", "xray"), ("multimodal", "ecg"))
            for deviation in (False, True)
        },
        "transfer": transfer(out, seed, fits["multimodal"]["checkpoint"]),
        "seconds": {name: one["seconds"] for name, one in fits.items()},
    }
    report |= figures(report)
    (out / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    show(report, Console())
    print(f"report: {out / 'report.json'}")
    print_next("mlflow", "ui", "--backend-store-uri", fits["xray"]["tracking_uri"])
    return 0


def refuse_another(origin: Path, **wanted: int) -> None:
    """Stop where the folder holds results of another cohort."""
    made = yaml.safe_load(origin.read_text(encoding="utf-8")) if origin.exists() else {}
    if any(made.get(key) != value for key, value in wanted.items()):
        sys.exit(f"got {origin.parent} with {made}, expected {wanted}; remove it, or set `--out` to another folder")


def transfer(out: Path, seed: int, checkpoint: str) -> dict[str, Any]:
    """Zero-shot after the whole contrastive budget from nothing, and after a tenth of it from both starts."""
    epochs = yaml.safe_load((HERE / "transfer.yaml").read_text(encoding="utf-8"))["trainer"]["max_epochs"]
    tenth = ("--trainer.max_epochs", epochs // TENTH)
    starts: dict[str, tuple[object, ...]] = {
        "whole": (),
        "tenth": tenth,
        "masked_tenth": (*tenth, "--weights", checkpoint),
    }
    fits = {name: fit(name, "transfer", out, seed, *words) for name, words in starts.items()}
    return {
        name: {"seconds": one["seconds"], **evaluate(out, "zeroshot", name, one, PROMPTS)} for name, one in fits.items()
    }


def figures(report: dict[str, Any]) -> dict[str, float]:
    """What the issue asks for, as single numbers."""
    absent = next(
        one for one in report["reconstruction"]["pair"]["results"]
        if (one["name"], one["mask"]) == ("ecg", "absent")
    )  # fmt: skip
    errors = {name: error["value"] for name, error in absent["errors"].items()}
    shots = {name: one["macro_auroc"] for name, one in report["transfer"].items()}
    return {
        **{f"probe_gain_{name}": report["probes"][f"{name}/{name}"]["shown"]["gain"] for name in SHOWN},
        # Without the others, the better of what the model makes of nothing and of the mean.
        "cross_modal_gain": 1 - errors["from the others"] / min(errors["from nothing"], errors["mean fill"]),
        "transfer_gain": shots["masked_tenth"] - shots["whole"],
    }


def fit(name: str, recipe: str, out: Path, seed: int, *words: object) -> dict[str, Any]:
    """Train one recipe, unless an earlier call did, and return what ``fit --json`` wrote."""
    result, cohort = out / f"{name}.json", out / "cohort" / "cohort.yaml"
    if result.exists():
        return read(result)
    run(
        "fit", "-c", HERE / f"{recipe}.yaml", "--seed_everything", seed, "--data.cohort", cohort, "--data.prepared",
        out / "prepared", "--trainer.logger.init_args.out", out / "runs",
        "--trainer.logger.init_args.run_name", name, "--json", result, *words,
    )  # fmt: skip
    return read(result)


def probe(out: Path, name: str, fitted: dict[str, Any], modality: str, deviation: bool) -> dict[str, Any]:
    """Linear probes on the findings that a modality shows, and on all of them."""
    words = (modality, "--deviation", str(deviation).lower())
    label = f"{name}-{modality}-{'deviation' if deviation else 'pooled'}"
    findings = json.dumps(SHOWN[modality])
    return {
        "shown": evaluate(out, "probe", f"{label}-shown", fitted, *words, "--findings", findings),
        "all": evaluate(out, "probe", f"{label}-all", fitted, *words),
    }


def evaluate(out: Path, command: str, label: str, fitted: dict[str, Any], *words: object) -> dict[str, Any]:
    """Run one evaluation, unless an earlier call did, and return its report."""
    result = out / "reports" / f"{command}-{label}.json"
    if result.exists():
        return read(result)
    run("evaluate", command, fitted["checkpoint"], *words, "--json", result)
    return read(result)


def run(*words: object) -> None:
    """Run one polyclinic command; stop where it fails."""
    arguments = [str(word) for word in words]
    print(f"\n$ polyclinic {' '.join(arguments)}", flush=True)
    if code := polyclinic(arguments):
        sys.exit(code)


def read(path: Path) -> dict[str, Any]:
    """A JSON file's content."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def show(report: dict[str, Any], console: Console) -> None:
    """Print what was measured on test patients."""
    table = Table("run", "hidden", "modality", "method", "loss", "less than mean fill")
    for name, one in report["reconstruction"].items():
        for result in one["results"]:
            for method, error in result["errors"].items():
                interval = error["against_ci95"]
                saved = f"{error['against_mean_fill']:.1%} ({interval['low']:.1%} to {interval['high']:.1%})"
                table.add_row(name, result["mask"], result["name"], method, f"{error['value']:.4f}", saved)
        table.add_section()
    console.print(table)
    probes = Table("probe", "findings", "trained", "random weights", "gain")
    for name, one in report["probes"].items():
        for which in ("shown", "all"):
            told = one[which]
            low, high = told["gain_ci95"]["low"], told["gain_ci95"]["high"]
            probes.add_row(
                name,
                which,
                cell(told["trained"]),
                cell(told["random"]),
                f"{told['gain']:.3f} ({low:.3f} to {high:.3f})",
            )
    console.print(probes)
    shots = Table("start and contrastive budget", "zero-shot macro AUROC", "seconds")
    for name, one in report["transfer"].items():
        shots.add_row(name, cell(one), f"{one['seconds']:.0f}")
    console.print(shots)


def cell(told: dict[str, Any]) -> str:
    """A macro AUROC and its interval."""
    return f"{told['macro_auroc']:.3f} ({told['macro_ci95']['low']:.3f} to {told['macro_ci95']['high']:.3f})"


if __name__ == "__main__":
    sys.exit(main())
