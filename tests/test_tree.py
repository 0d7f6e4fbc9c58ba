"""The shape of the tree: source roots, entry points, sizes, and the commands of the first page."""

import ast
import inspect
import platform
import re
import shlex
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from polyclinic.cli import main
from polyclinic.cohort.build import CohortBuilder, installed_builders
from polyclinic.modality import Modality, installed_modalities, settings

ROOT = Path(__file__).parent.parent
ROOTS = ("platform", "modalities", "cohorts")
SOURCES = [path for root in ROOTS for path in ROOT.glob(f"{root}/**/*.py")]


def test_source_roots_do_not_shadow_modules() -> None:
    for root in ROOTS:
        assert not (ROOT / root / "__init__.py").exists()
    assert platform.python_version()
    code = "import platform; assert platform.python_version()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_plugins_are_registered_once_and_each_has_a_conformance_test() -> None:
    installed = installed_modalities()
    assert {name for name, plugin in installed.items() if plugin.in_phantom} == {
        "xray", "ecg", "report", "audio", "tabular"
    }  # fmt: skip
    assert {"timeline"} <= set(installed)
    assert len(list(entry_points(group="polyclinic.modalities"))) == len(installed)
    for name, plugin in installed.items():
        assert issubclass(plugin, Modality)
        assert settings(plugin()) is not None
        folder = ROOT / "tests" / "modalities" / name
        assert any("ModalityConformance" in path.read_text() for path in folder.glob("test_*.py")), name


def test_builders_are_registered_and_each_is_tested_on_its_layout() -> None:
    installed = installed_builders()
    assert set(installed) == {
        "chexpert", "circor", "coswara", "ecg-challenge", "icbhi", "ludb", "mimic", "mimic-cxr", "mimic-iv-ecg", "nih",
        "openi", "padchest", "ptbxl", "symile-mimic-published", "vindr",
    }  # fmt: skip
    for name, builder in installed.items():
        assert issubclass(builder, CohortBuilder)
        assert set(builder().settings()) == set(inspect.signature(builder).parameters)
        test = ROOT / "tests" / "cohorts" / f"test_{name.replace('-', '_')}.py"
        assert "from layouts." in test.read_text(), name


def test_the_platform_names_no_modality() -> None:
    names = re.compile(r"['\"](xray|ecg|audio|tabular)['\"]")
    for path in ROOT.glob("platform/**/*.py"):
        assert not names.search(path.read_text()), path.name


def test_files_and_functions_stay_small() -> None:
    lengths = []
    for path in SOURCES:
        text = path.read_text()
        assert len(text.splitlines()) <= 500, path.name
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                lengths.append(((node.end_lineno or node.lineno) - node.lineno + 1, f"{path.name}:{node.name}"))
    lengths.sort()
    assert lengths[-1][0] <= 80, lengths[-1]
    assert lengths[int(0.9 * len(lengths))][0] <= 35, lengths[int(0.9 * len(lengths)) :]


def test_tasks_are_thin() -> None:
    for path in (ROOT / "platform" / "polyclinic" / "tasks").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 200, path.name


def test_no_public_class_takes_a_configuration_object() -> None:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                assert not {"args", "cfg", "hparams"} & {argument.arg for argument in node.args.args}, path.name


def test_the_commands_of_the_first_run_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "start" / "first-run.md").read_text()
    blocks = re.findall(r"<!-- run -->\n```sh\n(.*?)```", page, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", "").strip().splitlines()]
    assert len(lines) >= 5
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    monkeypatch.chdir(tmp_path)
    for line in lines:
        program, *words = shlex.split(line)
        assert program == "polyclinic"
        assert main(words) == 0, line
    assert (tmp_path / "small" / "fit.json").is_file()


def test_folders_of_tests_mirror_the_source() -> None:
    tested = ROOT / "tests" / "platform"
    for folder in (path for path in tested.rglob("*") if path.is_dir() and path.name != "__pycache__"):
        assert (ROOT / "platform" / "polyclinic" / folder.relative_to(tested)).is_dir(), folder


def test_helpers_of_tests_are_in_support() -> None:
    loose = {path.name for path in (ROOT / "tests").glob("*.py")} - {"conftest.py"}
    assert all(name.startswith("test_") for name in loose), loose
