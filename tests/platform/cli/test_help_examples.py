"""The example in the help of every command runs as it is printed, in a folder that holds what it names."""

import os
import re
import shlex
import shutil
import signal
from contextlib import chdir
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import pandas as pd
import pytest
import yaml
from filelock import FileLock

from archives import flatten
from browser import wait
from cli_runs import fit, write_config
from forked_commands import Forked
from layouts.ptbxl import write_ptbxl
from polyclinic.cli import COMMANDS, main
from polyclinic.cli.commands import help_text
from polyclinic.cli.demo.inputs import copy_recipe
from polyclinic.deploy.service.audit import AuditLog
from ward_files import write_records

ECG = {"ecg": {"class_path": "ECG", "init_args": {"rate": 50, "seconds": 4, "patch": 20}}}
TABULAR = {"tabular": {"class_path": "Tabular"}}
SHORT = "--trainer.max_epochs 1 --trainer.limit_train_batches 1 --data.num_workers 0"
FEW = "--resamples 20"


class Case(NamedTuple):
    """What a test adds to an example: options that make it short, and which checkpoint ``best.ckpt`` is."""

    options: str = ""
    checkpoint: str = "contrastive"
    removed: str = ""


CASES = {
    "sweep": Case(f"--trials 1 --trainer.check_val_every_n_epoch 1 {SHORT}"),
    "crossval": Case(SHORT),
    "fit": Case(SHORT),
    "validate": Case("--data.num_workers 0", "symile"),
    "test": Case("--data.num_workers 0", "masked"),
    "predict": Case(checkpoint="masked"),
    "cohort phantom": Case("--studies 20", removed="demo"),
    "cohort build": Case(),
    "cohort scan": Case(),
    "cohort ward": Case(),
    "cohort add": Case(),
    "cohort check": Case("--workers 0"),
    "cohort overlap": Case(),
    "cohort events": Case(removed="events"),
    "evaluate zeroshot": Case(FEW),
    "evaluate retrieval": Case(f"{FEW} --candidates 4"),
    "evaluate linkage": Case(FEW),
    "evaluate classifier": Case(FEW, "head"),
    "evaluate baseline": Case(FEW, "head"),
    "evaluate reconstruction": Case(FEW, "masked"),
    "evaluate probe": Case(FEW),
    "evaluate card": Case(f"{FEW} --minimum 4"),
    "bundle export": Case(FEW, removed="bundle"),
    "bundle verify": Case(),
    "bundle register": Case(),
    "score": Case(),
    "audit": Case(),
    "deidentify": Case(),
    "tracking send": Case(),
    "completion": Case(),
    "modalities": Case(),
    "doctor": Case(),
    "new": Case(),
}
LONG = ("sweep", "crossval", "evaluate baseline", "evaluate card", "deidentify")
"""Commands that take more than five seconds here, which `make soak` runs."""

ADDRESS = re.compile(r"(?:^runs:|^serving .+ at) (http\S+)$", re.MULTILINE)
SERVICES = {"demo": "", "runs": "--no-browser", "serve": "--port 0"}
"""Commands whose examples end in a service, and options that keep it from a browser or from a port in use."""


@pytest.fixture(scope="session")
def named_files(
    tmp_path_factory: pytest.TempPathFactory, worker_id: str, made: Path, head_made: Path, phantom_cohort: Path
) -> Path:
    """Make a folder with everything that the examples name."""
    root = tmp_path_factory.getbasetemp()
    folder = (root if worker_id == "master" else root.parent) / "examples"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            _make(folder, made, head_made, phantom_cohort.parent)
    return folder


