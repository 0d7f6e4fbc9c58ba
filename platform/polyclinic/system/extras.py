"""Optional libraries: which extra of the distribution installs each, and what it is for."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import NamedTuple


class Extra(NamedTuple):
    """An extra of the distribution ``polyclinic``.

    Attributes:
        purpose: what it is for, as a noun phrase.
        modules: top-level modules of the libraries that it installs, by which their absence is noticed.
    """

    purpose: str
    modules: tuple[str, ...]


EXTRAS = {
    "train": Extra(
        "training and evaluation",
        (
            "lightning", "mlflow", "torchmetrics", "sklearn", "duckdb", "jinja2", "markupsafe", "psutil", "sqlalchemy",
        ),
    ),
    "serve": Extra("the service", ("fastapi", "uvicorn", "h11", "python_multipart", "prometheus_client")),
    "deidentify": Extra("de-identification", ("rapidocr", "onnxruntime")),
    "backbones": Extra("encoders of timm and transformers", ("timm", "transformers", "peft")),
    "sweep": Extra("tuning", ("optuna",)),
    "tensorboard": Extra("TensorBoard", ("tensorboard",)),
    "dicomweb": Extra("reading from a DICOMweb server", ("dicomweb_client",)),
    "volume": Extra("CT and MR volumes", ("monai", "nibabel")),
    "wards": Extra("MEDS, FHIR, HL7 v2 and DICOM reports", ("fhir", "highdicom", "hl7apy", "meds")),
    "wandb": Extra("Weights & Biases", ("wandb",)),
}  # fmt: skip
"""Extras by name. A test compares them with ``pyproject.toml``."""


def refuse_missing(extras: Sequence[str], needed_by: str) -> None:
    """Check that the libraries of some extras are installed, without importing them.

    Args:
        extras: names of the extras.
        needed_by: what needs them, for the message.

    Raises:
        ValueError: a library is not installed.
    """
    for extra in extras:
        if absent := absent_modules(extra):
            raise ValueError(missing_sentence(absent[0], needed_by))


def absent_modules(extra: str) -> list[str]:
    """Return the modules of an extra that are not installed."""
    return [module for module in EXTRAS[extra].modules if not _is_installed(module)]


def missing_sentence(module: str | None, needed_by: str) -> str:
    """Return what to install for a module that cannot be imported; empty if no extra installs it.

    Args:
        module: name of the module, such as ``ModuleNotFoundError.name``.
        needed_by: what needs it.
    """
    top = (module or "").partition(".")[0]
    for name, extra in EXTRAS.items():
        if top in extra.modules:
            return f"got no {top}, which {needed_by} needs; install polyclinic[{name}]"
    return ""


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
