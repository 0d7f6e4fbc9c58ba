"""The short demo: a head on two hundred synthetic studies, its bundle, and the page of the service."""

import json
import shutil
from pathlib import Path

from polyclinic.cli.demo.inputs import copy_recipe, make_cohort
from polyclinic.cli.demo.steps import EPOCH_LINES, Step, run_steps
from polyclinic.cli.serve import serve as serve_bundle
from polyclinic.cohort import read_cohort
from polyclinic.deploy.service.settings import ServiceSettings
from polyclinic.files.yaml_loader import load_yaml
from polyclinic.modality import installed_modalities
from polyclinic.system.shell import command_line, print_next
from polyclinic.system.terminal import Console, remark


def run_quick(out: Path, *, studies: int, seed: int, serve: bool, console: Console) -> None:
    """Train, export and serve a small head, and name the files of a study to try it with.

    The page needs no token: only this machine reaches it, and the patients are synthetic.

    Raises:
        ValueError: the folder holds another synthetic cohort, or a step failed.
    """
    recipe = copy_recipe("quick.yaml", out)
    config = load_yaml(recipe.read_bytes(), name=recipe.name)
    modalities = list(config["data"]["modalities"])
    cohort = make_cohort(out, studies=studies, seed=seed, modalities=modalities, console=console)
    record, bundle = out / "quick.json", out / "bundle"
    training = ("fit", "-c", recipe, "--seed_everything", seed, "--json", record, EPOCH_LINES)
    run_steps([Step("train a head", training, config["trainer"]["max_epochs"])], out, console)
    checkpoint = Path(json.loads(record.read_text(encoding="utf-8"))["checkpoint"])
    shutil.rmtree(bundle, ignore_errors=True)
    export = ("bundle", "export", checkpoint, "--out", bundle, "--no-baseline", "--resamples", 50)
    run_steps([Step("export a bundle", export)], out, console)
    study = _copy_study(cohort, out / "study")
    remark(f"what the commands printed: {out / 'logs'}")
    remark(f"runs: {command_line('polyclinic', 'runs', '--out', out / 'runs')}")
    console.print(f"a study for the page: the files in {study}", soft_wrap=True)
    if serve:
        serve_bundle(ServiceSettings(bundle, port=0, no_token=True, audit=out / "audit.jsonl"))
    else:
        print_next("polyclinic", "serve", bundle)


def _copy_study(cohort: Path, folder: Path) -> Path:
    """Copy the files of the first test study that has every modality."""
    read, plugins = read_cohort(cohort), installed_modalities()
    study = max(read.split("test"), key=lambda study: len(study.sources))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, source in study.sources.items():
        for file in plugins[name]().files(source):
            shutil.copy(file, folder)
    return folder
