"""The service under hostile uploads, slow clients, killed processes and signals."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from hostile_uploads import BOUNDARY, hostile_uploads, part
from polyclinic.deploy.service.audit import AuditLog
from service_process import TOKEN, Served, serving

pytestmark = pytest.mark.processes

_LIMITS = ("--per_minute", "0", "--file_mb", "2", "--request_mb", "4", "--in_flight", "4")


@pytest.fixture(scope="module")
def service(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(bundle_folder, tmp_path_factory.mktemp("service"), *_LIMITS) as served:
        yield served


@pytest.fixture(scope="module")
def impatient(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Start a service with limits that a busy machine may reach, for tests of these limits alone."""
    limits = (*_LIMITS, "--file_seconds", "5", "--upload_seconds", "2")
    with serving(bundle_folder, tmp_path_factory.mktemp("impatient"), *limits) as served:
        yield served


@pytest.fixture
def good(study_files: dict[str, Path]) -> dict[str, Path]:
    return {"xray": study_files["xray"]}


def _model_process(service: Served) -> psutil.Process:
    """Return the model process: the one with more than one thread, once it has computed."""
    return next(worker for worker in service.workers() if worker.num_threads() > 1)


def _readers(service: Served) -> list[psutil.Process]:
    return [worker for worker in service.workers() if worker.num_threads() == 1]


@contextmanager
def _suspended(processes: list[psutil.Process]) -> Iterator[None]:
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def _wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in 120 s"
        time.sleep(0.02)


def _wait_until_busy(service: Served, kind: str, number: int = 1) -> None:
    """Wait until `number` files are being read, or studies scored."""
    _wait_until(lambda: service.measure("polyclinic_busy", kind=kind) == number)


def _has_all_processes(service: Served) -> bool:
    """Return whether all three processes are running."""
    return len([worker for worker in service.workers() if worker.status() != psutil.STATUS_ZOMBIE]) == 3


def _score_in_background(service: Served, good: dict[str, Path]) -> "Future[requests.Response]":
    return ThreadPoolExecutor(1).submit(service.score, good)


def _stored_uploads(service: Served) -> list[Path]:
    """Return the files of uploads that are stored now."""
    return list(service.scratch().glob("reader-*/*"))


def test_hostile_uploads_are_refused_in_one_sentence_and_leave_nothing(
    service: Served, good: dict[str, Path], study_files: dict[str, Path]
) -> None:
    assert service.score(good).status_code == 200
    before, workers = service.score(good).json(), {worker.pid for worker in service.workers()}
    for upload in hostile_uploads(study_files, 150, seed=1):
        headers = {
            "Authorization": f"Bearer {TOKEN}",
            **({"Content-Type": upload.content_type} if upload.content_type else {}),
        }
        answer = requests.post(f"{service.address}/v1/score", data=upload.body, headers=headers, timeout=60)
        assert 400 <= answer.status_code < 500, upload.kind
        assert answer.json()["error"]["message"], upload.kind
        assert "DOE" not in answer.text, upload.kind
        assert "/" not in answer.json()["error"]["message"].replace("multipart/form-data", ""), upload.kind
    assert service.score(good).json() == before
    assert _stored_uploads(service) == []
    assert workers == {worker.pid for worker in service.workers()}


def test_two_images_of_one_modality_are_refused(service: Served, good: dict[str, Path]) -> None:
    content = good["xray"].read_bytes()
    for name in ("xray", "files"):
        answer = service.post([(name, ("a.dcm", content)), (name, ("b.dcm", content))])
        assert answer.status_code == 422
        assert "study" in answer.json()["error"]["message"]


def test_a_file_that_takes_too_long_ends_only_its_worker(impatient: Served, good: dict[str, Path]) -> None:
    assert impatient.score(good).status_code == 200
    readers = _readers(impatient)
    with _suspended(readers):
        answer = impatient.score(good)
    assert answer.status_code == 422
    assert answer.json()["error"]["message"] == "xray: took longer than 5 s to read"
    assert impatient.score(good).status_code == 200
    _wait_until(lambda: _has_all_processes(impatient))
    # The other one, which only waited, is still running.
    _wait_until(lambda: len({worker.pid for worker in readers} & {worker.pid for worker in impatient.workers()}) == 1)
    assert _stored_uploads(impatient) == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, 503), (signal.SIGSEGV, 422)])
def test_a_reading_worker_that_ends_fails_one_request_cleanly(
    service: Served, good: dict[str, Path], number: int, status: int
) -> None:
    assert service.score(good).status_code == 200
    readers = _readers(service)
    with _suspended(readers):
        waiting = _score_in_background(service, good)
        _wait_until_busy(service, "reading")
        for reader in readers:
            reader.send_signal(number)
    answer = waiting.result(60)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]
    # All of the request had been read, so that the client may keep its connection.
    assert "Connection" not in answer.headers
    assert service.score(good).status_code == 200
    _wait_until(lambda: _has_all_processes(service))
    assert _stored_uploads(service) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_readers_that_were_just_killed_fail_no_request(service: Served, good: dict[str, Path], number: int) -> None:
    expected = service.score(good).json()
    readers = _readers(service)
    with _suspended(readers):
        for reader in readers:
            reader.send_signal(number)
        # A suspended process has not yet ended on the second signal, as on a busy machine.
        assert service.score(good).json() == expected
    _wait_until(lambda: _has_all_processes(service))


