"""The parts of the service: audit chain, tokens, rates, upload parser, sorting, limits, messages."""

import asyncio
import hashlib
import hmac
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostile_uploads import BOUNDARY, part, whole
from polyclinic.cli import main
from polyclinic.deploy.bundle import load_bundle
from polyclinic.deploy.service import middleware as throttle
from polyclinic.deploy.service.audit import AuditLog, AuditLost, entries_of, verified
from polyclinic.deploy.service.errors import ServiceError
from polyclinic.deploy.service.metrics import ServiceMetrics
from polyclinic.deploy.service.middleware import AccessMiddleware, Throttle, chosen_token, host_name, neighbourhood
from polyclinic.deploy.service.uploads import Part, Upload, sort_parts
from polyclinic.deploy.service.workers import decoder_worker as decoding
from polyclinic.deploy.service.workers.messages import pack, unpack
from polyclinic.deploy.service.workers.sandbox import Scratch

TOKEN = "planted-token-of-the-tests"
TYPE = f"multipart/form-data; boundary={BOUNDARY.decode()}"
SUFFIXES = {"image": (".dcm", ""), "trace": (".hea", ".dat", ".dcm", ""), "row": (".csv",)}


def _log(path: Path, count: int = 3) -> None:
    log = AuditLog(path)
    for number in range(1, count + 1):
        digest = log.digest()
        digest.update(b"file %d" % number)
        log.add({"number": number, "status": 200, "parts": [{"bytes": 6, "hmac": digest.hexdigest()}]})
    log.close()


