"""The short demo leaves a bundle, and files of a study that it scores; the recipes name the folder of the demo."""

import json
import os
import shlex
from pathlib import Path

import pytest
import yaml

from forked_commands import Forked
from polyclinic.cli import main
from polyclinic.cli.demo.inputs import RECIPES, copy_recipe


def test_the_short_demo_leaves_a_bundle_that_scores_the_study_it_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["demo", "--quick", "--no-serve", "--studies", "60", "--out", "first look"]
    log = tmp_path / "demo.log"
    environment = {**os.environ, "COLUMNS": "80"}
    assert Forked(words, folder=tmp_path, environment=environment, out=log, errors=log).wait(240) == 0, log.read_text()
    shown, out = log.read_text().splitlines(), tmp_path / "first look"
    assert [line.split("  ")[0] for line in shown[:3]] == ["write synthetic studies", "train a head", "export a bundle"]
    assert all(len(line) <= 80 for line in shown[:3])
    assert "epoch 3 has ended" in (out / "logs" / "train_a_head.log").read_text()
    assert shown[-1] == "next: polyclinic serve 'first look/bundle'"
    files = {path.suffix: str(path) for path in (out / "study").iterdir()}
    given = [f"--{name}={files[suffix]}" for name, suffix in (("ecg", ".hea"), ("audio", ".wav")) if suffix in files]
    assert given
    assert main(["score", str(out / "bundle"), *given, "--json", str(tmp_path / "scores.json")]) == 0
    assert json.loads((tmp_path / "scores.json").read_text())["findings"]


def test_a_demo_refuses_a_cohort_of_another_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cohort = tmp_path / "cohort"
    cohort.mkdir()
    (cohort / "cohort.yaml").write_text("table: cohort.csv\n")
    (cohort / "phantom.yaml").write_text("studies: 3000\nseed: 0\n")
    assert main(["demo", "--out", str(tmp_path), "--seed", "1"]) == 1
    errors = capsys.readouterr().err
    assert "with {'studies': 3000, 'seed': 0}, expected {'studies': 3000, 'seed': 1}" in errors
    assert "set `--out`" in errors
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize("name", ["symile.yaml", "clip.yaml", "supervised.yaml", "quick.yaml"])
@pytest.mark.parametrize("folder", ["mine", "a, b: c", "{x} #1", 'it\'s "q" \\1', "é"])
def test_the_copy_of_a_recipe_names_the_folder_of_its_demo(tmp_path: Path, name: str, folder: str) -> None:
    copy = copy_recipe(name, tmp_path / folder)
    config = yaml.safe_load(copy.read_text())
    assert config["data"]["cohort"] == str(tmp_path / folder / "cohort" / "cohort.yaml")
    assert config["data"]["prepared"] == str(tmp_path / folder / "prepared")
    assert config["trainer"]["logger"]["init_args"]["out"] == str(tmp_path / folder / "runs")
    assert shlex.split(copy.read_text().splitlines()[1])[-1] == str(copy)
    assert config["model"] == yaml.safe_load((RECIPES / name).read_text())["model"]
