"""Masked pretraining on the phantom cohort: one, two and five modalities, and transfer to contrastive pretraining.

Every step is a command that a user could type; this file runs them in order and gathers their reports.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console
from rich.table import Table

# The experiments are not installed; this finds `experiments.runner` from any working folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.runner import evaluate, fit, phantom_cohort, phantom_parser, write_report

from polyclinic.system.shell import print_next

HERE = Path(__file__).parent
PROMPTS = HERE.parent / "phantom" / "prompts.yaml"
SHOWN = {
    "xray": ["cardiomegaly", "pulmonary_edema", "consolidation", "pleural_effusion", "airway_obstruction"],
    "ecg": ["atrial_fibrillation", "ventricular_hypertrophy", "myocardial_ischemia", "renal_impairment", "anemia"],
}
"""Findings that a modality shows, by `polyclinic.modality.physiology`; the others are at chance."""

TENTH = 10
"""Divisor of the contrastive budget."""


def main() -> int:
    """Run everything and write ``report.json``."""
    arguments = phantom_parser(__doc__, out="runs/masked").parse_args()
    # One core for the model and one for the loader, as in the demo.
    torch.set_num_threads(1)
    out, seed = arguments.out, arguments.seed
    phantom_cohort(out, studies=arguments.studies, seed=seed)
    fits = {name: train(name, name, out, seed) for name in ("xray", "ecg", "pair", "multimodal")}
    report = {
        "reconstruction": {name: measure(out, "reconstruction", name, fitted) for name, fitted in fits.items()},
        "probes": {
            f"{name}/{modality}{'/deviation' if deviation else ''}": probe(out, name, fits[name], modality, deviation)
            for name, modality in (("xray", "xray"), ("ecg", "ecg"), ("multimodal", "xray"), ("multimodal", "ecg"))
            for deviation in (False, True)
        },
        "transfer": transfer(out, seed, fits["multimodal"]["checkpoint"]),
        "seconds": {name: fitted["seconds"] for name, fitted in fits.items()},
    }
    report |= figures(report)
    path = write_report(report, out)
    show(report, Console())
    print(f"report: {path}")
    print_next("polyclinic", "runs", "--out", out / "runs")
    return 0


def transfer(out: Path, seed: int, checkpoint: str) -> dict[str, Any]:
    """Return zero-shot results after contrastive pretraining.

    Runs start from random weights with the full budget, and from random and masked weights with a tenth of it.
    """
    epochs = yaml.safe_load((HERE / "transfer.yaml").read_text(encoding="utf-8"))["trainer"]["max_epochs"]
    tenth = ("--trainer.max_epochs", epochs // TENTH)
    starts: dict[str, tuple[object, ...]] = {
        "whole": (),
        "tenth": tenth,
        "masked_tenth": (*tenth, "--weights", checkpoint),
    }
    fits = {name: train(name, "transfer", out, seed, *words) for name, words in starts.items()}
    return {
        name: {"seconds": fitted["seconds"], **measure(out, "zeroshot", name, fitted, PROMPTS)}
        for name, fitted in fits.items()
    }


def figures(report: dict[str, Any]) -> dict[str, float]:
    """Return the headline metrics of the experiment."""
    absent = next(
        result
        for result in report["reconstruction"]["pair"]["results"]
        if (result["name"], result["mask"]) == ("ecg", "absent")
    )
    errors = {name: error["value"] for name, error in absent["errors"].items()}
    macro = {name: result["macro_auroc"] for name, result in report["transfer"].items()}
    return {
        **{f"probe_gain_{name}": report["probes"][f"{name}/{name}"]["shown"]["gain"] for name in SHOWN},
        # The baseline is the better of two predictions without the report: the model without inputs, and mean fill.
        "cross_modal_gain": 1 - errors["from the others"] / min(errors["from nothing"], errors["mean fill"]),
        "transfer_gain": macro["masked_tenth"] - macro["whole"],
    }


def train(name: str, recipe: str, out: Path, seed: int, *words: object) -> dict[str, Any]:
    """Train one recipe, unless an earlier call did, and return the report of ``fit --json``."""
    return fit(
        HERE / f"{recipe}.yaml", out / "cohort" / "cohort.yaml", out / f"{name}.json", "--data.prepared",
        out / "prepared", "--trainer.logger.init_args.run_name", name, *words,
        logs=out / "runs", seed=seed, reuse=True,
    )  # fmt: skip


def probe(out: Path, name: str, fitted: dict[str, Any], modality: str, deviation: bool) -> dict[str, Any]:
    """Fit linear probes on the findings that a modality shows, and on all findings."""
    words = (modality, "--deviation", str(deviation).lower())
    label = f"{name}-{modality}-{'deviation' if deviation else 'pooled'}"
    findings = json.dumps(SHOWN[modality])
    return {
        "shown": measure(out, "probe", f"{label}-shown", fitted, *words, "--findings", findings),
        "all": measure(out, "probe", f"{label}-all", fitted, *words),
    }


def measure(out: Path, command: str, label: str, fitted: dict[str, Any], *words: object) -> dict[str, Any]:
    """Run one evaluation, unless an earlier call did, and return its report."""
    result = out / "reports" / f"{command}-{label}.json"
    return evaluate(result, command, fitted["checkpoint"], *words, reuse=True)


def show(report: dict[str, Any], console: Console) -> None:
    """Print the results on test patients as tables."""
    table = Table("run", "hidden", "modality", "method", "loss", "less than mean fill")
    for name, reconstruction in report["reconstruction"].items():
        for result in reconstruction["results"]:
            for method, error in result["errors"].items():
                interval = error["against_ci95"]
                saved = f"{error['against_mean_fill']:.1%} ({interval['low']:.1%} to {interval['high']:.1%})"
                table.add_row(name, result["mask"], result["name"], method, f"{error['value']:.4f}", saved)
        table.add_section()
    console.print(table)
    probes = Table("probe", "findings", "trained", "random weights", "gain")
    for name, by_findings in report["probes"].items():
        for which in ("shown", "all"):
            result = by_findings[which]
            low, high = result["gain_ci95"]["low"], result["gain_ci95"]["high"]
            probes.add_row(
                name,
                which,
                cell(result["trained"]),
                cell(result["random"]),
                f"{result['gain']:.3f} ({low:.3f} to {high:.3f})",
            )
    console.print(probes)
    transferred = Table("start and contrastive budget", "zero-shot macro AUROC", "seconds")
    for name, result in report["transfer"].items():
        transferred.add_row(name, cell(result), f"{result['seconds']:.0f}")
    console.print(transferred)


def cell(result: dict[str, Any]) -> str:
    """Format a macro AUROC with its interval."""
    return f"{result['macro_auroc']:.3f} ({result['macro_ci95']['low']:.3f} to {result['macro_ci95']['high']:.3f})"


if __name__ == "__main__":
    sys.exit(main())
