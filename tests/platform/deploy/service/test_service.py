"""`polyclinic serve` as a client sees it: the scores of `polyclinic score`, views, tokens, hosts, and its OpenAPI."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests
from benchmarks.cart_files import WRITERS
from fhir.resources.R4B.bundle import Bundle as FhirBundle
from pydantic import TypeAdapter

from hostile_modules import STARTING, plant, ran
from polyclinic.cli import main
from polyclinic.deploy.service.schemas import BundleCard, Scores
from polyclinic_ecg import ECG
from service_process import TOKEN, Served, serving

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def service(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("service")
    plant(folder, without=STARTING)
    with serving(bundle_folder, folder, "--per_minute", "0", "--file_mb", "2") as served:
        yield served


@pytest.fixture(scope="module")
def scored(bundle_folder: Path, study_files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the report of `polyclinic score` on the study."""
    out = tmp_path_factory.mktemp("scored") / "scores.json"
    words = [word for name in ("xray", "ecg", "tabular") for word in (f"--{name}", str(study_files[name]))]
    assert main(["score", str(bundle_folder), *words, "--json", str(out)]) == 0
    return json.loads(out.read_text())


def _files(study: dict[str, Path], *names: str) -> dict[str, list[Path]]:
    """Return the upload parts, with the companion of the ECG's header."""
    companions = {name: [study[name].with_suffix(".dat")] if name == "ecg" else [] for name in names}
    return {name: [study[name], *companions[name]] for name in names}


def _assert_same(actual: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for key, value in expected.items():
            _assert_same(actual[key], value)
    elif isinstance(expected, list):
        assert len(actual) == len(expected)
        for actual_item, expected_item in zip(actual, expected, strict=True):
            _assert_same(actual_item, expected_item)
    else:
        assert actual == (pytest.approx(expected, abs=1e-6) if isinstance(expected, float) else expected)


def test_the_scores_equal_those_of_the_command(service: Served, study_files: dict[str, Path], scored: Any) -> None:
    answer = service.score(_files(study_files, "xray", "ecg", "tabular"))
    assert answer.status_code == 200
    report = answer.json()
    assert report.pop("files") == []
    _assert_same(report, scored)


def test_a_client_that_accepts_fhir_gets_observations(
    service: Served, study_files: dict[str, Path], scored: Any
) -> None:
    parts = [("xray", ("DOE^JOHN.dcm", study_files["xray"].read_bytes()))]
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/fhir+json, application/json;q=0.5"}
    answers = [
        requests.post(f"{service.address}/v1/score", files=parts, headers=headers, timeout=120) for _ in range(2)
    ]
    assert [answer.headers["content-type"] for answer in answers] == ["application/fhir+json"] * 2
    bundle, again = (answer.json() for answer in answers)
    FhirBundle.model_validate(bundle)
    device, *found = (entry["resource"] for entry in bundle["entry"])
    assert device["identifier"][0]["value"] == scored["bundle"]
    assert [each["code"]["coding"][0]["code"] for each in found] == [each["name"] for each in scored["findings"]]
    assert bundle["entry"] == again["entry"]
    assert "DOE" not in json.dumps(bundle)
    assert answers[0].headers["x-request-number"] != answers[1].headers["x-request-number"]
    refused = requests.post(
        f"{service.address}/v1/score", files=parts, headers={**headers, "Authorization": ""}, timeout=60
    )
    assert refused.status_code == 401


def test_files_without_a_modality_are_sorted_by_suffix_and_by_the_plugin_that_reads_them(
    service: Served, study_files: dict[str, Path], scored: Any
) -> None:
    # In another order, and the DICOM file without its suffix, so that both image and signal plugins try it.
    ordered = [study_files["ecg"].with_suffix(".dat"), study_files["tabular"], study_files["xray"], study_files["ecg"]]
    names = [ordered[0].name, "b.csv", "c", study_files["ecg"].name]
    parts = [("files", (name, path.read_bytes())) for name, path in zip(names, ordered, strict=True)]
    answer = service.post(parts)
    report = answer.json()
    assert report.pop("files") == ["ecg", "tabular", "xray", "ecg"]
    _assert_same(report, scored)


@pytest.mark.parametrize("name", ["ge-muse-xml", "scp-ecg", "csv"])
def test_a_cart_export_or_table_is_scored_like_the_record_beside_a_table_of_values(
    name: str, service: Served, study_files: dict[str, Path], tmp_path: Path
) -> None:
    raw = ECG().read(study_files["ecg"])
    write, suffix, _ = WRITERS[name]
    write(tmp_path / f"doe{suffix}", np.nan_to_num(raw.signal), raw.rate)
    files = [(f"doe{suffix}", tmp_path / f"doe{suffix}"), ("labs.csv", study_files["tabular"])]
    report = service.post([("files", (file, path.read_bytes())) for file, path in files]).json()
    assert report.pop("files") == ["ecg", "tabular"]
    expected = service.score(_files(study_files, "ecg", "tabular")).json()
    for actual, finding in zip(report["findings"], expected["findings"], strict=True):
        assert actual["probability"] == pytest.approx(finding["probability"], abs=0.01)


def test_concurrent_studies_get_their_own_scores(service: Served, study_files: dict[str, Path], scored: Any) -> None:
    groups = [("xray",), ("ecg",), ("xray", "ecg"), ("tabular",)] * 6
    expected = {names: service.score(_files(study_files, *names)).json() for names in set(groups)}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda names: service.score(_files(study_files, *names)), groups))
    for names, answer in zip(groups, answers, strict=True):
        assert answer.status_code == 200
        _assert_same(answer.json(), expected[names])
    studies_per_batch = service.measure("polyclinic_batch_studies_sum") / service.measure(
        "polyclinic_batch_studies_count"
    )
    assert studies_per_batch > 1


