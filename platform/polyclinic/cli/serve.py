"""``polyclinic serve``: serve a bundle over HTTP, to a browser and to programs."""

import os
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import fields
from importlib import import_module
from multiprocessing.util import Finalize
from pathlib import Path
from threading import Thread
from typing import Any

from polyclinic.cli.options import described
from polyclinic.cli.parser import Parser
from polyclinic.deploy.service.audit import AuditLog
from polyclinic.deploy.service.middleware import TOKEN, chosen_token, is_loopback
from polyclinic.deploy.service.settings import UNSPECIFIED_HOSTS, ServiceSettings, check_settings
from polyclinic.deploy.service.stopping import StopRequest
from polyclinic.deploy.service.workers.messages import ServedBundle
from polyclinic.deploy.service.workers.process import WorkerProcess, end_all, start_model
from polyclinic.deploy.service.workers.sandbox import Scratch
from polyclinic.system.terminal import Console, remark

_SERVER_MODULE = "polyclinic.deploy.service.server"
_BUNDLE_VARIABLE = "POLYCLINIC_SERVED_BUNDLE"
_SINGLE_THREADED = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
"""Environment that keeps the fork server single-threaded, as a process with threads cannot be forked safely."""

_LAST_FINALIZER = -1000


def main(argv: Sequence[str]) -> None:
    """Run the ``serve`` command."""
    parser = Parser(prog="polyclinic serve", text=described(ServiceSettings))
    parser.add_class_arguments(ServiceSettings, as_group=False, as_positional=True)
    given = parser.instantiate_classes(parser.parse_args(argv[1:]))
    serve(ServiceSettings(**{field.name: given[field.name] for field in fields(ServiceSettings)}))


def serve(settings: ServiceSettings) -> None:
    """Serve a bundle until the service is stopped.

    Raises:
        ValueError: a setting is out of range, the address is in use, or the bundle or the audit log cannot be used.
    """
    check_settings(settings)
    host = settings.host
    token = chosen_token(settings.token_file, no_token=settings.no_token, host=host)
    is_new_token = bool(token) and settings.token_file is None and not os.environ.get(TOKEN)
    # The processes that decode files are forked from one that is started below, and must not find the token.
    os.environ.pop(TOKEN, None)
    with ExitStack() as cleanup:
        stop = cleanup.enter_context(StopRequest())
        audit = AuditLog(settings.audit)
        cleanup.callback(audit.close)
        listener = cleanup.enter_context(_listener(host, settings.port))
        stop.check()
        scratch = Scratch()
        # After the folder that multiprocessing makes in it, and removes when this process ends.
        Finalize(None, scratch.close, exitpriority=_LAST_FINALIZER)
        first = _start_model(settings.bundle, scratch, settings.together)
        cleanup.callback(_end_workers, first)
        announce = _announcement(
            host, listener.getsockname()[1], token if is_new_token else None, outside=not is_loopback(host)
        )
        # Imported while the other process loads the bundle, which takes longer.
        server = import_module(_SERVER_MODULE)
        stop.check()
        server.run(
            settings, first=first, scratch=scratch, audit=audit, listener=listener, token=token, stop=stop,
            announce=announce,
        )  # fmt: skip


def _start_model(bundle: Path, scratch: Scratch, together: int) -> "Future[tuple[WorkerProcess, ServedBundle]]":
    """Start the model worker in a thread; it is ready once it has loaded the bundle, which takes seconds."""
    # Read by the preloaded module of the fork server, and by every library that makes a temporary file.
    os.environ.update({_BUNDLE_VARIABLE: str(bundle.absolute()), "TMPDIR": str(scratch.folder), **_SINGLE_THREADED})
    tempfile.tempdir = str(scratch.folder)
    started: Future[tuple[WorkerProcess, ServedBundle]] = Future()
    # A waiting caller may give up; marked as running, the future still accepts the result of the thread.
    started.set_running_or_notify_cancel()

    def start() -> None:
        try:
            started.set_result(start_model(together))
        except ValueError as error:
            started.set_exception(error)
        except BaseException as error:
            message = f"the model process cannot be started ({type(error).__name__}); see `polyclinic doctor`"
            started.set_exception(ValueError(message))

    Thread(target=start, name="starting", daemon=True).start()
    return started


def _end_workers(first: "Future[tuple[WorkerProcess, ServedBundle]]") -> None:
    """End every worker process, including those that start at this moment."""
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
        # Listen at once: otherwise two services that start together could both bind the address.
        listener.listen()
    except OSError as error:
        listener.close()
        raise ValueError(
            f"got host {host} and port {port}, on which the service cannot listen ({error.strerror}); "
            "set `--host` and `--port`"
        ) from None
    return listener


def _announcement(host: str, port: int, new_token: str | None, *, outside: bool) -> Callable[[dict[str, Any]], None]:
    shown_host = "127.0.0.1" if host in UNSPECIFIED_HOSTS else host
    address = f"http://[{shown_host}]:{port}" if ":" in shown_host else f"http://{shown_host}:{port}"

    def announce(card: dict[str, Any]) -> None:
        console = Console(highlight=False, soft_wrap=True)
        console.print(f"serving {card['name']} ({len(card['findings'])} findings) at {address}", markup=False)
        if new_token is not None:
            console.print(f"token {new_token}", markup=False)
        if outside:
            console.print("other machines reach this address: put TLS in front of it")
        console.print(card["not_a_device"], style="bold", markup=False)
        remark(f"next: open {address}")

    return announce
