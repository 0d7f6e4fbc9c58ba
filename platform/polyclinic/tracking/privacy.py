"""Keeps dependencies from calling home."""

import os

_SWITCHES = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "HF_HUB_DISABLE_TELEMETRY": "1"}


def silence_telemetry() -> None:
    """Turn off the telemetry of MLflow and of the Hugging Face hub, for this process and its children.

    Must run before ``mlflow`` is imported, because its client starts with the import. A variable that is already
    set is left as the user wants it.
    """
    for name, value in _SWITCHES.items():
        os.environ.setdefault(name, value)
