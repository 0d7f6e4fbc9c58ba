"""The container files: what they expose, run as, copy and pin. No image can be built here."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILES = sorted((ROOT / "docker").glob("*/Dockerfile"))


def _words(file: Path, instruction: str) -> list[list[str]]:
    text = file.read_text().replace("\\\n", " ")
    return [line.split()[1:] for line in text.splitlines() if line.startswith(f"{instruction} ")]


def test_ports_are_those_of_this_machine_alone() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:5000:5000"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    for name, service in SERVICES.items():
        assert "network_mode" not in service, name
        assert set(service["networks"]) <= {"inside", "outside"}
    assert [name for name, service in SERVICES.items() if "outside" in service["networks"]] == ["tracking"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_hardened_and_has_a_health_check(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "devices", "pid", "ipc"} & set(service)
    assert "healthcheck" in service or name == "bucket"
    runs_as = service["user"] if "user" in service else _words(_dockerfile(service), "USER")[-1][0]
    assert runs_as.split(":")[0].isdecimal()
    assert int(runs_as.split(":")[0]) > 0


def _dockerfile(service: dict[str, Any]) -> Path:
    return ROOT / service["build"]["dockerfile"]


def test_images_and_packages_are_pinned() -> None:
    images = [service["image"] for service in SERVICES.values()]
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


def test_secrets_come_from_the_environment_and_are_asked_for() -> None:
    text = (ROOT / "docker" / "compose.yaml").read_text()
    asked = set(re.findall(r"\$\{(\w+):\?", text))
    assert asked == {"DATABASE_PASSWORD", "STORAGE_PASSWORD", "ADMIN_PASSWORD", "SECRET_KEY"}
    example = (ROOT / "docker" / "example.env").read_text().splitlines()
    assert {line for line in example if line.startswith(tuple(asked))} == {f"{name}=" for name in asked}
    for service in SERVICES.values():
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|KEY$", key):
                assert value.startswith("${"), key
    assert "docker/.env" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
def test_what_is_copied_exists_and_is_code(file: Path) -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    allowed = [Path(line[1:]) for line in ignored if line.startswith("!")]
    copied = [word for words in _words(file, "COPY") for word in words[:-1] if not word.startswith("--")]
    assert copied
    for word in copied:
        assert (ROOT / word).exists(), word
        assert any(Path(word).is_relative_to(one) for one in allowed), word
    assert not any(name in copied for name in (".", "runs", "demo", "tests", ".git"))
    assert _words(file, "USER")[-1] == ["10001"]
    assert file.read_text().index("\nUSER ") > file.read_text().rindex("\nCOPY ")


def test_the_start_script_is_portable_shell_and_says_what_it_lacks() -> None:
    script = ROOT / "docker" / "tracking" / "start.sh"
    subprocess.run(["sh", "-n", str(script)], check=True)
    done = subprocess.run(["sh", str(script)], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
    assert done.returncode != 0
    assert "DATABASE_URI: set it to postgresql://" in done.stderr
    services = set(re.findall(r"^: \"\$\{(\w+):\?", script.read_text(), re.MULTILINE))
    assert services <= set(SERVICES["tracking"]["environment"])
