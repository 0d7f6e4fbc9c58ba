"""A kit of `make airgap`, installed and used in a network namespace that has no interface."""

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hostile_modules import plant, ran
from no_network import unplugged
from polyclinic.cli import main

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[3]
KIT, SANDBOX = ROOT / "docker" / "kit", ROOT / "docker" / "sandbox"
POLYCLINIC = [sys.executable, "-m", "polyclinic.cli"]
_HOSTS = re.compile(r"https?://|\b[\w-]+\.(?:org|com|io|net|dev)\b|--(?:extra-)?index-url")


def _run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(words, capture_output=True, text=True, env=variables)


def _run_unplugged(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return _run(*unplugged(*words, python=sys.executable), **environment)


def _wheel(folder: Path, name: str, script: str = "", needs: str = "") -> None:
    """Write a wheel of one module, with a command of the same name where there is a script."""
    info = f"{name}-1.0.dist-info"
    extras = "".join(f"Provides-Extra: {extra}\n" for extra in ("serve", "deidentify", "backbones"))
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{extras}"
    metadata += f"Requires-Dist: {needs}\n" if needs else ""
    entry = f"[console_scripts]\n{name} = {name}:main\n"
    files = {
        f"{name}.py": script, f"{info}/METADATA": metadata, f"{info}/RECORD": "",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        **({f"{info}/entry_points.txt": entry} if script else {}),
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        for path, content in files.items():
            wheel.writestr(path, content)


def _write_checksums(kit: Path) -> None:
    paths = sorted(path for path in kit.rglob("*") if path.is_file() and path != kit / "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  ./{path.relative_to(kit)}\n" for path in paths]
    (kit / "SHA256SUMS").write_text("".join(lines))


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """Write a kit of small wheels."""
    folder = tmp_path / "a kit"
    says = "import sys\n\n\ndef main():\n    print('ran', *sys.argv[1:])\n"
    _wheel(folder, "unused")
    shutil.move(folder, tmp_path / "wheels")
    folder.mkdir()
    shutil.move(tmp_path / "wheels", folder / "wheels")
    _wheel(folder / "wheels", "polyclinic", says, needs="unused; extra == 'serve'")
    (folder / "PYTHON").write_text(f"{sys.version_info.major}.{sys.version_info.minor} {os.uname().machine}\n")
    shutil.copy(KIT / "install.sh", folder)
    _write_checksums(folder)
    return folder


def _install(kit: Path, target: Path | str, **environment: str) -> subprocess.CompletedProcess[str]:
    return _run_unplugged("sh", str(kit / "install.sh"), str(target), **{"PYTHON": sys.executable, **environment})


def test_a_kit_is_installed_without_a_network_whatever_the_settings_of_pip(kit: Path, tmp_path: Path) -> None:
    _wheel(tmp_path / "others", "unused")
    shutil.move(
        tmp_path / "others" / "unused-1.0-py3-none-any.whl", tmp_path / "others" / "unused-2.0-py3-none-any.whl"
    )
    home = tmp_path / "my home"
    plant(kit)
    _write_checksums(kit)
    process = _install(kit, home, PIP_FIND_LINKS=str(tmp_path / "others"), PIP_REQUIRE_VIRTUALENV="1")
    assert process.returncode == 0, process.stderr
    assert "ran bundle verify bundle" in process.stdout
    assert ran(kit) == []
    command, score, bundle, _ = shlex.split(process.stdout.splitlines()[-1].removeprefix("next: "))
    assert (command, score, bundle) == (str(home / "bin" / "polyclinic"), "score", str(kit / "bundle"))
    listing = _run_unplugged(str(home / "bin" / "python"), "-m", "pip", "--isolated", "list", "--format", "json")
    versions = {package["name"]: package["version"] for package in json.loads(listing.stdout)}
    assert {name: versions.get(name) for name in ("polyclinic", "unused")} == {"polyclinic": "1.0", "unused": "1.0"}
    second = _install(kit, home)
    assert second.returncode == 1
    assert "is there and not empty; remove it" in second.stderr
    assert (home / "bin" / "polyclinic").exists()


def _alter(kit: Path) -> None:
    with (kit / "wheels" / "unused-1.0-py3-none-any.whl").open("ab") as stream:
        stream.write(b"\0")


def _lose(kit: Path) -> None:
    (kit / "wheels" / "unused-1.0-py3-none-any.whl").unlink()


def _slip_in(kit: Path) -> None:
    _wheel(kit / "wheels", "another")


def _link(kit: Path) -> None:
    (kit / "wheels" / "unused-2.0-py3-none-any.whl").symlink_to("unused-1.0-py3-none-any.whl")


def _unseal(kit: Path) -> None:
    (kit / "SHA256SUMS").unlink()


def _other_python(kit: Path) -> None:
    (kit / "PYTHON").write_text("3.2 sparc\n")
    _write_checksums(kit)


def _other_need(kit: Path) -> None:
    _wheel(kit / "wheels", "polyclinic", "def main(): ...\n", needs="unused>1")
    _write_checksums(kit)


def _broken_bundle(kit: Path) -> None:
    _wheel(kit / "wheels", "polyclinic", "def main():\n    raise SystemExit(1)\n")
    _write_checksums(kit)


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (_alter, "the kit is damaged or altered"),
        (_lose, "the kit is damaged or altered"),
        (_slip_in, "the kit holds files that SHA256SUMS does not list"),
        (_link, "the kit holds files that SHA256SUMS does not list"),
        (_unseal, "the kit has no SHA256SUMS"),
        (_other_python, "expected 3.2 sparc, which the wheels are for; set PYTHON"),
        (_other_need, "No matching distribution found for unused>1"),
        (_broken_bundle, ""),
    ],
)
def test_a_damaged_or_unsuitable_kit_installs_nothing(harm: Any, sentence: str, kit: Path, tmp_path: Path) -> None:
    harm(kit)
    process = _install(kit, tmp_path / "home")
    assert process.returncode == 1
    assert sentence in process.stderr
    assert "installed:" not in process.stdout
    assert not (tmp_path / "home").exists()


