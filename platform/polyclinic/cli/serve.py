"""``polyclinic serve``: a bundle behind HTTP, for a browser and for programs."""

import os
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from importlib import import_module
from multiprocessing.util import Finalize
from pathlib import Path
from threading import Thread
from typing import Any

from jsonargparse import auto_cli

from polyclinic.deploy.service.audit import AuditLog
from polyclinic.deploy.service.middleware import TOKEN, chosen_token, is_loopback
from polyclinic.deploy.service.stopping import StopRequest
from polyclinic.deploy.service.workers.process import end_all, start_model
from polyclinic.deploy.service.workers.sandbox import Scratch
from polyclinic.system.terminal import Console

_SERVER = "polyclinic.deploy.service.server"
_BUNDLE = "POLYCLINIC_SERVED_BUNDLE"
_EVERYWHERE = ("0.0.0.0", "::")
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
"""So that the process that others are forked from has one thread."""

_LAST = -1000


def main(argv: Sequence[str]) -> None:
    """Run the command."""
    auto_cli(serve, args=list(argv[1:]), prog="polyclinic serve", exit_on_error=False)


def serve(
    bundle: Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    token_file: Path | None = None,
    no_token: bool = False,
    allowed_hosts: list[str] | None = None,
    audit: Path = Path("audit.jsonl"),
    readers: int = 2,
    file_mb: int = 64,
    request_mb: int = 128,
    memory_mb: int = 2048,
    file_seconds: float = 20.0,
    upload_seconds: float = 60.0,
    per_minute: int = 300,
    in_flight: int = 16,
    together: int = 16,
) -> None:
    """Serve a bundle to a browser and to programs: polyclinic serve bundle

    Args:
        bundle: folder of `polyclinic bundle export`.
        host: to listen at; only this machine reaches 127.0.0.1.
        port: to listen at; 0 for a free one.
        token_file: holds the token that clients must show; else POLYCLINIC_TOKEN does, else one is made and printed.
        no_token: ask for none; only where no other machine reaches the host.
        allowed_hosts: further names under which the service is reached, such as [scores.example].
        audit: log of requests; made, or gone on with where its chain is whole.
        readers: processes that decode files.
        file_mb: the most of a file.
        request_mb: the most of a request.
        memory_mb: that decoding a file may take.
        file_seconds: that decoding a file may take.
        upload_seconds: that sending a request may take.
        per_minute: requests from one address; 0 for any number, as behind a proxy that counts itself.
        in_flight: studies at a time, each of up to `request_mb` in memory.
        together: studies that are scored together, at most.

    Raises:
        ValueError: a setting is out of range, the address is in use, or the bundle or the audit log cannot be used.
    """
    _check(readers=readers, file_mb=file_mb, request_mb=request_mb, memory_mb=memory_mb)
    _check(in_flight=in_flight, together=together)
    _check_seconds(file_seconds=file_seconds, upload_seconds=upload_seconds, per_minute=per_minute)
    if not bundle.is_dir():
        raise ValueError(f"got {bundle.name!r}, which is no folder; set it to one of `polyclinic bundle export`")
    token = chosen_token(token_file, no_token=no_token, host=host)
    made = bool(token) and token_file is None and not os.environ.get(TOKEN)
    # The processes that decode files are forked from one that is started below, and must not find it.
    os.environ.pop(TOKEN, None)
    with ExitStack() as ends:
        stop = ends.enter_context(StopRequest())
        log = AuditLog(audit)
        ends.callback(log.close)
        listener = ends.enter_context(_listener(host, port))
        stop.check()
        scratch = Scratch()
        # Behind the folder that multiprocessing makes in it, and removes when this process ends.
        Finalize(None, scratch.close, exitpriority=_LAST)
        first = _start_model(bundle, scratch, together)
        ends.callback(_end, first)
        announce = _announcement(
            host, listener.getsockname()[1], token if made else None, outside=not is_loopback(host)
        )
        # Imported while the other process loads the bundle, which takes longer.
        server = import_module(_SERVER)
        stop.check()
        server.run(
            first, scratch=scratch, audit=log, listener=listener, token=token, readers=readers, file_mb=file_mb,
            request_mb=request_mb, memory_mb=memory_mb, file_seconds=file_seconds, upload_seconds=upload_seconds,
            per_minute=per_minute, in_flight=in_flight, together=together, hosts=_names(host, allowed_hosts or []),
            stop=stop, announce=announce,
        )  # fmt: skip


def _check(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"got {name} {value}, expected 1 or more; set `--{name}`")


def _check_seconds(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < 1e9 or (value == 0 and name != "per_minute"):
            raise ValueError(f"got {name} {value:g}, expected a positive number; set `--{name}`")


def _start_model(bundle: Path, scratch: Scratch, together: int) -> "Future[tuple[Any, dict[str, Any]]]":
    """In a thread: the first process is there when the bundle is loaded, which takes seconds."""
    # Read by the nursery, and by every library that wants a temporary file.
    os.environ.update({_BUNDLE: str(bundle.absolute()), "TMPDIR": str(scratch.folder), **_ONE_THREAD})
    tempfile.tempdir = str(scratch.folder)
    started: Future[tuple[Any, dict[str, Any]]] = Future()
    # Who waits for it may give up; the thread then still has a place for what it started.
    started.set_running_or_notify_cancel()

    def start() -> None:
        try:
            started.set_result(start_model(together))
        except ValueError as error:
            started.set_exception(error)
        except BaseException as error:
            message = f"the process that computes cannot be started ({type(error).__name__}); see `polyclinic doctor`"
            started.set_exception(ValueError(message))

    Thread(target=start, name="starting", daemon=True).start()
    return started


def _end(first: "Future[tuple[Any, dict[str, Any]]]") -> None:
    """Leave no process behind, wherever the service was stopped."""
    while not first.done():
        end_all()
        time.sleep(0.01)
    end_all()


def _listener(host: str, port: int) -> socket.socket:
    if not 0 <= port < 1 << 16:
        raise ValueError(f"got port {port}, expected 0 to 65535; set `--port`")
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise ValueError(f"got host {host!r}, which has no address ({error.strerror}); set `--host`") from None
    listener = socket.socket(family, kind, number)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        # At once, or two services that start together would both believe that the address is theirs.
        listener.listen()
    except OSError as error:
        listener.close()
        raise ValueError(
            f"got host {host} and port {port}, which cannot be listened at ({error.strerror}); "
            "set `--host` and `--port`"
        ) from None
    return listener


def _names(host: str, others: Sequence[str]) -> frozenset[str]:
    own = () if host in _EVERYWHERE else (host,)
    return frozenset(name.lower() for name in ("127.0.0.1", "localhost", "::1", *own, *others))


def _announcement(host: str, port: int, made: str | None, *, outside: bool) -> Callable[[dict[str, Any]], None]:
    shown = "127.0.0.1" if host in _EVERYWHERE else host
    address = f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"

    def announce(card: dict[str, Any]) -> None:
        console = Console(highlight=False, soft_wrap=True)
        console.print(f"serving {card['name']} ({len(card['findings'])} findings) at {address}", markup=False)
        if made is not None:
            console.print(f"token {made}", markup=False)
        if outside:
            console.print("other machines reach this address: put TLS in front of it")
        console.print(card["not_a_device"], style="bold", markup=False)
        console.print(f"next: open {address}", markup=False)

    return announce
