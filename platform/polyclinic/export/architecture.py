"""A portable description of a checkpoint's architecture, from which the model is built without its files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polyclinic.deploy.bundle.format import Architecture
from polyclinic.deploy.bundle.load import plugin_of
from polyclinic.nn import Encoder
from polyclinic.training.restore import Restored


def describe_architecture(restored: Restored, names: tuple[str, ...], weights: str) -> Architecture:
    """Describe the part of a model that encodes some modalities.

    Args:
        restored: restored checkpoint of a contrastive run.
        names: names of the modalities.
        weights: storage format of the matrices.

    Raises:
        ValueError: a plugin is not installed, or a setting is a file path.
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
    for settings in (modalities, encoders, model["objective"]):
        _refuse_paths(settings)
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


def _refuse_paths(settings: Any) -> None:
    """Refuse file paths, which do not exist on another machine and may contain patient names."""
    if isinstance(settings, Path) or (isinstance(settings, str) and "/" in settings and Path(settings).is_absolute()):
        raise ValueError(
            "got a setting that names a file, which a bundle cannot hold; override `portable` of its plugin or encoder "
            "so that it is left out"
        )
    if isinstance(settings, Mapping):
        for value in settings.values():
            _refuse_paths(value)
    elif isinstance(settings, list | tuple):
        for value in settings:
            _refuse_paths(value)
