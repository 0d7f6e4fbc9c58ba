"""Studies are retrieved from a DICOMweb server completely, once, and from that server alone."""

import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from archives import write_dicom
from dicomweb_server import BOUNDARY, FakeArchive, Handler, dicomweb_server, multipart
from polyclinic.cli import main
from polyclinic.cohort import default_modalities, read_cohort
from polyclinic.cohort.dicomweb import session
from polyclinic.cohort.dicomweb.address import read_address
from polyclinic.cohort.dicomweb.retrieve import Retrieved, retrieve

PLUGINS = default_modalities()
MULTIPART = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


def instance(folder: Path, number: int, modality: str = "DX", **elements: object) -> Path:
    stated = {
        "PatientID": f"P{number}",
        "PatientName": "Doe^Jane",
        "StudyInstanceUID": f"2.25.{number}",
        "SeriesInstanceUID": f"2.25.{number}.1",
        "SOPInstanceUID": f"2.25.{number}.1.1",
        "AccessionNumber": f"A{number}",
    }
    return write_dicom(folder / f"{number}-{modality}.dcm", modality=modality, **{**stated, **elements})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(session, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(session, "_TIMEOUTS", (20.0, 20.0))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("POLYCLINIC_DICOMWEB_LOGIN", raising=False)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeArchive]:
    files = [instance(tmp_path / "pacs", number) for number in range(1, 6)]
    files.append(instance(tmp_path / "pacs", 5, "ECG", SeriesInstanceUID="2.25.5.2", SOPInstanceUID="2.25.5.2.1"))
    files.append(instance(tmp_path / "pacs", 6, "US"))
    with dicomweb_server(*files) as archive:
        yield archive


def fetch(server: FakeArchive, folder: Path = Path("archive"), **settings: Any) -> Retrieved:
    options: dict[str, Any] = {"modalities": PLUGINS, "filters": {}, "limit": None, "login": ""}
    return retrieve(server.address, folder, **(options | settings))


def stored(folder: Path = Path("archive")) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.dcm"))


ALL = [*(f"2.25.{number}/2.25.{number}.1.1.dcm" for number in range(1, 6)), "2.25.5/2.25.5.2.1.dcm"]


def test_all_pages_are_retrieved_byte_for_byte_and_scanned(server: FakeArchive, capfd: Any) -> None:
    assert main(["cohort", "scan", "archive", "--dicomweb", server.address, "--out", "cohort"]) == 0
    output = capfd.readouterr()
    assert "6 instances of 5 studies retrieved into the folder, 0 were there" in output.out
    for word in ("Doe", "2.25", "P1", server.address):
        assert word not in output.out + output.err
    assert stored() == ALL
    content = {dataset.SOPInstanceUID: stored_bytes for dataset, stored_bytes in server.instances}
    assert all(path.read_bytes() == content[path.stem] for path in Path("archive").rglob("*.dcm"))
    cohort = read_cohort(Path("cohort/cohort.yaml"))
    assert sorted(study.patient_id for study in cohort.studies) == [f"P{number}" for number in range(1, 6)]
    assert {name for study in cohort.studies for name in study.sources} == {"xray", "ecg"}
    assert list(json.loads(Path("cohort/scan-report.json").read_text())["left_out"]) == ["about-the-data"]
    assert not [path for path in server.requests if "2.25.6" in path], "no plugin reads US"


def test_a_second_command_retrieves_what_is_missing(server: FakeArchive) -> None:
    assert fetch(server, limit=2).instances == 2
    Path("archive/2.25.1/2.25.1.1.1.dcm").unlink()
    server.requests.clear()
    again = fetch(server)
    assert (again.instances, again.known) == (5, 1)
    assert stored() == ALL
    assert max(server.retrieved().values()) == 1


def test_a_server_that_ignores_the_offset_does_not_repeat_forever(server: FakeArchive) -> None:
    server.ignores_offset, server.page = True, 100
    assert fetch(server).instances == 6


def test_a_query_is_sent_and_limits_the_studies(server: FakeArchive) -> None:
    assert fetch(server, filters={"PatientID": "P3"}).instances == 1
    assert stored() == ["2.25.3/2.25.3.1.1.dcm"]
    assert fetch(server, Path("few"), limit=3).studies == 3


@pytest.mark.parametrize("login", ["user:pass:word", "token-123"])
def test_the_login_is_sent_to_the_server(server: FakeArchive, login: str) -> None:
    fetch(server, login=login)
    expected = {"user:pass:word": "Basic dXNlcjpwYXNzOndvcmQ=", "token-123": "Bearer token-123"}[login]
    assert {headers.get("Authorization") for headers in server.headers} == {expected}