def test_each_line_holds_the_digest_of_the_previous_line(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    _log(path)
    _log(path, 2)
    lines = path.read_bytes().splitlines()
    previous = [json.loads(line)["previous"] for line in lines]
    assert previous == ["0" * 64, *(hashlib.sha256(line).hexdigest() for line in lines[:-1])]
    assert verified(path).head == hashlib.sha256(lines[-1]).hexdigest()
    assert (verified(path).lines, verified(path).number) == (5, 3)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.with_name("audit.jsonl.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("change", [
    lambda lines: [lines[0].replace(b"200", b"500"), *lines[1:]], lambda lines: lines[1:],
    lambda lines: [lines[0], lines[2]], lambda lines: [lines[1], lines[0], lines[2]],
    lambda lines: [*lines[:2], lines[1], lines[2]],
    lambda lines: [*lines, b'{"number":4}'], lambda lines: [*lines, b"[]"], lambda lines: [*lines, b"\xff"],
])  # fmt: skip
def test_a_log_whose_lines_were_changed_is_not_continued(
    tmp_path: Path, change: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "audit.jsonl"
    _log(path)
    path.write_bytes(b"".join(line + b"\n" for line in change(path.read_bytes().splitlines())))
    with pytest.raises(ValueError, match="audit log"):
        AuditLog(path)
    assert main(["audit", str(path)]) == 1
    assert "line" in capsys.readouterr().err
    before = path.read_bytes()
    (tmp_path / "bundle").mkdir()
    assert main(["serve", str(tmp_path / "bundle"), "--audit", str(path)]) == 1
    assert path.read_bytes() == before


def test_an_incomplete_line_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    _log(path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match="line 3 of the audit log ends in the middle"):
        AuditLog(path)


def test_removed_last_lines_are_detected_with_a_saved_head(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "audit.jsonl"
    _log(path)
    head = verified(path).head
    assert main(["audit", str(path), "--expect", head]) == 0
    assert head in capsys.readouterr().out
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    assert main(["audit", str(path)]) == 0
    assert main(["audit", str(path), "--expect", head]) == 1
    assert "never had the expected head" in capsys.readouterr().err


def test_a_file_is_found_only_with_the_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, file = tmp_path / "audit.jsonl", tmp_path / "file"
    _log(path)
    file.write_bytes(b"file 2")
    assert [line for line, _ in entries_of(path, file)] == [2]
    assert main(["audit", str(path), "--find", str(file)]) == 0
    assert "line 2: request 2 at " in capsys.readouterr().out
    assert hashlib.sha256(b"file 2").hexdigest() not in path.read_text()
    file.write_bytes(b"another")
    assert main(["audit", str(path), "--find", str(file)]) == 1
    key = path.with_name("audit.jsonl.key")
    key.write_text("00")
    with pytest.raises(ValueError, match="key of the audit log"):
        AuditLog(path)
    key.unlink()
    assert main(["audit", str(path), "--find", str(file)]) == 1
    assert main(["audit", str(path)]) == 0


_GOOD = b'{"time":"2026-11-28T10:00:00+00:00","number":1,"status":200,"parts":[],"previous":"' + b"0" * 64 + b'"}'


@pytest.mark.parametrize(("line", "reply"), [
    (b"", "it is empty"), (b"[]", "it is not a JSON object"), (b"null", "it is not a JSON object"),
    (b"\xff\xfe{}", "it is not UTF-8"), (b"{", "it is not JSON"), ("\ufeff{}".encode(), "it is not JSON"),
    ('{"number": 1}'.encode("utf-16-be"), "it is not JSON"),
    (b"[" * 200_000, "nested too deeply"), (b'{"parts":' * 100_000, "nested too deeply"),
    (b'{"a": "' + b"x" * (2 << 20) + b'"}', "it is longer than 1048576 bytes"),
    (b'{"number": NaN}', "not finite"), (b'{"milliseconds": -Infinity}', "not finite"), (b'{"x": 1e999}', "not finite"),
    (b'{"number": ' + b"9" * 5000 + b"}", "more than 20 digits"), (b'{"number": 99999999999999999999}', "its `number`"),
    (b'{"number": 1, "number": 2}', "a key twice"), (b'{"a": {"b": 1, "b": 1}}', "a key twice"),
    (_GOOD.replace(b":1,", b":null,"), "its `number`"), (_GOOD.replace(b":1,", b":[],"), "its `number`"),
    (_GOOD.replace(b":1,", b":true,"), "its `number`"), (_GOOD.replace(b":1,", b":-1,"), "its `number`"),
    (_GOOD.replace(b":1,", b":1.5,"), "its `number`"), (_GOOD.replace(b":200,", b':"200",'), "its `status`"),
    (_GOOD.replace(b"[]", b"null"), "its `parts`"), (_GOOD.replace(b"[]", b"[1]"), "its `parts`"),
    (_GOOD.replace(b"[]", b"[{}]"), "its `parts`"), (_GOOD.replace(b"[]", b'[{"bytes":1,"hmac":null}]'), "its `parts`"),
    (_GOOD.replace(b"T10", b"\\u001b10"), "its `time`"), (_GOOD.replace(b"T10", b"\\ud80010"), "its `time`"),
    (_GOOD.replace(b"T10", b"[/x]10"), "its `time`"), (_GOOD.replace(b"2026-11-28", b"\\u001b[31m"), "its `time`"),
    (_GOOD.replace(b'"number":1,', b""), "lacks `number`"), (_GOOD.replace(b"0" * 64, b"0"), "its `previous`"),
    (b'{"event": "\\u001b[31m"}', "its `event`"), (b'{"modalities": {}}', "its `modalities`"),
    (b'{"milliseconds": null}', "its `milliseconds`"), (b'{"bundle": 1}', "its `bundle`"),
], ids=lambda value: value if isinstance(value, str) else "line")  # fmt: skip
def test_a_malformed_line_is_reported_by_its_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: bytes, reply: str
) -> None:
    path = tmp_path / "audit.jsonl"
    _log(path, 2)
    with path.open("ab") as stream:
        stream.write(line + b"\n")
    for words in ((), ("--find", str(path)), ("--expect", "0" * 64)):
        assert main(["audit", str(path), *words]) == 1
        report = capsys.readouterr().err
        assert report.startswith("error: line 3 of the audit log is not an entry: ")
        assert reply in report
        assert report.rstrip("\n").isprintable()


@pytest.mark.parametrize(("words", "reply"), [
    (("--expect", "abc"), "an expected head that is not 64 hexadecimal digits"),
    (("--expect", "1" * 64), "never had the expected head"), (("--find", "."), "cannot be read (IsADirectoryError)"),
    (("--find", "nowhere"), "cannot be read (FileNotFoundError)"), (("--find", "/dev/zero"), "is not a regular file"),
])  # fmt: skip
def test_arguments_of_an_audit_are_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], reply: str
) -> None:
    _log(tmp_path / "audit.jsonl")
    assert main(["audit", str(tmp_path / "audit.jsonl"), *words]) == 1
    assert reply in capsys.readouterr().err
    assert main(["audit", str(tmp_path / "audit.jsonl"), "--expect", "0" * 64]) == 0
    assert main(["audit", "/dev/zero"]) == 1


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def _rewritten(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


def _longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"{}\n")


