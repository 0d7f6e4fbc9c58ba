"""Default recipes on public sets, each beside the simple models of ``polyclinic evaluate baseline``.

Every step is a command that a user could type; this file runs them in order and gathers their reports. Results that
exist are reused.

    python experiments/real/run.py --data FOLDER --out runs/real

FOLDER holds ``ptbxl500`` (PTB-XL 1.0.3, first records) and ``ludb`` (LUDB 1.0.1 as published). The reports of OpenI are
those in the wheel of torchxrayvision.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tarfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import yaml

# The experiments are not installed; this finds `experiments.runner` from any working folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.runner import write_report

HERE = Path(__file__).parent
SUPERCLASSES = "[NORM, MI, STTC, CD, HYP]"
FINDINGS = "[hypertrophy, conduction, ischemia, repolarisation, fibrillation]"
TRAINER = ("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false")
FIT = ("--model", "Downstream", *TRAINER)


def main() -> int:
    """Run everything and write ``report.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with ptbxl500 and ludb")
    parser.add_argument("--out", type=Path, default=Path("runs/real"), help="folder for the results")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), help="sets to run")
    arguments = parser.parse_args()
    data, out = arguments.data.resolve(), arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    report = {name: {seed: SETS[name](data, out, seed) for seed in range(arguments.seeds)} for name in arguments.sets}
    path = write_report(report, out)
    for name, by_seed in report.items():
        for key in next(iter(by_seed.values())):
            values = [results[key] for results in by_seed.values()]
            print(f"{name} {key}: {np.mean(values):.4f} ({', '.join(f'{value:.4f}' for value in values)})")
    print(f"report: {path}")
    return 0


def ptbxl(data: Path, out: Path, seed: int) -> dict[str, float]:
    """Five superclasses from the ECG, in five folds of patients."""
    return on_folds(out / f"ptbxl_{seed}", seed, ptbxl_cohort(data, out, folds=5), SUPERCLASSES)


def pretrained(data: Path, out: Path, seed: int) -> dict[str, float]:
    """Both sets of ECGs after masked pretraining on the training studies of the other one."""
    cohorts = {"ptbxl": ptbxl_cohort(data, out, folds=5), "ludb": ludb_cohort(data, out)}
    results = {}
    for name, other, labels in (("ptbxl", "ludb", SUPERCLASSES), ("ludb", "ptbxl", FINDINGS)):
        folder = out / f"pretrained_{name}_{seed}"
        folder.mkdir(exist_ok=True)
        words = ["--data.cohort", cohorts[other], "--data.modalities.ecg", "ECG", "--seed_everything", seed]
        polyclinic(
            "fit", "--model", "MaskedPretraining", *TRAINER, *words, "--json", "masked.json",
            folder=folder, done="masked.json",
        )  # fmt: skip
        weights = read(folder / "masked.json")["checkpoint"]
        measured = on_folds(folder, seed, cohorts[name], labels, "--weights", weights)
        results |= {f"{name} {key}": value for key, value in measured.items()}
    return results


def zeroshot(data: Path, out: Path, seed: int) -> dict[str, float]:
    """Five superclasses from German prompts, and retrieval of reports, after contrast of ECGs and reports."""
    folder = out / f"zeroshot_{seed}"
    folder.mkdir(exist_ok=True)
    words = ["--data.cohort", ptbxl_cohort(data, out), "--data.modalities.ecg", "ECG", "--seed_everything", seed]
    words += ["--data.modalities.report", "Report", "--model.init_args.objective", "Clip"]
    polyclinic(
        "fit", "--model", "ContrastivePretraining", *TRAINER, *words, "--json", "fit.json",
        folder=folder, done="fit.json",
    )  # fmt: skip
    checkpoint = read(folder / "fit.json")["checkpoint"]
    for words in (["zeroshot", checkpoint, HERE / "ptbxl_prompts.yaml"], ["retrieval", checkpoint, "report"]):
        done = f"{words[0]}.json"
        polyclinic("evaluate", *words, "--json", done, folder=folder, done=done)
    mrr = read(folder / "retrieval.json")["sampled"]["mrr"]
    return {
        "auroc": read(folder / "zeroshot.json")["macro_auroc"],
        "mrr among ten": mrr["value"],
        "mrr of chance": mrr["chance"],
    }