def _status(status: int) -> Callable[[Handler], None]:
    return lambda handler: handler.send(status, "text/plain", b"Doe^Jane")


def _cut_by_length(handler: Handler) -> None:
    content = multipart(b"x" * 5000)
    handler.send(200, MULTIPART, content[:100], length=len(content))


def _cut_by_boundary(handler: Handler) -> None:
    handler.send(200, MULTIPART, multipart(b"x" * 5000)[:3000])


def _cut_chunk(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", MULTIPART)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"1000\r\nabc")
    handler.close_connection = True


def _silent(handler: Handler) -> None:
    handler.close_connection = True


PASSING = [_status(500), _status(503), _status(429), _cut_by_length, _cut_by_boundary, _cut_chunk, _silent]


@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.parametrize("place", ["/instances/", "/studies?"])
def test_a_fault_that_passes_is_repeated(server: FakeArchive, fault: Callable[[Handler], None], place: str) -> None:
    if fault is _cut_by_boundary and place == "/studies?":
        pytest.skip("a search has no parts")
    server.faults = [(place, fault)] * 2
    assert fetch(server).instances == 6
    assert stored() == ALL


@pytest.mark.parametrize("fault", [_status(500), _cut_by_length, _cut_by_boundary])
def test_a_fault_that_remains_ends_the_command_which_then_continues(
    server: FakeArchive, fault: Callable[[Handler], None], capfd: Any
) -> None:
    server.faults = [("/studies/2.25.3/series/2.25.3.1/instances/", fault)] * session.ATTEMPTS
    words = ["cohort", "scan", "archive", "--dicomweb", server.address]
    assert main(words) == 1
    message = capfd.readouterr().err
    assert message.startswith(f"error: the server gave no complete answer in {session.ATTEMPTS} attempts")
    assert "2.25" not in message
    assert "Doe" not in message
    assert not Path("cohort").exists()
    assert [path.name for path in Path("archive").rglob("*") if path.name.startswith(".")] == []
    assert main(words) == 0
    assert stored() == ALL


def _other_content(number: int, **elements: object) -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        handler.send_instance(instance(Path("other"), number, **elements).read_bytes())  # type: ignore[arg-type]

    return answer


UNUSABLE = [
    (_other_content(1, PatientID="P9"), "an instance of another patient than was asked for"),
    (_other_content(2), "an instance of another study than was asked for"),
    (_other_content(1, Rows=0), "an instance that no installed plugin recognises"),
    (lambda handler: handler.send_instance(b"<html>"), "an instance that no installed plugin recognises"),
    (lambda handler: handler.send(200, "text/html", b"<html>"), "an answer of another media type than DICOM"),
    (lambda handler: handler.send(200, MULTIPART, multipart(b"a", b"b")), "an answer without exactly one part"),
    (lambda handler: handler.send(200, MULTIPART, multipart()), "an answer without exactly one part"),
    (lambda handler: handler.send(200, MULTIPART, b"", length=10**12), "an answer of more than 500,000,000 bytes"),
    (_status(404), "status 404"),
    (_status(406), "status 406"),
    (lambda handler: handler.send(204, "text/plain", b""), "an answer of another media type than DICOM"),
]


@pytest.mark.parametrize(("answer", "reason"), UNUSABLE)
def test_an_instance_that_cannot_be_used_is_counted(
    server: FakeArchive, answer: Callable[[Handler], None], reason: str
) -> None:
    server.faults = [("/studies/2.25.1/series/2.25.1.1/instances/", answer)]
    result = fetch(server)
    assert result.refused == {reason: 1}
    listed = json.loads(Path("archive/dicomweb.json").read_text())["not_retrieved"]
    assert listed == [{"study": "2.25.1", "instance": "2.25.1.1.1", "why": reason}]
    assert stored() == ALL[1:]
    assert not Path("archive/2.25.1").exists()


def test_an_answer_is_bounded_while_it_is_read(server: FakeArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", MULTIPART)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
        except OSError:
            handler.close_connection = True

    monkeypatch.setattr(session, "MAX_BYTES", 1_000_000)
    server.faults = [("/instances/", endless)]
    assert fetch(server).refused == {"an answer of more than 1,000,000 bytes": 1}


def test_an_answer_that_inflates_is_bounded(server: FakeArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MAX_BYTES", 1_000_000)
    bomb = gzip.compress(bytes(50_000_000))
    answer = {"Content-Encoding": "gzip"}
    server.faults = [("/instances/", lambda handler: handler.send(200, MULTIPART, bomb, **answer))]
    assert fetch(server).refused == {"an answer of more than 1,000,000 bytes": 1}
    packed = gzip.compress(multipart(server.instances[0][1]))
    server.faults = [("/instances/", lambda handler: handler.send(200, MULTIPART, packed, **answer))]
    assert fetch(server).instances == 1


def test_an_answer_byte_by_byte_ends(server: FakeArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    def drip(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", MULTIPART)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        try:
            for _ in range(200):
                handler.wfile.write(b"x")
                handler.wfile.flush()
                time.sleep(0.02)
        except OSError:
            pass
        handler.close_connection = True

    monkeypatch.setattr(session, "MAX_SECONDS", 0.1)
    server.faults = [("/instances/", drip)] * session.ATTEMPTS
    with pytest.raises(ValueError, match=r"no complete answer in 4 attempts \(longer than 0 s\)"):
        fetch(server)


def test_an_instance_in_no_parts_is_accepted(server: FakeArchive) -> None:
    content = server.instances[0][1]
    server.faults = [("/instances/", lambda handler: handler.send(200, "application/dicom", content))]
    assert fetch(server).instances == 6


def test_refused_logins_end_the_command(server: FakeArchive) -> None:
    for status in (401, 403):
        server.faults = [("/studies", _status(status))]
        with pytest.raises(ValueError, match=rf"the server refuses the login \(status {status}\)"):
            fetch(server)
    assert stored() == []


def _redirect(target: str, status: int = 302) -> Callable[[Handler], None]:
    return lambda handler: handler.send(status, "text/plain", b"", Location=target)


def test_redirections_stay_on_the_server(server: FakeArchive, tmp_path: Path) -> None:
    path = "/dicom-web/studies/2.25.1/series/2.25.1.1/instances/2.25.1.1.1"
    server.faults = [("/2.25.1.1.1", _redirect(f"{path}?again"))]
    assert fetch(server).instances == 6
    with dicomweb_server(instance(tmp_path / "elsewhere", 1)) as other:
        for place in ("/studies?", "/instances/"):
            server.faults = [(place, _redirect(f"{other.address}/studies"))]
            with pytest.raises(ValueError, match="redirects to another host, to which nothing is sent"):
                fetch(server, Path(f"new{place.strip('/?')}"), login="secret")
        assert other.requests == []
    server.faults = [("/instances/", _redirect(path))] * 40
    with pytest.raises(ValueError, match="TooManyRedirects"):
        fetch(server, Path("loop"))


HOSTILE = [
    b"<html>",
    b"{",
    b'{"0020000D": 1}',
    b"[1]",
    b'[{"0020000D": {"Value": ["../../etc"]}}]',
    b'[{"0020000D": {"Value": ["1..2"]}}]',
    b'[{"0020000D": {"Value": ["1.2/3"]}}]',
    b'[{"0020000D": {"Value": []}}]',
    b'[{"0020000D": {"Value": [{"a": 1}]}}]',
    b"\xff\xfe",
    b"[" * 100_000,
    b'"text"',
]


@pytest.mark.parametrize("content", HOSTILE)
def test_a_search_that_is_not_dicom_json_is_refused(server: FakeArchive, content: bytes) -> None:
    server.faults = [("/studies?", lambda handler: handler.send(200, "application/dicom+json", content))]
    with pytest.raises(ValueError, match="in another form than DICOM JSON"):
        fetch(server)
    assert stored() == []


def test_only_the_folder_of_this_server_is_written_to(server: FakeArchive) -> None:
    Path("archive").mkdir()
    Path("archive/scan.dcm").write_bytes(b"x")
    with pytest.raises(ValueError, match="files that are not from this server"):
        fetch(server)
    for note in ("{", "[]", '{"server": "https://other"}'):
        Path("archive/dicomweb.json").write_text(note)
        with pytest.raises(ValueError, match="files that are not from this server"):
            fetch(server)
    assert server.requests == []


def test_proxies_and_passwords_of_the_machine_are_not_used(
    server: FakeArchive, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login user password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert fetch(server).instances == 6
    assert not [headers for headers in server.headers if "Authorization" in headers]


def test_a_certificate_that_is_not_known_is_refused(tmp_path: Path) -> None:
    with dicomweb_server() as plain:
        plain.address = plain.address.replace("http:", "https:")
        with pytest.raises(ValueError, match=r"certificate of the server|no complete answer"):
            fetch(plain)


def test_a_query_without_a_match_is_refused(server: FakeArchive, capfd: Any) -> None:
    words = ["cohort", "scan", "archive", "--dicomweb", server.address, "--query", "PatientID=P77"]
    assert main(words) == 1
    assert "has no instance that matches" in capfd.readouterr().err
    assert not Path("cohort").exists()


def test_insecure_allows_http_and_a_path_is_kept() -> None:
    assert read_address("http://pacs.example:8080/dicom-web/", insecure=True) == "http://pacs.example:8080/dicom-web"
    for loopback in ("http://127.0.0.1:80/x", "http://[::1]/x", "http://localhost/x"):
        assert read_address(loopback, insecure=False) == loopback


def test_nothing_is_listening(server: FakeArchive) -> None:
    server.address = "http://127.0.0.1:9/dicom-web"
    with pytest.raises(ValueError, match=r"no complete answer in 4 attempts \(ConnectionError\)"):
        fetch(server)


REFUSED_WORDS = [
    (["--dicomweb", "pacs.example"], "not one of a server"),
    (["--dicomweb", "ftp://pacs.example"], "not one of a server"),
    (["--dicomweb", "https://"], "not one of a server"),
    (["--dicomweb", "https://pacs.example:port"], "not one of a server"),
    (["--dicomweb", "https://user:hunter2@pacs.example"], "with a login"),
    (["--dicomweb", "https://pacs.example/?a=b"], "with a query"),
    (["--dicomweb", "http://pacs.example/dicom-web"], "unencrypted"),
    (["--dicomweb", "http://127.0.0.1.example/dicom-web"], "unencrypted"),
    (["--dicomweb", "https://pacs.example", "--query", "PatientName"], "not a list of attributes"),
    (["--dicomweb", "https://pacs.example", "--query", "a b=hunter2"], "not a list of attributes"),
    (["--dicomweb", "https://pacs.example", "--query", "limit=1"], "not a list of attributes"),
    (["--dicomweb", "https://pacs.example", "--login", "shared"], "in a file of mode 644"),
    (["--dicomweb", "https://pacs.example", "--login", "absent"], "the login cannot be read"),
    (["--dicomweb", "https://pacs.example", "--login", "lines"], "no or several lines"),
    (["--dicomweb", "https://pacs.example", "--limit", "0"], "got limit 0"),
    (["--dicomweb", "https://pacs.example", "--out", "archive/cohort"], "`--out` lies in the folder to scan"),
    (["--dicomweb", "https://pacs.example", "--unpack", "archive/in"], "`--unpack` lies in the folder to scan"),
    (["--query", "PatientID=hunter2"], "got `--query` without an address"),
    (["--limit", "3"], "got `--limit` without an address"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED_WORDS)
def test_settings_are_refused_before_a_socket_is_opened(
    words: list[str], message: str, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    Path("shared").write_text("user:hunter2")
    Path("shared").chmod(0o644)
    Path("lines").write_text("user:hunter2\nmore")
    Path("lines").chmod(0o600)
    assert main(["cohort", "scan", "archive", *words]) == 1
    error = capfd.readouterr().err
    assert message in error
    assert "hunter2" not in error
    assert not Path("archive").exists()


def test_without_the_option_neither_the_client_is_imported_nor_a_socket_opened(tmp_path: Path) -> None:
    write_dicom(tmp_path / "archive/a", PatientID="P", StudyInstanceUID="2.25.1")
    program = """
import socket, sys
def refuse(*_, **__): raise AssertionError("a socket was opened")
socket.socket.connect = socket.getaddrinfo = refuse
from polyclinic.cli import main
assert main(["cohort", "scan", "archive"]) == 0
print([name for name in sys.modules if name.startswith(("dicomweb_client", "polyclinic.cohort.dicomweb.re"))])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_absent_client_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.setitem(sys.modules, "dicomweb_client", None)
    assert main(["cohort", "scan", "archive", "--dicomweb", "https://pacs.example"]) == 1
    assert "which `--dicomweb` needs; install polyclinic[dicomweb]" in capfd.readouterr().err


def test_cut_pixels_inside_complete_parts_are_found_by_the_plugin_later(server: FakeArchive) -> None:
    """The header decides here, as everywhere in a scan; `cohort check` reads the pixels."""
    content = server.instances[0][1][:-4]
    server.faults = [("/instances/", lambda handler: handler.send_instance(content))]
    assert fetch(server).instances == 6
    assert stored() == ALL