def _changed(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"number":3,"status":200', b'"number":3,"status":500'))


@pytest.mark.parametrize(("change", "reply"), [
    (Path.unlink, "is not at its path any more (FileNotFoundError)"), (_rewritten, "was replaced by another file"),
    (lambda path: path.rename(path.with_name("aside")), "is not at its path any more"),
    (lambda path: os.truncate(path, 0), "was cut off"), (_cut, "was cut off"),
    (_longer, "was written by another program"), (_changed, "was changed in its last line"),
])  # fmt: skip
def test_a_log_changed_by_others_takes_no_line(tmp_path: Path, change: Any, reply: str) -> None:
    path = tmp_path / "folder" / "audit.jsonl"
    path.parent.mkdir()
    _log(path)
    log = AuditLog(path)
    log.check()
    change(path)
    contents = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    for act in (log.check, lambda: log.add({"number": 4})):
        with pytest.raises(AuditLost) as lost:
            act()
        assert reply in str(lost.value)
        assert str(tmp_path) not in str(lost.value)
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == contents
    log.close()


def test_a_log_that_vanishes_while_a_line_is_written_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path)
    monkeypatch.setattr(os, "fsync", lambda _: path.unlink())
    with pytest.raises(AuditLost):
        log.add({"number": 1})
    log.close()


def test_a_key_is_complete_or_made_anew_and_private(tmp_path: Path) -> None:
    path, key = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.key"
    # This is what a start leaves that is killed between creating the file and writing to it.
    path.touch()
    key.touch()
    _log(path)
    assert key.stat().st_mode & 0o777 == 0o600
    key.chmod(0o640)
    with pytest.raises(ValueError, match="file of mode 640, expected 600"):
        AuditLog(path)
    with pytest.raises(ValueError, match="not a regular file"):
        AuditLog(Path(os.devnull))


def test_two_services_cannot_share_a_log(tmp_path: Path) -> None:
    first = AuditLog(tmp_path / "audit.jsonl")
    with pytest.raises(ValueError, match="another service writes this audit log"):
        AuditLog(tmp_path / "audit.jsonl")
    first.close()
    AuditLog(tmp_path / "audit.jsonl").close()


def test_a_full_disk_does_not_break_the_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "audit.jsonl"
    _log(path)
    log, write = AuditLog(path), os.write
    monkeypatch.setattr(os, "write", lambda handle, line: write(handle, line[:20]))
    with pytest.raises(OSError, match="not complete"):
        log.add({"number": 4})
    monkeypatch.undo()
    log.add({"number": 4})
    log.close()
    assert verified(path).lines == 4


@pytest.mark.parametrize(("words", "reply"), [
    (("--no_token", "true", "--host", "0.0.0.0"), "got `--no_token` with host 0.0.0.0"),
    (("--token_file", "short"), "got a token of 5 characters, expected 16 or more"),
    (("--token_file", "nowhere"), "the token cannot be read (FileNotFoundError)"),
    (("--readers", "0"), "got readers 0, expected 1 or more"),
    (("--file_seconds", "0"), "got file_seconds 0, expected a positive number"),
    (("--port", "99999"), "got port 99999, expected 0 to 65535"),
    (("--port", "taken"), "port"),
    (("--audit", "nowhere/audit.jsonl"), "the audit log cannot be opened (FileNotFoundError)"),
    (("--audit", "."), "the audit log cannot be opened (IsADirectoryError)"),
])  # fmt: skip
def test_invalid_settings_are_refused_in_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    reply: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bundle").mkdir()
    Path("short").write_text("short")
    Path("short").chmod(0o600)
    assert main(["serve", "bundle", *words]) == 1
    assert reply in capsys.readouterr().err


def test_an_address_in_use_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bundle").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert main(["serve", "bundle", "--port", str(server.getsockname()[1])]) == 1
    message = "on which the service cannot listen (Address already in use); set `--host` and `--port`"
    assert message in capsys.readouterr().err