@pytest.mark.public_report(23)
def test_names_of_laboratory_values_are_recognised_or_noted(service: Served, study_files: dict[str, Path]) -> None:
    plain = study_files["tabular"].read_bytes()
    renamed = plain.replace(b"\ncreatinine,", b"\nCreatinine (umol/L),") + b"serum porcelain,3,\n"
    assert renamed.count(b"Creatinine (umol/L)") == 1
    answers = [service.post([("tabular", ("labs.csv", table))]).json() for table in (plain, renamed)]
    assert answers[1]["findings"] == answers[0]["findings"]
    assert answers[0]["notes"] == []
    assert answers[1]["notes"] == ["tabular: not used, as no column has the name: 'serum porcelain'"]


def test_views_and_relevance_are_given_on_request(service: Served, study_files: dict[str, Path]) -> None:
    files = _files(study_files, "xray", "ecg", "tabular", "report")
    report = service.score(files, views="true", explain="anemia").json()
    assert {name: view["kind"] for name, view in report["views"].items()} == {
        "xray": "picture", "ecg": "traces", "tabular": "rows", "report": "words",
    }  # fmt: skip
    # The report is not an input modality, so that it contributes nothing to the score.
    assert {name: relevance["kind"] for name, relevance in report["relevance"].items()} == {
        "xray": "grid", "ecg": "stretches", "tabular": "rows",
    }  # fmt: skip
    assert len(report["relevance"]["xray"]["strength"]) == 4
    assert any(strength > 0 for row in report["relevance"]["xray"]["strength"] for strength in row)
    assert "report is the prompt modality, so it is not used as input" in report["notes"]
    assert not {"views", "relevance"} & set(service.score(files).json())
    schema = TypeAdapter(Scores)
    assert set(report) == {field.name for field in fields(Scores)}
    assert json.loads(schema.dump_json(schema.validate_python(report))) == report


def test_an_unreadable_modality_is_left_out_of_the_score_with_the_reason(
    service: Served, study_files: dict[str, Path]
) -> None:
    parts = [("xray", ("a.dcm", study_files["xray"].read_bytes())), ("tabular", ("a.csv", b"a,b\n1,2\n"))]
    report = service.post(parts).json()
    assert report["modalities"]["tabular"]["used"] is False
    assert "columns" in report["modalities"]["tabular"]["problem"]
    expected = service.post(parts[:1]).json()
    _assert_same(report["findings"], expected["findings"])


def test_the_bundle_lists_the_modalities_that_it_reads(service: Served, bundle_folder: Path) -> None:
    report = service.get("/v1/bundle").json()
    assert sorted((modality["name"], modality["title"], modality["query"]) for modality in report["modalities"]) == [
        ("ecg", "ECG", True), ("report", "Report", False), ("tabular", "Laboratory values", True),
        ("xray", "X-ray", True),
    ]  # fmt: skip
    assert next(modality["accept"] for modality in report["modalities"] if modality["name"] == "xray") == [
        ".dcm",
        ".png",
        ".jpg",
        ".jpeg",
    ]
    assert [finding["name"] for finding in report["findings"]] == ["cardiomegaly", "anemia"]
    assert set(report) == set(BundleCard.model_fields)
    assert json.loads(BundleCard.model_validate(report).model_dump_json()) == report


