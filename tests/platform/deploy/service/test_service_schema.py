"""The service against its own OpenAPI document."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service_process import TOKEN, Served, serving

pytestmark = [pytest.mark.processes, pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def service(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(bundle_folder, tmp_path_factory.mktemp("schema"), "--per_minute", "0") as served:
        yield served


def test_schemathesis_finds_no_deviation_from_the_schema(service: Served, tmp_path: Path) -> None:
    # Random bytes have the right type but are not an X-ray, which no schema can express.
    (tmp_path / "schemathesis.toml").write_text(
        '[checks]\npositive_data_acceptance.expected-statuses = ["2xx", 400, 422]\n'
    )
    words = ["--max-examples", "200", "--no-color", "--generation-database", "none", "--seed", "1"]
    program = str(Path(sys.executable).with_name("schemathesis"))
    command = [program, "run", f"{service.address}/openapi.json", "-H", f"Authorization: Bearer {TOKEN}", *words]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout[-5000:]