def openi(data: Path, out: Path, seed: int) -> dict[str, float]:
    """Fourteen findings from the text of the reports."""
    root = out / "openi"
    if not root.exists():
        package = find_spec("torchxrayvision")
        if package is None or package.origin is None:
            sys.exit("torchxrayvision is not installed; its wheel holds the reports, so install it")
        with tarfile.open(Path(package.origin).parent / "data" / "NLMCXR_reports.tgz") as archive:
            archive.extractall(out / "openi_files", filter="data")
        polyclinic("cohort", "build", "openi", "--root", out / "openi_files", "--out", root, "--images", "none")
    words = ["--data.cohort", root / "cohort.yaml", "--data.modalities.report", "Report"]
    return on_one_split(out / f"openi_{seed}", seed, [*words, "--data.label_policy.uncertain", "ignore"])


def ludb(data: Path, out: Path, seed: int) -> dict[str, float]:
    """Five findings and the age from the ECG, out of fold in five folds of patients."""
    cohort = ludb_cohort(data, out)
    findings, age = (
        on_folds(out / f"ludb_{name}_{seed}", seed, cohort, labels)
        for name, labels in (("findings", FINDINGS), ("age", "[age]"))
    )
    return findings | {f"age {name}": value for name, value in age.items()}


SETS = {"ptbxl": ptbxl, "ludb": ludb, "openi": openi, "pretrained": pretrained, "zeroshot": zeroshot}


def ptbxl_cohort(data: Path, out: Path, *, folds: int = 0) -> Path:
    """Build the cohort of PTB-XL, once, and return its file: with the published split, or with folds of patients."""
    root = out / "ptbxl"
    if not root.exists():
        polyclinic("cohort", "build", "ptbxl", "--root", data / "ptbxl500", "--out", root)
    published, folded = root / "cohort.yaml", root / f"folds{folds}.yaml"
    if not folds:
        return published
    content = yaml.safe_load(published.read_text(encoding="utf-8")) | {"split": {"folds": folds}}
    folded.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return folded


def ludb_cohort(data: Path, out: Path) -> Path:
    """Put the cohort file beside a copy of LUDB, once."""
    root = out / "ludb"
    if not root.exists():
        shutil.copytree(data / "ludb", root)
        shutil.copy(HERE / "ludb.yaml", root / "cohort.yaml")
    return root / "cohort.yaml"


def on_one_split(folder: Path, seed: int, words: list[Any]) -> dict[str, float]:
    """Train, and compare with the baseline on the test split."""
    folder.mkdir(exist_ok=True)
    seconds = polyclinic(
        "fit", *FIT, *words, "--seed_everything", seed, "--json", "fit.json", folder=folder, done="fit.json"
    )
    checkpoint = read(folder / "fit.json")["checkpoint"]
    polyclinic("evaluate", "baseline", checkpoint, "--json", "baseline.json", folder=folder, done="baseline.json")
    baseline = read(folder / "baseline.json")
    return {
        "model": baseline["macro_model"],
        "baseline": baseline["macro"],
        "gain": baseline["macro_gain"]["value"],
        **({"seconds over those of the baseline": seconds / baseline["seconds"]} if seconds else {}),
    }


def on_folds(folder: Path, seed: int, cohort: Path, labels: str, *words: Any) -> dict[str, float]:
    """Cross-validate, and compare each fold with its baseline."""
    folder.mkdir(exist_ok=True)
    of_data = ["--data.cohort", cohort, "--data.modalities.ecg", "ECG", "--data.label_policy.blank", "zero"]
    of_data += ["--data.labels", labels, "--seed_everything", seed]
    seconds = polyclinic(
        "crossval", *FIT, *of_data, *words, "--json", "crossval.json", folder=folder, done="crossval.json"
    )
    results = []
    for number, checkpoint in enumerate(read(folder / "crossval.json")["checkpoints"]):
        name = f"baseline_{number}.json"
        polyclinic("evaluate", "baseline", checkpoint, "--json", name, folder=folder, done=name)
        results.append(read(folder / name))
    if results[0]["macro_gain"] is None:
        errors = [result["labels"][0] for result in results]
        return {
            "model error": float(np.mean([label["model"]["value"] for label in errors])),
            "baseline error": float(np.mean([label["joined"]["value"] for label in errors])),
        }
    model, baseline = ([result[key] for result in results] for key in ("macro_model", "macro"))
    of_baseline = sum(result["seconds"] for result in results)
    return {
        "model": float(np.mean(model)),
        "baseline": float(np.mean(baseline)),
        "gain": float(np.mean(np.subtract(model, baseline))),
        **({"seconds over those of the baseline": seconds / of_baseline} if seconds else {}),
    }


def polyclinic(*words: Any, folder: Path | None = None, done: str | None = None) -> float:
    """Run a command unless its result exists, and return its seconds; 0 for an earlier result."""
    if folder is not None and done is not None and (folder / done).exists():
        return 0.0
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "polyclinic", *map(str, words)], cwd=folder, check=True)
    return time.monotonic() - started


def read(path: Path) -> Any:
    """Read a report."""
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
