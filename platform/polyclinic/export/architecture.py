"""A portable description of a checkpoint's architecture, from which the model is built without its files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polyclinic.deploy.bundle.format import Architecture
from polyclinic.deploy.bundle.load import plugin_of
from polyclinic.nn import Encoder
from polyclinic.tasks import Downstream
from polyclinic.training.restore import Restored


def describe_architecture(restored: Restored, names: tuple[str, ...], weights: str) -> Architecture:
    """Describe the part of a model that encodes some modalities.

    Args:
        restored: restored checkpoint of a contrastive run or of a trained head.
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
    of_task = _of_head(restored) if isinstance(restored.task, Downstream) else _of_contrast(model)
    for settings in (modalities, encoders, of_task):
        _refuse_paths(settings, learned=False)
    return Architecture(modalities=modalities, encoders=encoders, size=model["size"], weights=weights, **of_task)


def _of_contrast(model: Mapping[str, Any]) -> dict[str, Any]:
    return {key: model[key] for key in ("embedding", "hidden", "objective")}


def _of_head(restored: Restored) -> dict[str, Any]:
    """Return class and settings of the fusion and of the adapter, if there is one, by their full paths."""
    task = restored.task_of(Downstream)
    found: dict[str, Any] = {"linear": task.linear_path is not None}
    for key, built in (("fusion", task.fusion), ("adapter", task.adapter)):
        if built is not None:
            spec = restored.settings.get(key)
            settings = spec.get("init_args") if isinstance(spec, Mapping) else None
            path = f"{type(built).__module__}.{type(built).__qualname__}"
            found[key] = {"class_path": path, "init_args": dict(settings or {})}
    return found


def _portable(restored: Restored, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    encoder = restored.encoders[name]
    assert isinstance(encoder, Encoder)
    return encoder.portable(spec.get("init_args") or {})


def _refuse_paths(settings: Any, *, learned: bool) -> None:
    """Refuse file paths, which do not exist on another machine and may contain patient names.

    Units such as ``/min`` are not paths; a learned one may have several parts, such as ``/min/m2``.
    """
    if isinstance(settings, Path) or (isinstance(settings, str) and _is_path(settings, learned=learned)):
        raise ValueError(
            "got a setting that names a file, which a bundle cannot hold; override `portable` of its plugin or encoder "
            "so that it is left out"
        )
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            _refuse_paths(value, learned=learned or key == "state")
    elif isinstance(settings, list | tuple):
        for value in settings:
            _refuse_paths(value, learned=learned)


def _is_path(text: str, *, learned: bool) -> bool:
    if not text.startswith("/"):
        return False
    if not learned and len(Path(text).parts) > 2:
        return True
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # longer than a path can be, or with a NUL
        return False