@pytest.mark.parametrize("path", ["/v1/bundle", "/v1/score", "/v1/unknown", "/metrics"])
@pytest.mark.parametrize("shown", [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x"])
def test_nothing_is_disclosed_without_the_token(service: Served, path: str, shown: str | None) -> None:
    answer = requests.get(service.address + path, headers={} if shown is None else {"Authorization": shown}, timeout=20)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json() == {"error": {"message": "got no valid token, expected `Authorization: Bearer TOKEN`"}}


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json", "/", "/main.js"])
def test_the_page_and_the_state_need_no_token(service: Served, path: str) -> None:
    answer = requests.get(service.address + path, timeout=20)
    assert answer.status_code == 200
    policy = "default-src 'self'; img-src 'self' data: blob:; style-src 'self'; script-src 'self'"
    assert answer.headers["Content-Security-Policy"].startswith(policy)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "Server" not in answer.headers


@pytest.mark.parametrize(
    "path", ["/../service/app.py", "/%2e%2e/service/app.py", "/..%2fscoring/scorer.py", "//etc/passwd"]
)
def test_nothing_but_the_page_is_served(service: Served, path: str) -> None:
    prepared = requests.Request("GET", service.address).prepare()
    prepared.url = service.address + path
    with requests.Session() as session:
        answer = session.send(prepared, timeout=20)
    assert answer.status_code == 404
    assert set(answer.json()) == {"error"}


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.", "[::1].evil"])
def test_a_host_name_of_another_service_is_refused(service: Served, host: str) -> None:
    answer = service.get("/v1/bundle", headers={"Host": host})
    assert answer.status_code == 400
    assert "allowed_hosts" in answer.text


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_a_page_of_another_site_cannot_send_requests(service: Served, origin: str) -> None:
    assert service.get("/v1/bundle", headers={"Origin": origin}).status_code == 403
    assert service.get("/v1/bundle", headers={"Origin": service.address}).status_code == 200


def test_a_finding_outside_the_bundle_cannot_be_explained(service: Served, study_files: dict[str, Path]) -> None:
    answer = service.score(_files(study_files, "xray"), explain="DOE^JOHN")
    assert answer.status_code == 422
    assert answer.json()["error"]["message"] == (
        "got another finding to explain, expected one of ['cardiomegaly', 'anemia']; set `explain`"
    )
    answer = service.score(_files(study_files, "xray"), views="DOE^JOHN")
    assert (answer.status_code, "DOE" in answer.text) == (422, False)


def test_metrics_count_uploaded_bytes(service: Served, study_files: dict[str, Path]) -> None:
    before = service.measure("polyclinic_uploaded_bytes_total")
    assert service.score(_files(study_files, "xray")).status_code == 200
    uploaded = service.measure("polyclinic_uploaded_bytes_total") - before
    assert 0 < uploaded - study_files["xray"].stat().st_size < 1000


def test_the_front_imports_no_torch_and_the_process_that_forks_has_one_thread(service: Served) -> None:
    front = psutil.Process(service.process.pid)
    assert not [entry.path for entry in front.memory_maps() if "torch" in entry.path]
    nursery = next(worker.parent() for worker in service.workers())
    assert nursery.num_threads() == 1
    assert [entry.path for entry in nursery.memory_maps() if "libtorch" in entry.path]


def test_openapi_describes_every_route(service: Served) -> None:
    report = service.get("/openapi.json").json()
    assert set(report["paths"]) == {"/healthz", "/readyz", "/metrics", "/v1/bundle", "/v1/score"}
    body = report["paths"]["/v1/score"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(body["properties"]) == {"xray", "ecg", "report", "tabular", "files"}
    assert report["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}


def test_no_name_reaches_the_logs(service: Served, study_files: dict[str, Path]) -> None:
    content = study_files["xray"].read_bytes()
    service.post([("xray", ("DOE^JOHN.dcm", content))])
    service.post([("xray", ("DOE^JOHN.dcm", b"DOE^JOHN"))])
    service.post([("DOE^JOHN", ("DOE^JOHN.dcm", content))], explain="DOE^JOHN")
    requests.request("DOE", f"{service.address}/DOE^JOHN?DOE^JOHN", headers={"DOE": "DOE^JOHN"}, timeout=20)
    # A line of the log is written after the answer that it records.
    deadline = time.monotonic() + 60
    while "OTHER page status 4" not in service.message() and time.monotonic() < deadline:
        time.sleep(0.05)
    reply = service.message() + service.audit.read_text() + service.get("/metrics").text
    assert "DOE" not in reply.upper()
    assert "127.0.0.1" not in service.audit.read_text()
    assert TOKEN not in reply
    assert "OTHER page status 4" in reply


def _memory(pid: int) -> bytes:
    """Read the writable memory of a process, without large stretches that it has only reserved."""
    stretches = []
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights, *_ = line.split()
            start, end = (int(number, 16) for number in span.split("-"))
            if rights.startswith("rw") and ("[heap]" in line or end - start < 1 << 25):
                memory.seek(start)
                stretches.append(memory.read(end - start))
    return b"".join(stretches)


def test_only_the_front_has_the_token(service: Served, study_files: dict[str, Path]) -> None:
    assert service.score(_files(study_files, "tabular")).status_code == 200
    for process in service.family():
        report = " ".join([*process.environ(), *process.environ().values(), *process.cmdline()])
        assert TOKEN not in report
        assert "POLYCLINIC_TOKEN" not in report
    # All of them are forked from one process, so that any one stands for the others.
    memory = _memory(service.workers()[0].pid)
    assert b"polyclinic.deploy.service" in memory, "it is looked at"
    assert TOKEN.encode() not in memory


def test_the_service_imported_nothing_from_its_working_folder(service: Served) -> None:
    assert service.get("/v1/bundle").ok
    assert ran(service.folder) == []