def test_a_moved_audit_log_stops_scoring(service: Served, good: dict[str, Path]) -> None:
    moved, before = service.audit.with_name("aside"), service.audit.read_bytes()
    service.audit.rename(moved)
    try:
        for change in (lambda: None, lambda: service.audit.write_bytes(before)):
            change()
            answer = service.score(good)
            assert answer.status_code == service.get("/readyz").status_code == 503
            assert "the audit log" in answer.json()["error"]["message"]
    finally:
        moved.replace(service.audit)
    assert service.audit.read_bytes() == before
    assert service.get("/readyz").ok
    assert service.score(good).ok


def test_one_client_cannot_block_another(service: Served, good: dict[str, Path]) -> None:
    expected = service.score(good).json()
    slow = [_raw(service, b"Content-Length: 1000\r\n") for _ in range(4)]
    _wait_until(lambda: service.measure("polyclinic_in_flight") == 4)
    assert service.score(good).status_code == 503
    parts = [("xray", ("a.dcm", good["xray"].read_bytes()))]
    assert service.post(parts, client="127.0.0.2").json() == expected
    # One of the four gave way; the others still wait for their bodies.
    (refused,), _, _ = select.select(slow, [], [], 60)
    assert _answer(refused).startswith(b"HTTP/1.1 503 ")
    assert service.measure("polyclinic_in_flight") == 3
    for connection in slow:
        connection.close()
    _wait_until(lambda: service.measure("polyclinic_in_flight") == 0)


def test_a_killed_model_worker_fails_one_request_cleanly(service: Served, good: dict[str, Path]) -> None:
    expected = service.score(good).json()
    with _suspended([_model_process(service)]):
        waiting = _score_in_background(service, good)
        _wait_until_busy(service, "model")
        _model_process(service).kill()
    answer = waiting.result(60)
    assert answer.status_code == 503
    assert answer.json() == {"error": {"message": "the model process was stopped; send it again"}}
    assert service.score(good).json() == expected
    _wait_until(lambda: _has_all_processes(service))


def test_a_worker_that_dies_idle_fails_no_request(service: Served, good: dict[str, Path]) -> None:
    expected = service.score(good).json()
    for _ in range(3):
        killed = service.workers()
        for process in killed:
            process.kill()
        assert psutil.wait_procs(killed, timeout=60)[1] == []
        assert service.score(good).json() == expected
        _wait_until(lambda: _has_all_processes(service))


def test_workers_restart_after_the_process_that_forks_them_is_killed(service: Served, good: dict[str, Path]) -> None:
    expected = service.score(good).json()
    nursery, computing = service.workers()[0].parent(), _model_process(service)
    nursery.kill()
    computing.kill()
    _wait_until(lambda: service.get("/readyz").ok and service.score(good).ok)
    assert service.score(good).json() == expected


def test_more_concurrent_studies_than_allowed_are_refused(service: Served, good: dict[str, Path]) -> None:
    assert service.score(good).status_code == 200
    with ThreadPoolExecutor(7) as pool:
        with _suspended([_model_process(service)]):
            waiting = [pool.submit(service.score, good) for _ in range(7)]
            _wait_until(lambda: sum(future.done() for future in waiting) == 3)
        answers = sorted(future.result(60).status_code for future in waiting)
    assert answers == [200] * 4 + [503] * 3


def _raw(service: Served, head: bytes) -> socket.socket:
    host, _, port = service.address.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    report = b"POST /v1/score HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " + TOKEN.encode() + b"\r\n"
    report += b"Content-Type: multipart/form-data; boundary=" + BOUNDARY + b"\r\n"
    connection.sendall(report + head + b"\r\n")
    return connection


def _answer(connection: socket.socket) -> bytes:
    with connection:
        reply = b""
        while chunk := connection.recv(65536):
            reply += chunk
    return reply


def test_a_body_declared_too_large_is_refused_before_it_is_sent(service: Served) -> None:
    reply = _answer(_raw(service, b"Content-Length: 99999999999\r\n"))
    assert reply.startswith(b"HTTP/1.1 413 ")
    assert b"got a request of more than 4 MB, the maximum; send fewer files" in reply


