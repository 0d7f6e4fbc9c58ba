"""Metric names that MLflow accepts, and the switches for telemetry."""

import os
import re

_REFUSED = re.compile(r"[^A-Za-z0-9_\-./ ]+")


def clean_name(name: str) -> str:
    """Return the name without the characters that MLflow refuses.

    Raises:
        ValueError: no character remains.
    """
    cleaned = _REFUSED.sub("", name)
    if not cleaned:
        raise ValueError(f"got the name {name!r}, expected letters, digits or any of '_-./ '; rename it")
    return cleaned


class MetricNames:
    """Stored metric names of one run; two names that would share a series are refused."""

    def __init__(self) -> None:
        self._origins: dict[str, str] = {}

    def clean(self, name: str) -> str:
        """Return the stored name of a metric.

        Raises:
            ValueError: another metric of this run has the same stored name, or no character remains.
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

    Call it before ``mlflow`` is imported, because the import starts its telemetry client. Variables that the user has
    set are unchanged.
    """
    for name, value in _SWITCHES.items():
        os.environ.setdefault(name, value)