def test_a_folder_that_is_not_a_bundle_is_reported_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    command = [sys.executable, "-m", "polyclinic.cli", "serve", "bundle", "--port", "0"]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert process.returncode == 1
    assert process.stderr == (
        "error: got folder 'bundle' without SHA256SUMS; expected a bundle of `polyclinic bundle export`\n"
    )
    missing = subprocess.run([*command[:4], "nothing"], cwd=tmp_path, capture_output=True, text=True)
    assert (missing.returncode, missing.stderr) == (
        1, "error: got 'nothing', which is not a folder; set it to one written by `polyclinic bundle export`\n",
    )  # fmt: skip


def test_a_token_is_generated_where_none_is_given(tmp_path: Path) -> None:
    token = chosen_token(None, no_token=False, host="0.0.0.0", environment={})
    assert len(token) >= 32
    assert token != chosen_token(None, no_token=False, host="0.0.0.0", environment={})
    assert chosen_token(None, no_token=False, host="::1", environment={"POLYCLINIC_TOKEN": TOKEN}) == TOKEN
    assert chosen_token(None, no_token=True, host="::1", environment={"POLYCLINIC_TOKEN": TOKEN}) == ""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "token").chmod(0o600)
    assert chosen_token(tmp_path / "token", no_token=False, host="::1", environment={}) == TOKEN
    for wrong in ("short", "with a space in it", "nön-ascii-characters"):
        with pytest.raises(ValueError, match="token"):
            chosen_token(None, no_token=False, host="::1", environment={"POLYCLINIC_TOKEN": wrong})


def test_a_token_bucket_refills_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(throttle.time, "monotonic", lambda: now[0])
    throttled = Throttle(120)
    assert [throttled.wait("a") for _ in range(20)] == [0.0] * 20
    assert throttled.wait("a") == 0.5
    assert throttled.wait("b") == 0.0
    now[0] += 0.5
    assert [throttled.wait("a") for _ in range(2)] == [0.0, 0.5]
    now[0] += 1e6
    assert sum(throttled.wait("a") == 0 for _ in range(100)) == 20
    assert [Throttle(0).wait("a") for _ in range(1000)] == [0.0] * 1000


def test_clients_with_many_addresses_take_bounded_memory() -> None:
    throttled = Throttle(60)
    for number in range(10_000):
        throttled.wait(str(number))
    assert len(throttled._buckets) == 4096
    assert neighbourhood("2001:db8:1:2:3::9") == neighbourhood("2001:db8:1:2::1") == "2001:db8:1:2::/64"
    assert neighbourhood("10.0.0.1") == "10.0.0.1"


@pytest.mark.parametrize(("header", "name"), [
    ("localhost:8000", "localhost"), ("LOCALHOST", "localhost"), ("[::1]:80", "::1"), ("[::1]", "::1"), ("", ""),
    ("127.0.0.1:80@evil", "127.0.0.1:80@evil"),
])  # fmt: skip
def test_a_port_is_not_part_of_a_host_name(header: str, name: str) -> None:
    assert host_name(header) == name


def _request(guard: AccessMiddleware, headers: dict[str, str], path: str = "/v1/bundle") -> tuple[int, dict[str, str]]:
    messages: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        messages.append(message)

    raw = [(name.encode(), value.encode()) for name, value in {"host": "localhost", **headers}.items()]
    scope = {"type": "http", "method": "GET", "path": path, "headers": raw, "client": ("10.0.0.1", 1), "state": {}}
    asyncio.run(guard(scope, receive, send))
    return messages[0]["status"], {name.decode(): value.decode() for name, value in messages[0]["headers"]}


def _guard(app: Any, per_minute: int) -> AccessMiddleware:
    hosts = frozenset({"localhost"})
    return AccessMiddleware(app, hosts=hosts, token=TOKEN, throttle=Throttle(per_minute), measures=ServiceMetrics())


def test_a_client_over_its_rate_gets_the_time_to_wait() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    guard = _guard(app, 60)
    authorized = {"authorization": f"Bearer {TOKEN}"}
    assert [_request(guard, authorized)[0] for _ in range(10)] == [200] * 10
    status, headers = _request(guard, authorized)
    assert (status, headers["retry-after"]) == (429, "1")
    # Requests with a wrong token have a separate bucket of the same size.
    assert [_request(guard, {"authorization": "Bearer guess"})[0] for _ in range(11)] == [401] * 10 + [429]
    assert _request(guard, {}, "/healthz")[0] == 200


