"""Installations without some extras: what works in them, and what the other commands answer."""

import json
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from benchmarks.first import stated_requirements
from packaging.utils import canonicalize_name

from partial_installation import environment
from polyclinic.cli import COMMANDS, main
from polyclinic.cli.needed_extras import needed_extras
from polyclinic.system.extras import EXTRAS
from service_process import serving

BUNDLE = Path(__file__).parents[2] / "golden" / "release_0_2" / "bundle"
PLAIN = {
    "cohort phantom": ["cohort", "--studies", "20", "--workers", "1"],
    "cohort check": ["cohort/cohort.yaml", "--workers", "0"],
    "bundle verify": [str(BUNDLE)],
    "score": [str(BUNDLE), "--cohort", "cohort/cohort.yaml", "--json", "scores.json", "--fhir", "scores.fhir"],
    "modalities": [],
    "doctor": [],
}
_PROGRAM = """
import contextlib, importlib, io, json, sys
import polyclinic
from polyclinic.cli import COMMANDS, main
from polyclinic.cli.needed_extras import needed_extras
from polyclinic.models.class_table import ClassTable
from polyclinic.nn import Encoder

def run(words):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        return main(words), out.getvalue() + err.getvalue()

def message(call):
    try:
        call()
    except (ValueError, ImportError) as error:
        return str(error)

report = {"plain": {name: run([*name.split(), *words]) for name, words in json.loads(sys.argv[1]).items()}}
for name, command in COMMANDS.items():
    if not needed_extras(name):
        importlib.import_module(command.module)
report["refused"] = {name: run(name.split()) for name in COMMANDS if needed_extras(name)}
report["class"] = message(lambda: ClassTable().find("polyclinic_xray.timm_encoder.TimmEncoder", Encoder, "model"))
report["name"] = message(lambda: polyclinic.Downstream)
print(json.dumps(report))
"""


def test_a_plain_installation_scores_and_names_the_extra_that_other_commands_need(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", _PROGRAM, json.dumps(PLAIN)],
        cwd=tmp_path, env=environment(tmp_path / "start"), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert {name: code for name, (code, _) in report["plain"].items()} == dict.fromkeys(PLAIN, 0), report["plain"]
    assert "ready: scoring; not installed: training and evaluation, " in report["plain"]["doctor"][1]
    assert len(json.loads((tmp_path / "scores.json").read_text())["studies"]) == 20
    assert json.loads((tmp_path / "scores.fhir").read_text())["resourceType"] == "Bundle"
    first = {"train": "lightning", "serve": "fastapi", "deidentify": "rapidocr", "wards": "fhir"}
    for name, (code, text) in report["refused"].items():
        extra = needed_extras(name)[0]
        sentence = f"got no {first[extra]}, which `polyclinic {name}` needs; install polyclinic[{extra}]"
        assert (code, text) == (1, f"error: {sentence}\n")
    assert report["class"] == "got no timm, which class TimmEncoder needs; install polyclinic[backbones]"
    assert report["name"] == "got no lightning, which polyclinic.Downstream needs; install polyclinic[train]"


@pytest.mark.slow
@pytest.mark.processes
def test_a_bundle_is_served_with_that_extra_alone(
    bundle_folder: Path, study_files: dict[str, Path], tmp_path: Path
) -> None:
    variables = environment(tmp_path / "start", "serve")
    with serving(bundle_folder, tmp_path / "service", environment=variables) as service:
        answer = service.score(study_files)
        assert answer.status_code == 200, answer.text
        assert service.get("/").status_code == 200
        assert service.get("/metrics").status_code == 200
    assert main(["audit", str(service.audit)]) == 0


@pytest.mark.slow
def test_a_cohort_is_deidentified_with_that_extra_alone(made: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("0123456789abcdef" * 2)
    key.chmod(0o600)
    words = [str(made / "cohort" / "cohort.yaml"), "out", "--key", str(key), "--workers", "2"]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "polyclinic", "deidentify", *words],
        cwd=tmp_path, env=environment(tmp_path / "start", "deidentify"), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "cohort.yaml").is_file()


def test_the_modules_of_an_extra_are_those_that_it_installs() -> None:
    owners = packages_distributions()
    plain = {canonicalize_name(each.name) for each in stated_requirements(())}
    for name, extra in EXTRAS.items():
        stated = {canonicalize_name(each.name) for each in stated_requirements([name])} - {*plain, "polyclinic"}
        # Without the library, as for a tracker that no test uses, the module has the name of the distribution.
        found = [{*map(canonicalize_name, owners.get(module, [module]))} & stated for module in extra.modules]
        assert all(found), name
        assert set.union(*found) == stated, name


def test_every_extra_that_a_command_needs_exists() -> None:
    assert {extra for name in COMMANDS for extra in needed_extras(name)} <= EXTRAS.keys()
    assert needed_extras("evaluate card") == ("train",)
    assert needed_extras("score") == ()