def test_an_interrupted_installation_leaves_nothing(kit: Path, tmp_path: Path) -> None:
    _wheel(kit / "wheels", "polyclinic", "import time\n\n\ndef main():\n    time.sleep(60)\n")
    _write_checksums(kit)
    words = unplugged("sh", str(kit / "install.sh"), "home", python=sys.executable)
    started = subprocess.Popen(
        words, cwd=tmp_path, env={**os.environ, "PYTHON": sys.executable}, stdout=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        while not (tmp_path / "home" / "bin" / "polyclinic").exists():
            assert started.poll() is None
            time.sleep(0.05)
    finally:
        os.killpg(started.pid, signal.SIGTERM)
    assert started.wait(timeout=120) == 143
    assert not (tmp_path / "home").exists()


@pytest.mark.slow
def test_a_kit_gathered_again_from_its_bundle_replaces_the_old_one(gathered: Path) -> None:
    (gathered / "left over").write_text("of before")
    before = (gathered / "bundle" / "SHA256SUMS").read_bytes()
    assert _gather(gathered / "bundle", gathered, WHEELS=str(gathered / "wheels")).returncode == 0
    assert not (gathered / "left over").exists()
    assert (gathered / "bundle" / "SHA256SUMS").read_bytes() == before


@pytest.fixture(scope="module")
def gathered(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gather a kit of our wheel and one in place of all others; only what builds the former is fetched."""
    folder = tmp_path_factory.mktemp("gathered")
    _wheel(folder / "have", "unused")
    process = _gather(bundle_folder, folder / "airgap", WHEELS=str(folder / "have"))
    assert process.returncode == 0, process.stderr
    assert "next: carry the folder" in process.stdout
    return folder / "airgap"


def _gather(bundle: Path | str, out: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return _run(str(KIT / "airgap.sh"), str(bundle), str(out), PYTHON=sys.executable, **environment)


def test_the_kit_holds_wheels_bundle_page_docs_and_checksums(gathered: Path, bundle_folder: Path) -> None:
    assert sorted(path.name for path in gathered.iterdir()) == [
        "PYTHON", "README.md", "SHA256SUMS", "bundle", "container", "docs", "install.sh", "wheels",
    ]  # fmt: skip
    process = subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=gathered)
    assert process.returncode == 0
    assert len(list((gathered / "wheels").glob("polyclinic-*.whl"))) == 1
    listed = {line.split("  ./")[1] for line in (gathered / "SHA256SUMS").read_text().splitlines()}
    files = {str(path.relative_to(gathered)) for path in gathered.rglob("*") if path.is_file()}
    assert listed == files - {"SHA256SUMS"}
    assert main(["bundle", "verify", str(gathered / "bundle")]) == 0
    for path in bundle_folder.iterdir():
        assert (gathered / "bundle" / path.name).read_bytes() == path.read_bytes()
    for path in SANDBOX.iterdir():
        assert (gathered / "container" / path.name).read_bytes() == path.read_bytes()


def test_no_script_or_page_of_the_kit_names_another_host() -> None:
    for path in [*KIT.iterdir(), *SANDBOX.iterdir()]:
        text = re.sub(r"http://127\.0\.0\.1:\d+", "", path.read_text())
        assert _HOSTS.findall(text) == [], path.name


@pytest.mark.slow
def test_a_failed_gathering_is_reported_and_leaves_the_old_kit(gathered: Path, tmp_path: Path) -> None:
    before = (gathered / "SHA256SUMS").read_bytes()
    have = str(gathered / "wheels")
    damaged = Path(shutil.copytree(gathered / "bundle", tmp_path / "damaged"))
    (damaged / "bundle.json").write_text("{}")
    modified = tmp_path / "mine"
    modified.mkdir()
    (modified / "thesis.txt").write_text("two years")
    for bundle, out, sentence in (
        ("", gathered, "error: no bundle; set BUNDLE"),
        (damaged, gathered, "it was altered or is damaged"),
        (gathered / "bundle", modified, "exists and is not a kit"),
    ):
        process = _gather(bundle, out, WHEELS=have)
        assert process.returncode == 1
        assert sentence in process.stderr
    assert _gather(gathered / "bundle", gathered, WHEELS=str(tmp_path / "nowhere")).returncode != 0
    leftover = gathered.with_name("other.part")
    leftover.mkdir()
    process = _gather(gathered / "bundle", gathered.with_name("other"), WHEELS=have)
    assert process.returncode == 1
    assert "another kit is being gathered there, or one was killed; remove" in process.stderr
    assert leftover.is_dir()
    assert (gathered / "SHA256SUMS").read_bytes() == before
    assert (modified / "thesis.txt").exists()
    assert not gathered.with_name("airgap.part").exists()


def test_a_bundle_is_verified_and_scores_the_same_without_any_interface(
    bundle_folder: Path, study_files: dict[str, Path], tmp_path: Path
) -> None:
    words = [word for name, path in study_files.items() for word in (f"--{name}", str(path))]
    assert main(["score", str(bundle_folder), *words, "--json", str(tmp_path / "online.json")]) == 0
    process = _run_unplugged(*POLYCLINIC, "bundle", "verify", str(bundle_folder))
    assert process.returncode == 0, process.stderr
    process = _run_unplugged(*POLYCLINIC, "score", str(bundle_folder), *words, "--json", str(tmp_path / "alone.json"))
    assert process.returncode == 0, process.stderr
    assert json.loads((tmp_path / "alone.json").read_text()) == json.loads((tmp_path / "online.json").read_text())


_SERVED = """
import json, subprocess, sys, time, socket
import requests
bundle, xray, audit = sys.argv[1:]
words = ["serve", bundle, "--port", "8123", "--audit", audit]
service = subprocess.Popen([sys.executable, "-m", "polyclinic.cli", *words], stdout=subprocess.PIPE, text=True)
lines = iter(service.stdout.readline, "")
token = next(line.split()[1] for line in lines if line.startswith("token "))
try:
    for _ in range(2400):
        try:
            if requests.get("http://127.0.0.1:8123/readyz", timeout=2).status_code == 200:
                break
        except requests.RequestException:
            pass
        time.sleep(0.1)
    assert [name for _, name in socket.if_nameindex()] == ["lo"]
    with open(xray, "rb") as stream:
        answer = requests.post(
            "http://127.0.0.1:8123/v1/score", files={"xray": ("a.dcm", stream)},
            headers={"Authorization": f"Bearer {token}"}, timeout=60,
        )
    page = requests.get("http://127.0.0.1:8123/", timeout=10)
    result = {"status": answer.status_code, "answer": answer.json(), "page": page.status_code}
finally:
    service.terminate()
    service.wait(timeout=120)
print(json.dumps({**result, "code": service.returncode}))
"""


def test_the_service_scores_the_same_with_loopback_only(
    bundle_folder: Path, study_files: dict[str, Path], tmp_path: Path
) -> None:
    scores, audit = tmp_path / "scores.json", tmp_path / "audit.jsonl"
    assert main(["score", str(bundle_folder), "--xray", str(study_files["xray"]), "--json", str(scores)]) == 0
    words = [sys.executable, "-c", _SERVED, str(bundle_folder), str(study_files["xray"]), str(audit)]
    process = _run(*unplugged(*words, python=sys.executable, loopback=True))
    assert process.returncode == 0, process.stderr
    report = json.loads(process.stdout.splitlines()[-1])
    assert (report["status"], report["page"], report["code"]) == (200, 200, 0)
    expected = {finding["name"]: finding["score"] for finding in json.loads(scores.read_text())["findings"]}
    assert {finding["name"]: finding["score"] for finding in report["answer"]["findings"]} == pytest.approx(
        expected, abs=1e-6
    )
    assert main(["audit", str(audit), "--find", str(study_files["xray"])]) == 0


@pytest.fixture
def roomy(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder that is removed after the test, as it takes 10 GB."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_complete_kit_is_installed_and_scores_without_an_interface(
    bundle_folder: Path, study_files: dict[str, Path], roomy: Path
) -> None:
    """Fetches gigabytes from the index that pip is set to."""
    gathering = _gather(bundle_folder, roomy / "airgap")
    assert gathering.returncode == 0, gathering.stderr
    process = _install(roomy / "airgap", roomy / "home")
    assert process.returncode == 0, process.stderr
    assert "verified: bundle" in process.stdout
    words = [word for name, path in study_files.items() for word in (f"--{name}", str(path))]
    assert main(["score", str(bundle_folder), *words, "--json", str(roomy / "here.json")]) == 0
    polyclinic, bundle = str(roomy / "home" / "bin" / "polyclinic"), str(roomy / "airgap" / "bundle")
    words += ["--json", str(roomy / "there.json")]
    process = _run_unplugged("env", "-i", "LANG=C.UTF-8", polyclinic, "score", bundle, *words)
    assert process.returncode == 0, process.stderr
    expected, installed = (json.loads((roomy / f"{name}.json").read_text()) for name in ("here", "there"))
    assert installed["bundle"] == expected["bundle"]
    scores = [{finding["name"]: finding["score"] for finding in report["findings"]} for report in (expected, installed)]
    assert scores[1] == pytest.approx(scores[0], abs=1e-6)
    python = str(roomy / "home" / "bin" / "python")
    served = [python, "-c", _SERVED, bundle, str(study_files["xray"]), str(roomy / "audit.jsonl")]
    process = _run(*unplugged(*served, python=python, loopback=True))
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout.splitlines()[-1])["status"] == 200
