"""The wheel, the sdist and the files of a release: they are complete, agree with each other, and run."""

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from polyclinic import __version__
from polyclinic.cli import COMMANDS

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BUNDLE = ROOT / "tests" / "golden" / "release_0_2" / "bundle"
TEMPLATES = ROOT / ".github" / "ISSUE_TEMPLATE"
MAX_SDIST_BYTES = 2_000_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel with the installed build tool, so that nothing is downloaded."""
    out = tmp_path_factory.mktemp("wheel")
    words = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(out), str(ROOT)]
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *words], check=True)
    (path,) = out.glob("*.whl")
    return path


def _files(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _metadata(wheel: Path) -> Message:
    (text,) = (content for name, content in _files(wheel).items() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(text.decode())


def test_the_wheel_holds_exactly_the_files_of_the_packages(wheel: Path) -> None:
    packed = {name for name in _files(wheel) if ".dist-info/" not in name}
    packages = [
        folder for root in ("platform", "modalities", "cohorts") for folder in (ROOT / root).glob("polyclinic*")
    ]
    there = {
        path.relative_to(package.parent).as_posix()
        for package in packages
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == there
    for data in ("py.typed", "cli/help/fit.txt", "deploy/page/index.html", "deploy/bundle/bundle.schema.json"):
        assert f"polyclinic/{data}" in packed


def test_the_metadata_are_those_of_the_project(wheel: Path) -> None:
    metadata = _metadata(wheel)
    assert (metadata["Name"], metadata["Version"]) == ("polyclinic", __version__)
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == PROJECT["requires-python"]
    assert set(metadata.get_all("Provides-Extra", ())) == set(PROJECT["optional-dependencies"])
    stated = [Requirement(text) for text in metadata.get_all("Requires-Dist", ())]
    plain = {str(each) for each in stated if each.marker is None}
    assert plain == {str(Requirement(text)) for text in PROJECT["dependencies"]}
    (points,) = (content.decode() for name, content in _files(wheel).items() if name.endswith("entry_points.txt"))
    for name, target in {
        **PROJECT["scripts"],
        **{name: target for group in PROJECT["entry-points"].values() for name, target in group.items()},
    }.items():
        assert f"{name} = {target}\n" in points


def test_the_sdist_holds_the_sources_alone_and_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path), "-t"]
    subprocess.run([*build, "sdist"], cwd=ROOT, check=True, capture_output=True)
    (sdist,) = tmp_path.glob("*.tar.gz")
    assert sdist.stat().st_size < MAX_SDIST_BYTES
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / f"polyclinic-{__version__}"
    packed = {path.name for path in folder.iterdir()}
    assert packed >= {"platform", "modalities", "cohorts", "experiments", "README.md", "LICENSE", "CHANGELOG.md"}
    assert not packed & {"tests", "docs", "benchmarks", "docker", ".venv", "demo", "runs", "dist"}
    subprocess.run([*build, "wheel"], cwd=folder, check=True, capture_output=True)
    assert _files(tmp_path / wheel.name) == _files(wheel)


def test_every_file_of_a_release_states_the_same_version(wheel: Path) -> None:
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    compose = [(ROOT / "docker" / name).read_text() for name in ("compose.yaml", "sandbox/compose.yaml")]
    images = re.findall(r"image: polyclinic-\w+:(\S+)", "".join(compose))
    assert {newest[1], citation["version"], _metadata(wheel)["Version"], *images} == {__version__}
    assert PROJECT["dynamic"] == ["version"]


def test_the_citation_has_what_the_format_requires() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert all(isinstance(citation[name], str) and citation[name] for name in ("message", "title", "version"))
    assert citation["authors"] == [{"name": "The Polyclinic developers"}]
    assert (citation["type"], citation["license"]) == ("software", PROJECT["license"])


@pytest.mark.parametrize("name", ["bug.yml", "feature.yml"])
def test_an_issue_form_asks_for_the_doctor_and_warns_of_patient_data(name: str) -> None:
    text = (TEMPLATES / name).read_text()
    form = yaml.safe_load(text)
    assert form["name"]
    assert form["description"]
    assert {each["type"] for each in form["body"]} <= {"markdown", "textarea", "checkboxes"}
    fields = [each["id"] for each in form["body"] if each["type"] != "markdown"]
    assert len(fields) == len({*fields})
    assert "`polyclinic doctor`" in text
    assert "patient data" in text


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Path:
    """Install the wheel into an empty environment, which finds the libraries of this one, and return its command."""
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    words = ["--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *words], check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    # The editable installation there is not found, as only the first folder of libraries has its .pth files read.
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "polyclinic"


@pytest.mark.slow
def test_the_installed_wheel_works_without_the_repository(installed: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def run(*words: str) -> str:
        done = subprocess.run([installed, *words], cwd=work, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    python = str(installed.with_name("python"))
    code = "import polyclinic; print(polyclinic.__file__)"
    found = subprocess.run([python, "-c", code], cwd=work, env=environment, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()).is_relative_to(installed.parent.parent)
    assert run("--version") == f"polyclinic {__version__}\n"
    assert "polyclinic_tabular:Tabular" in run("modalities")
    run("cohort", "phantom", "cohort", "--studies", "20", "--workers", "2")
    run("score", str(BUNDLE), "--cohort", "cohort/cohort.yaml", "--json", "scores.json")
    if "demo" in COMMANDS:
        run("demo", "--quick", "--no-serve")