def test_a_server_error_is_reported_without_its_message(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("DOE^JOHN")

    assert _request(_guard(app, 0), {"authorization": f"Bearer {TOKEN}"})[0] == 500
    assert "KeyError at test_service_parts.py:" in caplog.text
    assert "DOE" not in caplog.text


def _parsed(body: bytes, cuts: list[int], **limits: int) -> list[Part]:
    upload = Upload(TYPE, largest=limits.get("largest", 1000), most=limits.get("most", 5000), digest=_digest)
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]

    async def stream() -> AsyncIterator[bytes]:
        for start, stop in pairwise(places):
            yield body[start:stop]

    return asyncio.run(upload.read({}, stream(), seconds=10))


def _digest() -> "hmac.HMAC":
    return hmac.new(b"key", digestmod=hashlib.sha256)


@given(
    contents=st.lists(st.binary(max_size=200), min_size=1, max_size=5), cuts=st.lists(st.integers(0, 2000), max_size=30)
)
def test_files_are_the_same_however_the_body_is_split(contents: list[bytes], cuts: list[int]) -> None:
    parts = [part(b"n%d" % index, b"f%d" % index, content) for index, content in enumerate(contents)]
    parsed = _parsed(whole(*parts), cuts)
    assert [(part.name, part.filename, bytes(part.content)) for part in parsed] == [
        (f"n{index}", f"f{index}", content) for index, content in enumerate(contents)
    ]
    expected = [hmac.new(b"key", content, hashlib.sha256).hexdigest() for content in contents]
    assert [part.digest.hexdigest() for part in parsed] == expected


@given(body=st.binary(max_size=500), cuts=st.lists(st.integers(0, 500), max_size=5))
def test_any_bytes_are_parsed_or_refused(body: bytes, cuts: list[int]) -> None:
    for content in (body, b"--" + BOUNDARY + b"\r\n" + body + b"\r\n--" + BOUNDARY + b"--\r\n"):
        with suppress(ServiceError):
            _parsed(content, cuts)


@pytest.mark.parametrize(("size", "status"), [(1000, 200), (1001, 413)])
def test_a_file_of_the_largest_size_is_taken_and_one_byte_more_is_refused(size: int, status: int) -> None:
    body = whole(part(b"n", b"f", b"x" * size))
    if status == 200:
        assert len(_parsed(body, [])[0].content) == size
        assert len(_parsed(body, [], most=len(body))[0].content) == size
        with pytest.raises(ServiceError, match="got a request of more than"):
            _parsed(body, [], most=len(body) - 1)
    else:
        with pytest.raises(ServiceError, match="got a file of more than"):
            _parsed(body, [])


@pytest.mark.parametrize(("sent", "kept"), [
    (b"C:\\fakepath\\a b.dcm", "a b.dcm"), (b"/etc/../x.dcm", "x.dcm"), ("größe 心.dcm".encode(), "größe 心.dcm"),
])  # fmt: skip
def test_a_filename_loses_its_folder(sent: bytes, kept: str) -> None:
    assert [part_read.filename for part_read in _parsed(whole(part(b"n", sent, b"")), [])] == [kept]


def _parts_named(*names: tuple[str, str]) -> list[Part]:
    return [Part(name=name, filename=filename, digest=_digest()) for name, filename in names]


def test_files_are_grouped_by_modality_or_else_by_stem() -> None:
    parts = _parts_named(
        ("files", "a.HEA"), ("files", "b.csv"), ("files", "a.dat"), ("files", "one.dcm"), ("files", "two"),
    )  # fmt: skip
    groups = [(group.candidates, [part.filename for part in group.parts]) for group in sort_parts(parts, SUFFIXES)]
    assert groups == [
        (("trace",), ["a.HEA", "a.dat"]),
        (("row",), ["b.csv"]),
        (("image",), ["one.dcm"]),
        (("image",), ["two"]),
    ]
    groups = [
        (group.candidates, len(group.parts)) for group in sort_parts(_parts_named(("files", "one.dcm")), SUFFIXES)
    ]
    assert groups == [(("image", "trace"), 1)]


