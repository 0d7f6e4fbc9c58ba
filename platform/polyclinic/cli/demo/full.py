"""The full demo: Symile, pairwise CLIP and a supervised ceiling on synthetic patients, measured on unseen ones."""

import json
from pathlib import Path
from typing import Any

from rich.table import Table

from polyclinic.cli.demo.inputs import RECIPES, copy_recipe, make_cohort
from polyclinic.cli.demo.steps import EPOCH_LINES, Step, run_steps
from polyclinic.cohort import read_cohort
from polyclinic.files.results import write_result
from polyclinic.files.yaml_loader import load_yaml
from polyclinic.modality.physiology import JOINT_FINDING
from polyclinic.system.shell import command_line, print_next
from polyclinic.system.terminal import Console, remark

_RUNS = {"symile": "train Symile", "clip": "train CLIP", "supervised": "train with all labels"}
_QUERIES = load_yaml((RECIPES / "queries.yaml").read_bytes(), name="queries.yaml")


def run_full(out: Path, *, studies: int, seed: int, console: Console) -> None:
    """Run the full demo, write ``report.json`` in its folder, and print the report as tables.

    Raises:
        ValueError: the folder holds another synthetic cohort, or a step failed.
    """
    cohort = make_cohort(out, studies=studies, seed=seed, modalities=None, console=console)
    run_steps([_training(name, out, seed) for name in _RUNS], out, console)
    fits = {name: _read(out / f"{name}.json") for name in _RUNS}
    evaluations = _evaluate(out, {name: Path(fits[name]["checkpoint"]) for name in _RUNS}, console)
    report = _report(cohort, fits, evaluations)
    write_result(out / "report.json", report)
    _show(report, console)
    remark(f"report: {out / 'report.json'}; what the commands printed: {out / 'logs'}")
    bundle = ("--prompts", out / "prompts.yaml", "--out", out / "bundle")
    remark(f"runs: {command_line('polyclinic', 'runs', '--out', out / 'runs')}")
    print_next("polyclinic", "bundle", "export", fits["symile"]["checkpoint"], *bundle)


def _training(name: str, out: Path, seed: int) -> Step:
    recipe = copy_recipe(f"{name}.yaml", out)
    words = ["fit", "-c", recipe, "--seed_everything", seed, "--json", out / f"{name}.json", EPOCH_LINES]
    return Step(_RUNS[name], words, load_yaml(recipe.read_bytes(), name=recipe.name)["trainer"]["max_epochs"])


def _evaluate(out: Path, checkpoints: dict[str, Path], console: Console) -> dict[str, dict[str, Any]]:
    """Evaluate on the test patients, and return the reports by name."""
    prompts, symile = copy_recipe("prompts.yaml", out), checkpoints["symile"]
    only_joint = ("--query", json.dumps(_QUERIES["joint"]), "--complete")
    retrieval = (_QUERIES["retrieval"]["target"], "--query", json.dumps(_QUERIES["retrieval"]["query"]))
    # The joint finding first, because a run keeps the metrics of the latest evaluation.
    groups: list[dict[str, tuple[str, tuple[object, ...]]]] = [
        {
            "joint_symile": ("joint finding, Symile", ("zeroshot", symile, prompts, *only_joint)),
            "joint_clip": ("joint finding, CLIP", ("zeroshot", checkpoints["clip"], prompts, *only_joint)),
            "classifier": ("findings, all labels", ("classifier", checkpoints["supervised"])),
        },
        {
            "zeroshot": ("findings, zero-shot", ("zeroshot", symile, prompts)),
            "retrieval": ("retrieval of reports", ("retrieval", symile, *retrieval)),
        },
    ]
    for group in groups:
        steps = [
            Step(f"evaluate {title}", ("evaluate", *words, "--json", out / f"{name}.json"))
            for name, (title, words) in group.items()
        ]
        run_steps(steps, out, console, preload=("polyclinic.cli.evaluate.zeroshot",))
    return {name: _read(out / f"{name}.json") for group in groups for name in group}


def _report(cohort: Path, fits: dict[str, Any], evaluations: dict[str, Any]) -> dict[str, Any]:
    spec = read_cohort(cohort)
    zeroshot, top1 = evaluations["zeroshot"], evaluations["retrieval"]["sampled"]["recall"]["1"]
    return {
        "cohort": {
            "studies": len(spec.studies),
            "patients": len({study.patient_id for study in spec.studies}),
            "present": spec.present_share(),
        },
        "pretraining": {"objective": "Symile", **{key: fits["symile"][key] for key in ("seconds", "mlflow_run_id")}},
        "zeroshot": {
            "macro_auroc": zeroshot["macro_auroc"],
            "supervised_macro_auroc": evaluations["classifier"]["macro_auroc"],
            "findings": {
                finding["name"]: {key: finding[key] for key in ("auroc", "ci95", "n_positive")}
                for finding in zeroshot["findings"]
            },
        },
        "retrieval": {
            **_QUERIES["retrieval"],
            "candidates": 10,
            "top1": top1["value"],
            "chance": top1["chance"],
            "ci95": top1["ci95"],
        },
        "joint_only": {
            "finding": JOINT_FINDING,
            "symile_auroc": _auroc_of(evaluations["joint_symile"], JOINT_FINDING),
            "clip_auroc": _auroc_of(evaluations["joint_clip"], JOINT_FINDING),
        },
    }


def _auroc_of(report: dict[str, Any], finding: str) -> float:
    return next(float(entry["auroc"]) for entry in report["findings"] if entry["name"] == finding)


def _show(report: dict[str, Any], console: Console) -> None:
    cohort, zeroshot = report["cohort"], report["zeroshot"]
    present = ", ".join(f"{name} {share:.0%}" for name, share in cohort["present"].items())
    console.print(f"\n{cohort['studies']} studies of {cohort['patients']} patients; present: {present}")
    table = Table("finding", "AUROC", "95 % interval", "positives", title="zero-shot, unseen patients")
    for name, finding in zeroshot["findings"].items():
        low, high, *_ = finding["ci95"].values()
        shown = name.replace("_", " ")
        table.add_row(shown, f"{finding['auroc']:.3f}", f"{low:.3f} to {high:.3f}", str(finding["n_positive"]))
    table.add_section()
    table.add_row("mean", f"{zeroshot['macro_auroc']:.3f}", "", "")
    table.add_row("mean, trained on all labels", f"{zeroshot['supervised_macro_auroc']:.3f}", "", "")
    console.print(table)
    joint, retrieval = report["joint_only"], report["retrieval"]
    console.print(
        f"{joint['finding'].replace('_', ' ')}, visible in {' and '.join(_QUERIES['joint'])} together only: "
        f"Symile {joint['symile_auroc']:.3f}, CLIP {joint['clip_auroc']:.3f}"
    )
    console.print(
        f"the right {retrieval['target']} first among {retrieval['candidates']}: {retrieval['top1']:.0%} "
        f"(chance {retrieval['chance']:.0%})"
    )


def _read(path: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return report
