"""Names and values as MLflow stores them, without anything private."""

import os
import re

_REFUSED = re.compile(r"[^A-Za-z0-9_\-./ ]+")


def clean_name(name: str) -> str:
    """The name without the characters that MLflow refuses.

    Raises:
        ValueError: nothing is left.
    """
    cleaned = _REFUSED.sub("", name)
    if not cleaned:
        raise ValueError(f"got the name {name!r}, expected letters, digits or any of '_-./ '; rename it")
    return cleaned


class MetricNames:
    """Cleans the metric names of one run and refuses two that would become one series."""

    def __init__(self) -> None:
        self._origins: dict[str, str] = {}

    def clean(self, name: str) -> str:
        """The stored name of a metric.

        Raises:
            ValueError: another metric of this run is already stored under it, or nothing of the name is left.
        """
        cleaned = clean_name(name)
        origin = self._origins.setdefault(cleaned, name)
        if origin != name:
            raise ValueError(
                f"got metrics {origin!r} and {name!r}, which MLflow would both store as {cleaned!r}; expected names "
                "that differ in letters, digits or '_-./ '; rename one where it is logged"
            )
        return cleaned


_SWITCHES = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "HF_HUB_DISABLE_TELEMETRY": "1"}


def silence_telemetry() -> None:
    """Turn off the telemetry of MLflow and of the Hugging Face hub, for this process and its children.

    Must run before ``mlflow`` is imported, because its client starts with the import. A variable that is already
    set is left as the user wants it.
    """
    for name, value in _SWITCHES.items():
        os.environ.setdefault(name, value)
