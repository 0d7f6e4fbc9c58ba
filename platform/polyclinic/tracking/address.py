"""Addresses of runs in MLflow's UI, and the command that opens one."""

from pathlib import Path

from polyclinic.system.shell import command_line
from polyclinic.tracking.uri import resolve_uri, without_password

DEFAULT_OUT = Path("runs")
_TYPE = "?workflowType=machine_learning"
"""Without it, MLflow may show the pages for language models, on which an experiment has traces and no runs."""


def is_server(uri: str) -> bool:
    """Return whether a tracking address is that of a server, which shows its runs."""
    return uri.startswith(("http://", "https://"))


def experiment_address(server: str, experiment_id: str, *, view: str = "") -> str:
    """Return the address of the table of runs.

    Args:
        server: address of the server, which may have a path.
        experiment_id: id of the experiment.
        view: name of a view that the experiment holds; empty for MLflow's.
    """
    shared = f"&viewStateShareKey={view}" if view else ""
    return f"{_root(server)}/#/experiments/{experiment_id}/runs{_TYPE}{shared}"


def run_address(server: str, experiment_id: str, run_id: str) -> str:
    """Return the address of the page of a run."""
    return f"{_root(server)}/#/experiments/{experiment_id}/runs/{run_id}{_TYPE}"


def place_of_run(uri: str, *, out: Path, experiment_id: str, run_id: str) -> str:
    """Return where to look at a run: its address on a server, otherwise the command that opens it.

    Args:
        uri: tracking address.
        out: folder of the runs.
        experiment_id: id of the experiment.
        run_id: id of the run.
    """
    if is_server(uri):
        return run_address(uri, experiment_id, run_id)
    return command_line("polyclinic", "runs", "--run", run_id, *store_words(uri, out=out))


def store_words(uri: str, *, out: Path) -> list[object]:
    """Return the options of ``polyclinic runs`` for a store; none for the default one, in the working folder."""
    address, out = without_password(uri), out.absolute()
    if address == without_password(resolve_uri(given=None, out=DEFAULT_OUT)):
        return []
    if address == resolve_uri(given=None, out=out):
        return ["--out", out.relative_to(Path.cwd()) if out.is_relative_to(Path.cwd()) else out]
    return ["--tracking-uri", address]


def _root(server: str) -> str:
    return without_password(server).rstrip("/")
