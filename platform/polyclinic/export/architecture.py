"""The architecture of a checkpoint, told so that it can be built where none of its files are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polyclinic.deploy.bundle.format import Architecture
from polyclinic.deploy.bundle.load import plugin_of
from polyclinic.nn import Encoder
from polyclinic.training.restore import Restored


def describe_architecture(restored: Restored, names: tuple[str, ...], weights: str) -> Architecture:
    """What builds the part of a model that encodes some modalities.

    Args:
        restored: of a contrastive run.
        names: of the modalities.
        weights: how matrices are stored.

    Raises:
        ValueError: a plugin that is not installed, or a setting that names a file.
    """
    model = restored.settings
    modalities = {
        name: {"plugin": plugin_of(plugin), "settings": plugin.portable(), "state": plugin.state()}
        for name, plugin in restored.data.modalities.items()
        if name in names
    }
    encoders = {
        name: {"class_path": spec["class_path"], "init_args": _portable(restored, name, spec)}
        for name, spec in (model.get("encoders") or {}).items()
        if name in names
    }
    for told in (modalities, encoders, model["objective"]):
        _refuse_paths(told)
    return Architecture(
        modalities=modalities,
        encoders=encoders,
        size=model["size"],
        embedding=model["embedding"],
        hidden=model["hidden"],
        objective=model["objective"],
        weights=weights,
    )


def _portable(restored: Restored, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    encoder = restored.encoders[name]
    assert isinstance(encoder, Encoder)
    return encoder.portable(spec.get("init_args") or {})


def _refuse_paths(told: Any) -> None:
    """A setting that names a file cannot travel, and may name a patient."""
    if isinstance(told, Path) or (isinstance(told, str) and "/" in told and Path(told).is_absolute()):
        raise ValueError(
            "got a setting that names a file, which a bundle cannot hold; override `portable` of its plugin or encoder "
            "so that it is left out"
        )
    if isinstance(told, Mapping):
        for value in told.values():
            _refuse_paths(value)
    elif isinstance(told, list | tuple):
        for value in told:
            _refuse_paths(value)
