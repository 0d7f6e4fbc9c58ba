"""``polyclinic new`` writes a configuration that is complete, and equal to one of five lines."""

import re
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import yaml

from polyclinic import tasks
from polyclinic.cli import main
from polyclinic.cli.settings_text import Line, render, setting_lines, yaml_value
from polyclinic.data import CohortDataModule, LabelPolicy
from polyclinic.modality import Modality, installed_modalities
from polyclinic.objectives import Symile
from polyclinic.training.best_checkpoint import BestCheckpoint
from polyclinic.training.callbacks.average_weights import AverageWeights
from polyclinic.training.checkpoints import LastCheckpoint

TASKS: dict[str, tuple[str, Any]] = {
    "contrastive": (
        "{class_path: ContrastivePretraining, init_args: {objective: Symile}}",
        tasks.ContrastivePretraining,
    ),
    "masked": ("{class_path: MaskedPretraining}", tasks.MaskedPretraining),
    "heads": ("{class_path: Downstream}", tasks.Downstream),
}
LINKED = {"modalities", "targets"}


@pytest.fixture
def cohort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phantom_cohort: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return phantom_cohort


def _resolved(config: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(["fit", "-c", config, "--print_config"])
    assert end.value.code in (0, None)
    content: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)
    return content


def _five() -> dict[str, type[Modality]]:
    """Return the plugins of the phantom cohort."""
    return {name: plugin for name, plugin in installed_modalities().items() if plugin.in_phantom}


@pytest.mark.parametrize("kind", TASKS)
def test_the_written_file_equals_five_lines_with_and_without_its_comments(
    kind: str, cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", kind, str(cohort)]) == 0
    assert capsys.readouterr().out == f"next: polyclinic fit -c {kind}.yaml\n"
    plugins = ", ".join(f"{name}: {plugin.__name__}" for name, plugin in _five().items())
    Path("five.yaml").write_text(f"model: {TASKS[kind][0]}\ndata:\n  cohort: {cohort}\n  modalities: {{{plugins}}}\n")
    five = _resolved("five.yaml", capsys)
    assert _resolved(f"{kind}.yaml", capsys) == five
    text = Path(f"{kind}.yaml").read_text()
    every = re.sub(r"^( *)#( {2,}|)([\w+]+:.*)$", r"\1\2\3", text, flags=re.MULTILINE)
    Path("every.yaml").write_text(every)
    assert {*yaml.safe_load(every)["data"]} == {*signature(CohortDataModule).parameters} - {"seed"}
    resolved = _resolved("every.yaml", capsys)
    resolved["data"]["label_policy"] = five["data"]["label_policy"]  # null is the default policy
    resolved["trainer"]["callbacks"] = five["trainer"]["callbacks"]
    assert resolved == five


@pytest.mark.parametrize("kind", TASKS)
def test_the_file_lists_every_setting_with_its_default(kind: str, cohort: Path) -> None:
    assert main(["new", kind, str(cohort)]) == 0
    text = Path(f"{kind}.yaml").read_text()
    assert text.splitlines()[1] == f"#   polyclinic fit -c {kind}.yaml"
    classes = [TASKS[kind][1], CohortDataModule, LabelPolicy, BestCheckpoint, LastCheckpoint, AverageWeights]
    classes += [*_five().values(), *([Symile] if kind == "contrastive" else [])]
    for cls in classes:
        for name, parameter in signature(cls).parameters.items():
            if name not in LINKED | {"seed"} and parameter.default is not parameter.empty:
                line = rf"^ *#? *{name}:( {re.escape(yaml_value(parameter.default))})?( +# .+)?$"
                assert re.search(line, text, re.MULTILINE), f"{cls.__name__}.{name}"
    assert max(map(len, text.splitlines())) <= 120


def test_a_modality_without_a_plugin_is_left_for_the_user(
    cohort: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    spec = yaml.safe_load(cohort.read_text())
    spec["modalities"]["chest"] = spec["modalities"].pop("xray")
    (tmp_path / "cohort.yaml").write_text(yaml.safe_dump(spec | {"root": str(cohort.parent)}))
    assert main(["new", "masked", "cohort.yaml", "--out", "a/b.yaml"]) == 0
    assert "note: no plugin is called 'chest'" in capsys.readouterr().out
    assert "#chest: {class_path: CLASS}" in Path("a/b.yaml").read_text()
    assert "chest" not in yaml.safe_load(Path("a/b.yaml").read_text())["data"]["modalities"]


@pytest.mark.parametrize(
    ("words", "changes", "message"),
    [
        (["contrastiv"], {}, "got kind 'contrastiv', expected perhaps contrastive"),
        (["masked", "--out", "."], {}, "a folder, expected a file that can be written; set `--out`"),
        (["masked", "--out", "cohort.yaml"], {}, "got file 'cohort.yaml', which exists; set `--overwrite`"),
        (["heads"], {"labels": []}, "got a cohort without labels"),
        (["contrastive"], {"modalities": {"ecg": {"path": "ecg"}}}, "got a cohort with modality 'ecg' alone"),
        (["masked"], {"modalities": {"ekg": {"path": "ecg"}}}, "got modalities ['ekg'] in cohort.yaml, expected names"),
    ],
)
def test_wrong_input_writes_nothing(
    words: list[str], changes: dict[str, Any], message: str, cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("cohort.yaml").write_text(yaml.safe_dump(yaml.safe_load(cohort.read_text()) | changes))
    assert main(["new", words[0], "cohort.yaml", *words[1:]]) == 1
    assert message in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["cohort.yaml"]


def test_an_existing_file_is_replaced_where_asked(cohort: Path) -> None:
    Path("masked.yaml").write_text("mine")
    assert main(["new", "masked", str(cohort)]) == 1
    assert Path("masked.yaml").read_text() == "mine"
    assert main(["new", "masked", str(cohort), "--overwrite"]) == 0
    assert Path("masked.yaml").read_text().startswith("# Hides tokens and predicts their content")


def test_relative_paths_start_from_the_working_folder(
    cohort: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(cohort.parent.parent)
    path = str(tmp_path / "configurations" / "masked.yaml")
    assert main(["new", "masked", f"{cohort.parent.name}/cohort.yaml", "--out", path]) == 0
    assert _resolved(path, capsys)["data"]["cohort"] == f"{cohort.parent.name}/cohort.yaml"


def sample(first: float, second: int = 2, third: tuple[int, ...] = (1, 5), fourth: type = dict) -> None:
    """Be a sample.

    Args:
        first: without a default. Left out.
        second: number of ``things``; two unless set. More words.
        third: a comment that is far too long to stand beside its setting, as it has more than eighty characters in it
            and continues.
        fourth: a class.
    """


def test_comments_come_from_the_docstring() -> None:
    text = render([Line(0, "all:"), *setting_lines(sample, 1, common=("second", "fourth"), more=lambda name: name[:0])])
    lines = text.splitlines()
    assert lines[:2] == ["all:", f"{'  second: 2':<36}  # number of `things`; two unless set"]
    assert [line.strip()[:2] for line in lines[2:4]] == ["# ", "# "]
    assert lines[4:] == ["  #third: [1, 5]", f"{'  fourth: dict':<36}  # a class"]
