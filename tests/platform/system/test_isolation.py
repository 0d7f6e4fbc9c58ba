"""Nothing is imported from the working folder, from a bundle, or from what happens to be in PYTHONPATH."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hostile_modules import STARTING, plant, ran
from polyclinic.cli import COMMANDS
from polyclinic.cohort import default_modalities, write_phantom_cohort
from polyclinic.tracking.environment import describe_checkout

SCRIPT = str(Path(sys.executable).with_name("polyclinic"))
WAYS = {
    "script": [SCRIPT],
    "-P -m": [sys.executable, "-P", "-m", "polyclinic"],
    "-m": [sys.executable, "-m", "polyclinic"],
    "-m cli": [sys.executable, "-m", "polyclinic.cli"],
}
SHOWN = """
import json, os, sys
from polyclinic.system.isolation import isolate
isolate()
isolate()
print(json.dumps([sys.path, os.environ.get("PYTHONPATH")]))
"""


def _run(words: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    variables |= {"OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, env=variables)


@pytest.fixture(scope="module")
def installed() -> list[str]:
    """Return the import path of an unchanged installation."""
    path: list[str] = json.loads(_run([sys.executable, "-P", "-c", SHOWN], Path()).stdout)[0]
    return path


@pytest.mark.parametrize("way", WAYS)
def test_no_entry_point_imports_from_the_working_folder(way: str, tmp_path: Path) -> None:
    plant(tmp_path, without=STARTING if way in ("-m", "-m cli") else ())
    process = _run([*WAYS[way], "--help"], tmp_path)
    assert (process.returncode, process.stderr, ran(tmp_path)) == (0, "", [])


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (".", None), (":", None), ("work", None), ("{here}", None), ("{link}", None), ("{bundle}", None),
        ("/own", "/own"), ("/own::../x:{here}:/other:{bundle}", "/own:/other"),
    ],
)  # fmt: skip
def test_pythonpath_keeps_its_deliberate_entries(
    given: str, kept: str | None, tmp_path: Path, installed: list[str]
) -> None:
    folder, bundle, link = tmp_path / "here", tmp_path / "bundle", tmp_path / "link"
    folder.mkdir()
    bundle.mkdir()
    (bundle / "bundle.json").touch()
    link.symlink_to(folder)
    # Python reads its own library from relative entries before any program runs: the folder holds none.
    paths = given.format(here=folder, bundle=bundle, link=link)
    process = _run([sys.executable, "-c", SHOWN], folder, PYTHONPATH=paths, POLYCLINIC_PATH=f"/mine:{os.pathsep}.")
    path, pythonpath = json.loads(process.stdout)
    entries = kept.split(":") if kept else []
    assert pythonpath == kept
    assert path == [*entries, *installed, "/mine", str(folder)]


def test_a_folder_of_the_installation_stays_although_pythonpath_names_it(installed: list[str]) -> None:
    package = next(entry for entry in installed if (Path(entry) / "polyclinic").is_dir())
    process = _run([sys.executable, "-c", SHOWN], Path(package), PYTHONPATH=".")
    assert sorted(json.loads(process.stdout)[0]) == sorted(installed)
    assert _run([SCRIPT, "--help"], Path(package), PYTHONPATH=os.pathsep.join([".", os.__file__])).returncode == 0


def test_the_environment_is_not_ignored_unless_the_path_is_safe(tmp_path: Path) -> None:
    process = _run([sys.executable, "-E", "-m", "polyclinic", "--help"], tmp_path)
    assert (process.returncode, process.stderr.startswith("error: got Python's option -E alone, expected")) == (1, True)
    assert _run([sys.executable, "-I", "-m", "polyclinic", "--help"], tmp_path).returncode == 0


@pytest.mark.parametrize(
    "pythonpath", [pytest.param("", marks=pytest.mark.slow), "{hostile}:.:"], ids=["none", "the working folder"]
)
def test_processes_that_read_files_import_nothing_from_the_working_folder(pythonpath: str, tmp_path: Path) -> None:
    hostile, cohort = tmp_path / "hostile", tmp_path / "cohort"
    # Python itself starts with PYTHONPATH: it takes its own library, what the .pth files of the installation import,
    # and the program from there.
    starting = subprocess.check_output([sys.executable, "-P", "-c", "import sys; print(*sys.modules)"], text=True)
    early = {*sys.stdlib_module_names, *starting.split(), "polyclinic", "sitecustomize", "usercustomize"}
    plant(hostile, without=early if pythonpath else ())
    write_phantom_cohort(cohort, studies=20, seed=1, modalities=default_modalities(["tabular"]), workers=0)
    words = [SCRIPT, "cohort", "check", str(cohort / "cohort.yaml"), "--workers", "1"]
    process = _run(words, hostile, PYTHONPATH=pythonpath.format(hostile=hostile))
    assert (process.returncode, process.stderr) == (0, "")
    assert ran(hostile) == []


def test_describing_a_checkout_runs_no_program_of_it(tmp_path: Path) -> None:
    mark, git = tmp_path / "mark", ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    repository = tmp_path / "repository"
    (repository / "hooks").mkdir(parents=True)
    script = tmp_path / "evil.sh"
    script.write_text(f"#!/bin/sh\necho $0 >> {mark}\ncat\n")
    script.chmod(0o755)
    (repository / "hooks" / "post-index-change").symlink_to(script)
    (repository / "a.py").write_text("a = 1\n")
    (repository / ".gitattributes").write_text("*.py filter=x=y diff=z\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], cwd=repository, check=True)
    config = f"""
[core]\nfsmonitor = {script}\nhooksPath = hooks
[filter "x=y"]\nclean = {script}\nsmudge = {script}\nprocess = {script}\nrequired = true
[diff]\nexternal = {script}\n[diff "z"]\ncommand = {script}\ntextconv = {script}
"""
    with (repository / ".git" / "config").open("a") as stream:
        stream.write(config)
    (repository / "a.py").write_text("a = 2\n")
    report = describe_checkout(repository)
    assert report is not None
    assert report["dirty"]
    assert "+a = 2" in report["diff"]
    assert not mark.exists()
    subprocess.run([*git, "status"], cwd=repository, capture_output=True)
    assert mark.exists(), "the checkout is hostile"


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_imports_from_the_working_folder(way: str, command: str, tmp_path: Path) -> None:
    plant(tmp_path, without=STARTING if way in ("-m", "-m cli") else ())
    # --help would import nothing. `sweep` and `crossval` leave the option to `fit`, and stop for another reason.
    process = _run([*WAYS[way], *command.split(), "--no-such-option"], tmp_path)
    assert process.returncode == 1
    assert process.stderr.startswith("error: "), process.stderr
    assert ran(tmp_path) == []
