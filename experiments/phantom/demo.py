"""Main demonstration on the phantom cohort: pretrain with Symile and with CLIP, evaluate on unseen patients.

Every step is a command that a user could type; this file runs them in order and gathers their reports.
"""

import ctypes
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from study_figure import draw_study

# The experiments are not installed; this finds `experiments.runner` from any working folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.runner import evaluate, fit, phantom_cohort, phantom_parser, write_report

from polyclinic.cohort import read_cohort
from polyclinic.modality.physiology import JOINT_FINDING
from polyclinic.system.shell import print_next

HERE = Path(__file__).parent
PROMPTS = HERE / "prompts.yaml"
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # glibc's malloc.h
JOINT_QUERY = ["xray", "ecg"]
RETRIEVAL_QUERY, RETRIEVAL_TARGET = ["xray", "ecg", "audio", "tabular"], "report"


def main() -> int:
    """Run the demo and write ``report.json``."""
    arguments = phantom_parser(__doc__, out="demo").parse_args()
    # One core for the model and one for the loader: on two cores, a second thread slows both down.
    torch.set_num_threads(1)
    keep_freed_memory()
    out: Path = arguments.out
    cohort = phantom_cohort(out, studies=arguments.studies, seed=arguments.seed)
    fits = {name: train(name, out, cohort, arguments.seed) for name in ("symile", "clip", "supervised")}
    report = gather(out, cohort, fits)
    path = write_report(report, out)
    show(report, Console())
    print(f"one study: {draw_study(cohort, out / 'study.png')}")
    print(f"report: {path}")
    print_next(".venv/bin/mlflow", "ui", "--backend-store-uri", fits["symile"]["tracking_uri"])
    return 0


def keep_freed_memory() -> None:
    """Make glibc retain freed memory for the next step, because mapping its pages again takes a twentieth of a step."""
    with suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for setting, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 64 * 2**20)):
            mallopt(setting, value)


def train(name: str, out: Path, cohort: Path, seed: int) -> dict[str, Any]:
    """Train one recipe and return the report of ``fit --json``."""
    words = ("--data.prepared", out / "prepared")
    return fit(HERE / f"{name}.yaml", cohort, out / f"{name}.json", *words, logs=out / "runs", seed=seed)


def gather(out: Path, cohort: Path, fits: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Evaluate on the test patients and return the report of the demo."""
    symile, clip, supervised = (fits[name]["checkpoint"] for name in ("symile", "clip", "supervised"))
    only_joint = ("--query", json.dumps(JOINT_QUERY), "--complete", "true")
    zeroshot = out / "zeroshot.json"
    joint = {
        name: evaluate(zeroshot, "zeroshot", checkpoint, PROMPTS, *only_joint)
        for name, checkpoint in (("symile", symile), ("clip", clip))
    }
    # After the joint finding, because MLflow and zeroshot.json hold the metrics of the latest evaluation.
    every = evaluate(zeroshot, "zeroshot", symile, PROMPTS)
    query = ("--query", json.dumps(RETRIEVAL_QUERY))
    retrieval = evaluate(out / "retrieval.json", "retrieval", symile, RETRIEVAL_TARGET, *query)
    ceiling = evaluate(out / "classifier.json", "classifier", supervised)
    cohort_spec = read_cohort(cohort)
    top1 = retrieval["sampled"]["recall"]["1"]
    return {
        "cohort": {
            "studies": len(cohort_spec.studies),
            "patients": len({study.patient_id for study in cohort_spec.studies}),
            "present": cohort_spec.present_share(),
        },
        "pretraining": {"objective": "Symile", **{key: fits["symile"][key] for key in ("seconds", "mlflow_run_id")}},
        "zeroshot": {
            "macro_auroc": every["macro_auroc"],
            "supervised_macro_auroc": ceiling["macro_auroc"],
            "findings": {
                finding["name"]: {key: finding[key] for key in ("auroc", "ci95", "n_positive")}
                for finding in every["findings"]
            },
        },
        "retrieval": {
            "query": RETRIEVAL_QUERY,
            "target": RETRIEVAL_TARGET,
            "candidates": 10,
            "top1": top1["value"],
            "chance": top1["chance"],
            "ci95": top1["ci95"],
        },
        "joint_only": {
            "finding": JOINT_FINDING,
            "symile_auroc": auroc_of(joint["symile"], JOINT_FINDING),
            "clip_auroc": auroc_of(joint["clip"], JOINT_FINDING),
        },
    }


def auroc_of(report: dict[str, Any], finding: str) -> float:
    """Return the AUROC of one finding."""
    return next(float(entry["auroc"]) for entry in report["findings"] if entry["name"] == finding)


def show(report: dict[str, Any], console: Console) -> None:
    """Print the report as tables."""
    cohort, zeroshot = report["cohort"], report["zeroshot"]
    present = ", ".join(f"{name} {share:.0%}" for name, share in cohort["present"].items())
    console.print(f"\n{cohort['studies']} studies of {cohort['patients']} patients; present: {present}")
    table = Table("finding", "zero-shot AUROC", "95 % interval", "positives", title="unseen test patients")
    for name, finding in zeroshot["findings"].items():
        low, high, *_ = finding["ci95"].values()
        table.add_row(name, f"{finding['auroc']:.3f}", f"{low:.3f} to {high:.3f}", str(finding["n_positive"]))
    table.add_row(
        "macro", f"{zeroshot['macro_auroc']:.3f}", f"supervised: {zeroshot['supervised_macro_auroc']:.3f}", ""
    )
    console.print(table)
    joint, retrieval = report["joint_only"], report["retrieval"]
    console.print(
        f"{joint['finding']} from {' and '.join(JOINT_QUERY)}: "
        f"Symile {joint['symile_auroc']:.3f}, CLIP {joint['clip_auroc']:.3f}"
    )
    console.print(
        f"{retrieval['target']} among {retrieval['candidates']}: top-1 {retrieval['top1']:.3f} "
        f"(chance {retrieval['chance']:.2f}); pretraining took {report['pretraining']['seconds']:.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