@pytest.mark.parametrize(("start", "reply"), [
    (part(b"xray", b"a.dcm", b"")[:-2], b"got a file of more than 2 MB, the maximum"),
    (b"", b"the multipart body is broken"),
    (b"--" + BOUNDARY + b"\r\nX: ", b"the multipart body is broken"),
])  # fmt: skip
def test_an_endless_stream_is_cut_off(service: Served, start: bytes, reply: bytes) -> None:
    connection = _raw(service, b"Transfer-Encoding: chunked\r\n")
    connection.sendall(b"%x\r\n%s\r\n" % (len(start), start) if start else b"")
    ended = threading.Event()

    def send() -> None:
        chunk = b"10000\r\n" + b"y" * 65536 + b"\r\n"
        while not ended.is_set():
            try:
                connection.sendall(chunk)
            except OSError:
                return

    sender = threading.Thread(target=send)
    sender.start()
    try:
        received = connection.recv(65536)
        while reply not in received:
            received += connection.recv(65536)
    finally:
        ended.set()
        connection.close()
        sender.join()
    assert received.startswith((b"HTTP/1.1 413 ", b"HTTP/1.1 400 "))


def test_a_client_that_sends_too_slowly_is_refused(impatient: Served) -> None:
    connection = _raw(impatient, b"Content-Length: 1000\r\n")
    connection.sendall(part(b"xray", b"a.dcm", b"abc"))
    started = time.monotonic()
    reply = _answer(connection)
    assert reply.startswith(b"HTTP/1.1 408 ")
    assert b"the upload took longer than 2 s" in reply
    assert time.monotonic() - started >= 2


def _last_record(service: Served) -> dict[str, Any]:
    """Return the last complete line of the audit log."""
    line: dict[str, Any] = json.loads(service.audit.read_text().rpartition("\n")[0].splitlines()[-1])
    return line


def test_a_client_that_disconnects_is_recorded_in_the_audit_log(service: Served) -> None:
    connection = _raw(service, b"Content-Length: 1000\r\n")
    connection.sendall(part(b"xray", b"a.dcm", b"abc"))
    _wait_until(lambda: service.measure("polyclinic_in_flight") == 1)
    connection.close()
    _wait_until(lambda: _last_record(service)["status"] == 499)
    assert _last_record(service)["modalities"] == []


def _listens(service: Served) -> bool:
    host, _, port = service.address.removeprefix("http://").partition(":")
    try:
        socket.create_connection((host, int(port)), timeout=20).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_requests_in_flight_finish_before_the_service_stops(
    bundle_folder: Path, tmp_path: Path, good: dict[str, Path], number: int
) -> None:
    with serving(bundle_folder, tmp_path) as service:
        expected, family, scratch = service.score(good).json(), service.family(), service.scratch()
        with _suspended([_model_process(service)]):
            waiting = _score_in_background(service, good)
            _wait_until_busy(service, "model")
            # Signal every process of the group, as a terminal or a service manager does.
            os.killpg(service.process.pid, number)
            _wait_until(lambda: not _listens(service))
        assert waiting.result(60).json() == expected
        assert service.process.wait(60) == 0
        assert psutil.wait_procs(family, timeout=60)[1] == []
        assert "Traceback" not in service.message()
    report = [json.loads(line) for line in service.audit.read_text().splitlines()]
    assert [record.get("number", record.get("event")) for record in report] == ["start", 1, 2, "stop"]
    assert not scratch.exists()


@pytest.mark.slow
def test_files_of_a_killed_service_are_removed_by_the_next_one(bundle_folder: Path, tmp_path: Path) -> None:
    with serving(bundle_folder, tmp_path) as service:
        family, scratch = service.family(), service.scratch()
        service.process.kill()
        # No client is left to read for.
        assert psutil.wait_procs(family, timeout=60)[1] == []
    assert scratch.exists()
    with serving(bundle_folder, tmp_path):
        assert not scratch.exists()


@pytest.mark.parametrize(
    ("number", "send"),
    [
        (signal.SIGTERM, os.kill),
        (signal.SIGINT, os.killpg),
        pytest.param(signal.SIGINT, os.kill, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, os.killpg, marks=pytest.mark.slow),
    ],
)
def test_a_service_stopped_while_it_starts_leaves_nothing(
    bundle_folder: Path, tmp_path: Path, number: int, send: Callable[[int, int], None]
) -> None:
    command = [sys.executable, "-m", "polyclinic.cli", "serve", str(bundle_folder), "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True) as process:
        front = psutil.Process(process.pid)
        # Between fork and exec, a process still has the environment of its parent.
        _wait_until(lambda: sum("POLYCLINIC_SERVED_BUNDLE" in child.environ() for child in front.children()) == 2)
        family = front.children(recursive=True)
        scratch = Path(family[0].environ()["TMPDIR"])
        assert scratch.exists()
        send(process.pid, number)
        # Sending it twice changes nothing.
        send(process.pid, number)
        _, reply = process.communicate(timeout=120)
    assert (process.returncode, reply) == (130, b"error: interrupted\n")
    assert psutil.wait_procs(family, timeout=60)[1] == []
    assert not scratch.exists()
    AuditLog(tmp_path / "audit.jsonl").close()