def _make(folder: Path, made: Path, head_made: Path, phantom: Path) -> None:
    shutil.copytree(made / "cohort", folder)
    shutil.copytree(phantom, folder / "demo" / "cohort")
    for name in ("pretraining.yaml", "evaluation.yaml"):
        shutil.copy(folder / "cohort.yaml", folder / name)
    shutil.copytree(made / "bundle", folder / "bundle")
    shutil.copy(made / "prompts.yaml", folder / "prompts.yaml")
    (folder / "runs").mkdir()
    record = next(iter(sorted((folder / "ecg").glob("*.hea"))))
    for file in (record, record.with_suffix(".dat")):
        shutil.copy(file, folder)
    shutil.copy(record, folder / "ecg.hea")
    (folder / "key.txt").write_text("0123456789abcdef" * 4)
    (folder / "key.txt").chmod(0o600)
    AuditLog(folder / "audit.jsonl").close()
    (folder / "space.yaml").write_text("model.init_args.lr: {low: 1.0e-4, high: 1.0e-2, log: true}\n")
    write_ptbxl(folder / "physionet" / "ptb-xl")
    flatten(folder / "demo" / "cohort", folder / "archive")
    write_records(folder / "records")
    studies = pd.read_csv(folder / "cohort.csv", dtype=str)["study_id"]
    pd.DataFrame({"study_id": studies, "pneumonia": "0"}).to_csv(folder / "labels.csv", index=False)
    with chdir(folder):
        _make_checkpoints(made, head_made)


def _make_checkpoints(made: Path, head_made: Path) -> None:
    """Write a checkpoint of each kind in the working folder, named by it, and the recipe of one of them."""
    shutil.copy(made / "run.ckpt", "contrastive.ckpt")
    shutil.copy(head_made / "run.ckpt", "head.ckpt")
    model = {"class_path": "MaskedPretraining", "init_args": {"size": "pico"}}
    write_config(made / "cohort" / "cohort.yaml", model, ECG | TABULAR)
    shutil.copy(fit()["checkpoint"], "masked.ckpt")
    copy_recipe("prompts.yaml", Path("demo"))
    Path("config.yaml").rename("masked.yaml")
    shutil.copy(copy_recipe("symile.yaml", Path("demo")), "config.yaml")
    shutil.copy(fit(*SHORT.split())["checkpoint"], "symile.ckpt")
    content = yaml.safe_load(Path("cohort.yaml").read_text()) | {"split": {"folds": 2}}
    Path("folds.yaml").write_text(yaml.safe_dump(content))
    write_config(Path("folds.yaml"), {"class_path": "Downstream", "init_args": {"linear": False}}, TABULAR)
    Path("config.yaml").rename("c.yaml")


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in CASES])
def test_the_example_of_a_command_runs(
    name: str, named_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    for path in named_files.iterdir():
        if path.name != case.removed:
            (tmp_path / path.name).symlink_to(path)
    for checkpoint in ("best.ckpt", "last.ckpt"):
        (tmp_path / checkpoint).symlink_to(named_files / f"{case.checkpoint}.ckpt")
    monkeypatch.chdir(tmp_path)
    assert main(_shortened(_example(name), shlex.split(case.options))) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVICES)
def test_the_example_of_a_command_that_serves_runs(name: str, named_files: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle").symlink_to(named_files / "bundle")
    if name == "runs":
        (tmp_path / "demo").mkdir()
        shutil.copytree(named_files / "runs", tmp_path / "demo" / "runs")
    log = tmp_path / "log.txt"
    words = [*_example(name), *shlex.split(SERVICES[name])]
    command = Forked(words, folder=tmp_path, environment=os.environ, out=log, errors=log)
    try:
        wait(lambda: command.poll() is not None or (log.is_file() and ADDRESS.search(log.read_text())))
        found = ADDRESS.search(log.read_text())
        assert found is not None, log.read_text()
        with urlopen(found[1], timeout=60) as answer:
            assert answer.status == 200
    finally:
        command.send_signal(signal.SIGINT)
    assert command.wait(120) == 0, log.read_text()


def _example(name: str) -> list[str]:
    found = re.search(r"^example: polyclinic (.+)$", help_text(name), re.MULTILINE)
    assert found is not None
    return shlex.split(found[1])


def _shortened(words: list[str], options: list[str]) -> list[str]:
    """Return the words of an example with other values of some options."""
    given = dict(zip(options[::2], options[1::2], strict=True))
    replaced = [given.pop(before, word) for before, word in zip(["", *words], words, strict=False)]
    return [*replaced, *(word for option in given.items() for word in option)]


def test_every_command_has_an_example_that_a_test_runs() -> None:
    assert {*CASES, *SERVICES} == set(COMMANDS)
