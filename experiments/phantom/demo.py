"""The main job on the phantom cohort: write it, pretrain with Symile and with CLIP, evaluate on unseen patients.

Every step is a command that a user could type; this file only runs them in order and gathers what they wrote.
"""

import argparse
import ctypes
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console
from rich.table import Table
from study_figure import draw_study

from polyclinic.cli import main as polyclinic
from polyclinic.cohort import read_cohort
from polyclinic.modality.physiology import JOINT_FINDING
from polyclinic.system.shell import print_next

HERE = Path(__file__).parent
PROMPTS = HERE / "prompts.yaml"
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # of glibc's malloc.h
JOINT_QUERY = ["xray", "ecg"]
RETRIEVAL_QUERY, RETRIEVAL_TARGET = ["xray", "ecg", "audio", "tabular"], "report"


def main() -> int:
    """Run the demo and write ``report.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo"))
    parser.add_argument("--studies", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    # One core for the model, one for the loader: two threads that wait for each other are slower on two cores.
    torch.set_num_threads(1)
    keep_freed_memory()
    out: Path = arguments.out
    cohort = out / "cohort" / "cohort.yaml"
    if cohort.exists():
        refuse_another(cohort.with_name("phantom.yaml"), studies=arguments.studies, seed=arguments.seed)
    else:
        out.mkdir(parents=True, exist_ok=True)
        run("cohort", "phantom", cohort.parent, "--studies", arguments.studies, "--seed", arguments.seed)
    fits = {name: fit(name, out, cohort, arguments.seed) for name in ("symile", "clip", "supervised")}
    report = gather(out, cohort, fits)
    (out / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    show(report, Console())
    print(f"one study: {draw_study(cohort, out / 'study.png')}")
    print(f"report: {out / 'report.json'}")
    print_next(".venv/bin/mlflow", "ui", "--backend-store-uri", fits["symile"]["tracking_uri"])
    return 0


def keep_freed_memory() -> None:
    """Have glibc keep for the next step what one has freed: taking its pages again is a twentieth of a step."""
    with suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for setting, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 64 * 2**20)):
            mallopt(setting, value)


def refuse_another(origin: Path, **wanted: int) -> None:
    """Stop where the folder holds a cohort of another size or seed."""
    made = yaml.safe_load(origin.read_text(encoding="utf-8")) if origin.exists() else {}
    if any(made.get(key) != value for key, value in wanted.items()):
        got = {key: made.get(key, "unknown") for key in wanted}
        sys.exit(f"got {origin.parent} with {got}, expected {wanted}; remove it, or set `--out` to another folder")


def run(*words: object) -> None:
    """Run one polyclinic command; stop the demo where it fails."""
    arguments = [str(word) for word in words]
    print(f"\n$ polyclinic {' '.join(arguments)}", flush=True)
    if code := polyclinic(arguments):
        sys.exit(code)


def fit(name: str, out: Path, cohort: Path, seed: int) -> dict[str, Any]:
    """Train one experiment and return what ``fit --json`` wrote."""
    result = out / f"{name}.json"
    run(
        "fit", "-c", HERE / f"{name}.yaml", "--seed_everything", seed, "--data.cohort", cohort,
        "--data.prepared", out / "prepared", "--trainer.logger.init_args.out", out / "runs", "--json", result,
    )  # fmt: skip
    return read(result)


def gather(out: Path, cohort: Path, fits: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Evaluate on the test patients and put the results together."""
    symile, clip, supervised = (fits[name]["checkpoint"] for name in ("symile", "clip", "supervised"))
    only_joint = ("--query", json.dumps(JOINT_QUERY), "--complete", "true")
    joint = {name: evaluate(out, "zeroshot", path, PROMPTS, *only_joint) for name, path in
             (("symile", symile), ("clip", clip))}  # fmt: skip
    # Last, because the run keeps the figures of the latest evaluation.
    everything = evaluate(out, "zeroshot", symile, PROMPTS)
    retrieval = evaluate(out, "retrieval", symile, RETRIEVAL_TARGET, "--query", json.dumps(RETRIEVAL_QUERY))
    ceiling = evaluate(out, "classifier", supervised)
    read_back = read_cohort(cohort)
    top1 = retrieval["sampled"]["recall"]["1"]
    return {
        "cohort": {
            "studies": len(read_back.studies),
            "patients": len({study.patient_id for study in read_back.studies}),
            "present": read_back.present_share(),
        },
        "pretraining": {"objective": "Symile", **{key: fits["symile"][key] for key in ("seconds", "mlflow_run_id")}},
        "zeroshot": {
            "macro_auroc": everything["macro_auroc"],
            "supervised_macro_auroc": ceiling["macro_auroc"],
            "findings": {
                finding["name"]: {key: finding[key] for key in ("auroc", "ci95", "n_positive")}
                for finding in everything["findings"]
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


def evaluate(out: Path, kind: str, *words: object) -> dict[str, Any]:
    """Run one evaluation and return its report."""
    result = out / f"{kind}.json"
    run("evaluate", kind, *words, "--json", result)
    return read(result)


def auroc_of(report: dict[str, Any], finding: str) -> float:
    """The AUROC of one finding."""
    return next(float(entry["auroc"]) for entry in report["findings"] if entry["name"] == finding)


def read(path: Path) -> dict[str, Any]:
    """A JSON file's content."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def show(report: dict[str, Any], console: Console) -> None:
    """Print the report as tables."""
    cohort, zeroshot = report["cohort"], report["zeroshot"]
    present = ", ".join(f"{name} {share:.0%}" for name, share in cohort["present"].items())
    console.print(f"\n{cohort['studies']} studies of {cohort['patients']} patients; present: {present}")
    table = Table("finding", "zero-shot AUROC", "95 % interval", "positives", title="test patients, never seen")
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
