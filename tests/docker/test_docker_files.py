"""The container files: exposed ports, users, copied files and pinned versions. No image can be built here."""

import json
import re
import subprocess
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from polyclinic.deploy.service.settings import ServiceSettings

ROOT = Path(__file__).parents[2]
SANDBOX = ROOT / "docker" / "sandbox"
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
SANDBOXED = yaml.safe_load((SANDBOX / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ALL: dict[str, dict[str, Any]] = {**SERVICES, **SANDBOXED["services"]}
DOCKERFILES = sorted((ROOT / "docker").glob("*/Dockerfile"))
EXTRAS_OF_A_SANDBOX = "serve,deidentify,backbones"
FROM_TREE = [file for file in DOCKERFILES if file.parent != SANDBOX]


def _words(file: Path, instruction: str) -> list[list[str]]:
    text = file.read_text().replace("\\\n", " ")
    return [line.split()[1:] for line in text.splitlines() if line.startswith(f"{instruction} ")]


@pytest.mark.parametrize(
    ("compose", "port", "door"),
    [(COMPOSE, "127.0.0.1:5000:5000", "tracking"), (SANDBOXED, "127.0.0.1:8000:8000", "door")],
    ids=["tracking", "sandbox"],
)
def test_ports_are_published_on_the_loopback_only(compose: dict[str, Any], port: str, door: str) -> None:
    services = compose["services"]
    assert [port for service in services.values() for port in service.get("ports", [])] == [port]
    assert compose["networks"]["inside"] == {"internal": True}
    for name, service in services.items():
        assert "network_mode" not in service, name
        assert set(service["networks"]) <= {"inside", "outside"}
    assert [name for name, service in services.items() if "outside" in service["networks"]] == [door]


@pytest.mark.parametrize("name", ALL)
def test_a_service_is_hardened_and_has_a_health_check(name: str) -> None:
    service = ALL[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "devices", "pid", "ipc"} & set(service)
    of_image = "build" in service and "\nHEALTHCHECK " in _dockerfile(service).read_text()
    assert "healthcheck" in service or of_image or name == "bucket"
    runs_as = service["user"] if "user" in service else _words(_dockerfile(service), "USER")[-1][0]
    assert runs_as.split(":")[0].isdecimal()
    assert int(runs_as.split(":")[0]) > 0


def _dockerfile(service: dict[str, Any]) -> Path:
    """Return the Dockerfile of a service; in a kit, ``docker/sandbox`` is called ``container``."""
    return ROOT / re.sub(r"^container/", "docker/sandbox/", service["build"]["dockerfile"])


def test_images_and_packages_are_pinned() -> None:
    images = [service["image"] for service in ALL.values()]
    images += [words[0] for file in DOCKERFILES for words in _words(file, "FROM")]
    for image in images:
        assert re.search(r":[^:/]*\d+\.\d+|:RELEASE\.\d{4}", image), image
        assert not image.endswith("latest")
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    tracking = (ROOT / "docker" / "tracking" / "Dockerfile").read_text()
    for name in ("mlflow", "psycopg"):
        pinned = re.search(rf'"{name}\[\w+\](==[\w.]+)"', tracking)
        assert pinned is not None
        assert f"{name}{pinned[1]}" in constraints


def test_secrets_come_from_the_environment_and_are_required() -> None:
    text = (ROOT / "docker" / "compose.yaml").read_text()
    required = set(re.findall(r"\$\{(\w+):\?", text))
    assert required == {"DATABASE_PASSWORD", "STORAGE_PASSWORD", "ADMIN_PASSWORD", "SECRET_KEY"}
    example = (ROOT / "docker" / "example.env").read_text().splitlines()
    assert {line for line in example if line.startswith(tuple(required))} == {f"{name}=" for name in required}
    for service in SERVICES.values():
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|KEY$", key):
                assert value.startswith("${"), key
    assert "docker/.env" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("file", FROM_TREE, ids=lambda file: file.parent.name)
def test_copied_paths_exist_and_are_code(file: Path) -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    allowed = [Path(line[1:]) for line in ignored if line.startswith("!")]
    copied = [word for words in _words(file, "COPY") for word in words[:-1] if not word.startswith("--")]
    assert copied
    for word in copied:
        assert (ROOT / word).exists(), word
        assert any(Path(word).is_relative_to(path) for path in allowed), word
    assert not any(name in copied for name in (".", "runs", "demo", "tests", ".git"))
    assert _words(file, "USER")[-1] == ["10001"]
    assert file.read_text().index("\nUSER ") > file.read_text().rindex("\nCOPY ")


def test_the_start_script_is_portable_shell_and_names_missing_variables() -> None:
    script = ROOT / "docker" / "tracking" / "start.sh"
    subprocess.run(["sh", "-n", str(script)], check=True)
    result = subprocess.run(["sh", str(script)], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
    assert result.returncode != 0
    assert "DATABASE_URI: set it to postgresql://" in result.stderr
    services = set(re.findall(r"^: \"\$\{(\w+):\?", script.read_text(), re.MULTILINE))
    assert services <= set(SERVICES["tracking"]["environment"])


def test_containers_do_not_import_from_their_working_folders(tmp_path: Path) -> None:
    mlflow = tmp_path / "mlflow"
    mlflow.write_text("#!/bin/sh\nenv\numask\n")
    mlflow.chmod(0o755)
    needed = dict.fromkeys(("DATABASE_URI", "ARTIFACTS", "ADMIN_PASSWORD", "SECRET_KEY"), "x")
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHONPATH": ".", **needed}
    script = str(ROOT / "docker" / "tracking" / "start.sh")
    report = subprocess.run(
        ["sh", script], capture_output=True, text=True, env=environment, check=True
    ).stdout.splitlines()
    assert {"PYTHONSAFEPATH=1", "UVICORN_APP_DIR=/", "0077"} <= set(report)
    assert not [line for line in report if line.startswith("PYTHONPATH=")]
    for file in FROM_TREE:
        assert _words(file, "ENV") == [["PYTHONSAFEPATH=1"]]
    for path in [path for path in (ROOT / "docker").rglob("*") if path.is_file() and path.suffix != ".md"]:
        for line in path.read_text().splitlines():
            started = re.search(r'(?:\bpython"?,?|python"|\$python"?) +"?-(\w)', line)
            assert started is None or started[1] == "I", f"{path.name}: {line}"


def test_the_sandbox_image_uses_only_wheels_of_the_kit_and_an_ordinary_user() -> None:
    text = (SANDBOX / "Dockerfile").read_text()
    joined = text.replace("\\\n", " ")
    assert not re.search(r"^(COPY|ADD|ARG|ENV|VOLUME)\b", text, re.MULTILINE)
    assert re.findall(r"--mount=(\S+)", joined) == ["type=bind,source=wheels,target=/wheels"]
    assert f'--no-index --find-links /wheels "$wheel[{EXTRAS_OF_A_SANDBOX}]"' in joined
    assert "apt-get" not in text
    assert _words(SANDBOX / "Dockerfile", "USER") == [["10001"]]
    assert text.index("\nUSER ") > text.rindex("\nRUN ")
    assert _words(SANDBOX / "Dockerfile", "EXPOSE") == [["8000"]]
    assert "http://127.0.0.1:8000/readyz" in text[text.index("\nHEALTHCHECK ") :]
    for file in FROM_TREE:
        assert _words(file, "FROM")[0] == _words(SANDBOX / "Dockerfile", "FROM")[0]


def test_a_kit_gathers_what_its_installation_and_its_image_install() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"].keys() >= {*EXTRAS_OF_A_SANDBOX.split(",")}
    for name in ("airgap.sh", "install.sh"):
        assert f'"$wheel[{EXTRAS_OF_A_SANDBOX}]"' in (ROOT / "docker" / "kit" / name).read_text(), name


def test_the_sandbox_starts_the_service_with_existing_options() -> None:
    words = [word for name in ("ENTRYPOINT", "CMD") for word in json.loads(_line(SANDBOX / "Dockerfile", name))]
    assert words[:3] == ["polyclinic", "serve", "/bundle"]
    options = {word.removeprefix("--") for word in words if word.startswith("--")}
    assert options == {"host", "port", "token_file", "audit"}
    assert options <= {field.name for field in fields(ServiceSettings)}
    service = SANDBOXED["services"]["sandbox"]
    values = dict(zip(words[3::2], words[4::2], strict=True))
    assert values["--token_file"] == f"/run/secrets/{service['secrets'][0]}"
    assert SANDBOXED["secrets"]["token"]["file"].startswith("${TOKEN_FILE:?")
    mounts = [volume.split(":") for volume in service["volumes"]]
    assert ["../bundle", "/bundle", "ro"] in mounts
    writable = [target for _, target, *mode in mounts if mode != ["ro"]]
    assert writable == [str(Path(values["--audit"]).parent)]
    assert service["build"]["network"] == "none"
    assert {"/tmp", "/home/sandbox"} == set(service["tmpfs"])
    assert service["shm_size"] == "1gb"


def test_the_door_forwards_to_the_sandbox_only() -> None:
    text = (SANDBOX / "door.cfg").read_text()
    lines = [line.split("#")[0].split() for line in text.splitlines()]
    assert [line for line in lines if line[:1] == ["bind"]] == [["bind", ":8000"]]
    assert [line[1:3] for line in lines if line[:1] == ["server"]] == [["sandbox", "sandbox:8000"]]
    assert SANDBOXED["services"]["door"]["volumes"] == ["./door.cfg:/usr/local/etc/haproxy/haproxy.cfg:ro"]


def _line(file: Path, instruction: str) -> str:
    """Return the values of an instruction that starts a line, not those of an option of another one."""
    return next(line for line in file.read_text().splitlines() if line.startswith(f"{instruction} ")).split(" ", 1)[1]
