"""Every experiment in the tree runs one batch through the command line."""

import runpy
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from layouts.symile_mimic import write_raw, write_symile_mimic
from polyclinic.cli import main
from polyclinic.cli.demo.inputs import RECIPES
from polyclinic.evaluation import load_prompts
from polyclinic.modality.physiology import FINDINGS

ROOT = Path(__file__).parent.parent
FOLDERS = ("experiments", "platform/polyclinic/cli/demo")
YAMLS = sorted(path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in (ROOT / folder).rglob("*.yaml"))
LONG = ("experiments/symile_mimic/raw.yaml", "experiments/symile_mimic/clip.yaml")
"""Experiments that `make soak` runs: they read the same files as the others of their folder."""

RUNS = [name for name in YAMLS if "model" in yaml.safe_load((ROOT / name).read_text())]


def test_the_list_of_experiments_equals_the_tracked_files() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", *(f"{folder}/*.yaml" for folder in FOLDERS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert len(RUNS) >= 4
    assert set(YAMLS) == set(tracked)


@pytest.mark.filterwarnings("ignore:.*configure_optimizers` will be overridden by")
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in RUNS])
def test_every_experiment_runs(
    name: str, tmp_path: Path, phantom_cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = yaml.safe_load((ROOT / name).read_text())
    cohort = _cohort(name, config, phantom_cohort, tmp_path)
    table = (cohort.parent / yaml.safe_load(cohort.read_text())["table"]).resolve()
    if not table.is_file():
        pytest.skip(f"the cohort of {name} is not here")
    words = ["--trainer.fast_dev_run", "1", "--data.cohort", str(cohort), "--data.prepared", "null"]
    words += _language_model(tmp_path / "transformer", cohort) if "/more_paper/" in name else []
    words += _small_arrays(config) if "symile_mimic" in name else []
    assert main(["fit", "-c", str(ROOT / name), *words, "--data.num_workers", "0"]) == 0


def _cohort(name: str, config: dict[str, Any], phantom_cohort: Path, tmp_path: Path) -> Path:
    """Return the small phantom, bits for the exclusive-or, or the cohort that the experiment names."""
    if "binary_xor" in name:
        write = runpy.run_path(str(ROOT / "experiments" / "binary_xor" / "xor_cohort.py"))["write_cohort"]
        variables = len(config["data"]["modalities"])
        path: Path = write(tmp_path / "bits", variables=variables, p=1.0, missing=0.1, seed=0)
        return path
    if "symile_mimic" in name:
        return _symile_mimic(tmp_path, raw=name.endswith("raw.yaml"))
    of_phantom = any(part in name for part in ("/cli/demo/", "/more_paper/", "/masked/", "/heads/"))
    return phantom_cohort if of_phantom else ROOT / config["data"]["cohort"]


def _symile_mimic(tmp_path: Path, *, raw: bool) -> Path:
    """Build the cohort with the command of the experiment, from a small root in the layout of the real one."""
    root, out = tmp_path / "root", tmp_path / "cohort"
    if raw:
        write_raw(root)
        words = ["mimic", "--preset", "symile-mimic", "--draw.sizes", "[4, 2]", "--draw.candidates", "2"]
    else:
        write_symile_mimic(root, side=32, samples=64)
        words = ["symile-mimic-published"]
    assert main(["cohort", "build", *words, "--root", str(root), "--out", str(out)]) == 0
    return out / "cohort.yaml"


def _small_arrays(config: dict[str, Any]) -> list[str]:
    plugins = config["data"]["modalities"]
    return [
        f"--data.modalities.{name}.init_args.shape={shape}"
        for name, shape in (("xray", "[3, 32, 32]"), ("ecg", "[1, 64, 12]"))
        if plugins[name]["class_path"].endswith("Arrays")
    ]


def _language_model(folder: Path, cohort: Path) -> list[str]:
    """Write a tiny random model with the script of the experiment, and return the options that name it."""
    runpy.run_path(str(ROOT / "experiments" / "more_paper" / "tiny_transformer.py"))["write_transformer"](
        cohort, folder
    )
    tokens, weights = "data.modalities.report.init_args.pretrained", "model.init_args.encoders.report.init_args.folder"
    return [f"--{tokens}", str(folder), f"--{weights}", str(folder)]


def test_prompts_cover_every_finding_of_the_phantom() -> None:
    prompts = load_prompts(RECIPES / "prompts.yaml")
    assert set(prompts.findings) == set(FINDINGS)