@pytest.mark.parametrize(
    ("filename", "candidates"),
    [
        ("scan.NII.GZ", ("volume",)), ("scan.gz", None), ("1.2.840.113619.2.5", ("image", "volume")),
        ("IM0001", ("image", "volume")), ("a.dcm", ("image", "volume")), ("nii", ("image", "volume")), ("a.7z", None),
    ],
)  # fmt: skip
def test_an_ending_of_two_parts_is_one_and_the_number_of_a_uid_is_none(
    filename: str, candidates: tuple[str, ...] | None
) -> None:
    suffixes = {"image": (".dcm", ""), "volume": (".nii", ".nii.gz", ".dcm", "")}
    parts = _parts_named(("files", filename))
    if candidates is None:
        with pytest.raises(ServiceError, match="ends in none of"):
            sort_parts(parts, suffixes)
    else:
        assert [group.candidates for group in sort_parts(parts, suffixes)] == [candidates]


def test_a_part_without_a_modality_is_refused_and_not_named() -> None:
    for wrong in (_parts_named(("DOE", "a.csv")), _parts_named(("files", "DOE.exe"))):
        with pytest.raises(ServiceError) as refused:
            sort_parts(wrong, SUFFIXES)
        assert "DOE" not in refused.value.message
    with pytest.raises(ServiceError, match="more than one study's files for row"):
        sort_parts(_parts_named(("row", "a.csv"), ("files", "b.csv")), SUFFIXES)


def test_an_unpacked_message_equals_the_packed_one() -> None:
    head, blobs = {"number": 3, "names": ["größe"]}, [b"", b"\x00" * 10, bytearray(b"x")]
    assert unpack(pack(head, blobs)) == (head, [bytes(blob) for blob in blobs])
    message = pack(head, blobs)
    for broken in (b"", b"\x00", message[:-1], message + b"x", b"\xff" * 50, message[:4] + b"[" + message[5:]):
        with pytest.raises(ValueError, match="got a message"):
            unpack(broken)
    with pytest.raises(ValueError, match="JSON"):
        pack({"score": float("nan")})


def test_the_folder_of_a_killed_service_is_removed_and_one_in_use_is_not(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from polyclinic.deploy.service.workers.sandbox import Scratch\n"
        "print(Scratch(Path(sys.argv[1])).folder, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        (folder / "reader-0").mkdir()
        (folder / "reader-0" / "DOE.dcm").write_bytes(b"x")
        used = Scratch(tmp_path)
        assert folder.exists()
        process.kill()
    free = Scratch(tmp_path)
    assert not folder.exists()
    assert used.folder.stat().st_mode & 0o777 == 0o700
    used.close()
    free.close()
    assert list(tmp_path.iterdir()) == []


def test_files_that_do_not_fit_on_the_disk_are_not_called_broken(bundle_folder: Path, tmp_path: Path) -> None:
    bundle, full = load_bundle(bundle_folder), tmp_path / "full"
    full.touch()
    request = pack({"number": 7, "candidates": ["xray"], "names": ["a.dcm"], "view": False, "relevance": None}, [b"x"])
    assert unpack(decoding._answer(bundle, request, full / "reader-0")) == ({"number": 7, "full": True}, [])
    report, _ = unpack(decoding._answer(bundle, request, tmp_path / "reader-0"))
    problem = "got text (such as CSV, HTML or JSON), expected a DICOM, PNG or JPEG image"
    assert report == {"number": 7, "problem": problem}
    assert list(tmp_path.iterdir()) == [full]


def test_a_process_that_decodes_is_sandboxed() -> None:
    script = """
import os, resource, signal, sys
from polyclinic.deploy.service.workers.sandbox import allow_seconds, confine, ignore_signals, quieten
ignore_signals()
confine(memory=64 << 20, largest=1000)
try:
    bytes(200 << 20)
except MemoryError:
    print("memory", flush=True)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with open(sys.argv[1], "wb", buffering=0) as stream:
    print("wrote", stream.write(b"x" * 2000), flush=True)
print("core", resource.getrlimit(resource.RLIMIT_CORE), flush=True)
os.kill(os.getpid(), signal.SIGTERM)
allow_seconds(0)
quieten()
print("DOE^JOHN", flush=True)
os.write(2, b"DOE^JOHN")
while True:
    pass
"""
    process = subprocess.run([sys.executable, "-c", script, os.devnull], capture_output=True, text=True, timeout=60)
    assert process.stdout.startswith("memory\n")
    assert "core (0, 0)" in process.stdout
    assert "DOE" not in process.stdout + process.stderr
    assert process.returncode == -signal.SIGXCPU
