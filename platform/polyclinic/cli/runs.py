"""``polyclinic runs``: open the MLflow UI at the runs."""

import os
import signal
import sys
import time
import webbrowser
from pathlib import Path

from mlflow import MlflowClient

from polyclinic.deploy.service.stopping import StopRequest
from polyclinic.system.terminal import Console
from polyclinic.tracking.address import experiment_address, is_server, run_address
from polyclinic.tracking.store import find_run
from polyclinic.tracking.ui import LocalUI
from polyclinic.tracking.uri import resolve_uri
from polyclinic.tracking.view import VIEW, store_view

_POLL_SECONDS = 0.2


def runs(
    run: str | None = None,
    out: Path = Path("runs"),
    tracking_uri: str | None = None,
    port: int = 5000,
    browser: bool = True,
) -> None:
    """Open the runs in the MLflow UI: polyclinic runs --out demo/runs

    Prints and opens the address of the experiment of the newest run, or of the run that ``--run`` names. Where the runs
    are in a file or database, and no UI shows them at the port yet, one is started for this machine alone, until
    Ctrl-C. A tracking server shows its runs already.

    Args:
        run: id of a run.
        out: folder of the runs.
        tracking_uri: address of MLflow; defaults to MLFLOW_TRACKING_URI, and without it to a SQLite file in `out`.
        port: port of the UI.
        browser: whether to open a browser where there is a screen.

    Raises:
        ValueError: MLflow cannot be used, there is no such run, or another program uses the port.
    """
    uri = resolve_uri(given=tracking_uri, out=out)
    found = find_run(uri, run).info
    console = Console(highlight=False, soft_wrap=True)

    view = VIEW if run is None and store_view(MlflowClient(uri), found.experiment_id) else ""

    def show(server: str) -> None:
        experiment = found.experiment_id
        place = run_address(server, experiment, run) if run else experiment_address(server, experiment, view=view)
        console.print(f"runs: {place}")
        if browser and _has_screen():
            webbrowser.open(place)

    if is_server(uri):
        show(uri)
        return
    ui = LocalUI(uri, port)
    if ui.shows(found.run_id):
        show(ui.address)
        return
    with StopRequest(signal.SIGHUP) as stop:
        console.print(f"starting the MLflow UI at {ui.address}")
        with ui.started():
            is_shown = False
            while not stop.asked:
                ui.refuse_end()
                if not is_shown and ui.is_ready():
                    is_shown = True
                    show(ui.address)
                    console.print("next: stop the UI with Ctrl-C")
                time.sleep(_POLL_SECONDS)


def _has_screen() -> bool:
    """Return whether a browser can be shown: on a server, a browser of the terminal would take it over."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
