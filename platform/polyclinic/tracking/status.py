"""How a run ended, in MLflow's words."""

from typing import Literal

from lightning.pytorch.utilities.exceptions import SIGTERMException

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]


def run_status(status: str, cause: BaseException | None) -> RunStatus:
    """Translate what Lightning tells a logger at the end.

    Args:
        status: ``success`` or ``finished``, anything else is a failure.
        cause: the exception being handled. Lightning says ``failed`` for Ctrl-C and SIGTERM too; only the
            exception tells them from an error.
    """
    if status in {"success", "finished"}:
        return "FINISHED"
    return "KILLED" if isinstance(cause, KeyboardInterrupt | SIGTERMException) else "FAILED"
