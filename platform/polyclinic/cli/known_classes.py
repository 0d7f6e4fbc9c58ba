"""The classes that a setting of a run takes, for messages and written configurations."""

from importlib import import_module

_CLASSES = {
    "model": ("polyclinic.tasks", ""),
    "objective": ("polyclinic.objectives", "Objective"),
    "fusion": ("polyclinic.nn", "Fusion"),
    "adapter": ("polyclinic.nn", "Adapter"),
    "adapters": ("polyclinic.nn", "Adapter"),
    "order": ("polyclinic.data", "OrderStrategy"),
    "callbacks": ("lightning.pytorch.callbacks", "Callback"),
    "logger": ("lightning.pytorch.loggers", "Logger"),
}
"""Package of the classes that a setting takes, and their base class, by the name of the setting."""
_MORE = {
    "logger": ["polyclinic.tracking.RunLogger"],
    "adapter": ["polyclinic.nn.lora.Lora"],
    "adapters": ["polyclinic.nn.lora.Lora"],
}
"""Classes of other packages, by their full path."""


def known_classes(setting: str) -> list[str]:
    """Return the names of the classes that a setting takes; empty for a setting without a list.

    Args:
        setting: last part of the name of a setting, such as ``objective``; ``modalities`` and ``encoders`` name a
            modality after it.
    """
    # Imported here, as these packages take seconds, and most messages name no class.
    if setting in ("modalities", "encoders"):
        plugins = import_module("polyclinic.modality").installed_modalities().values()
        if setting == "modalities":
            return sorted(plugin.__name__ for plugin in plugins)
        declared = import_module("polyclinic.models.class_table").declared_encoders
        return [path for plugin in plugins for path in declared(plugin)]
    if setting not in _CLASSES:
        return []
    package, base = import_module(_CLASSES[setting][0]), _CLASSES[setting][1]
    classes = {name: getattr(package, name) for name in package.__all__ if name != base}
    kinds = getattr(package, base, object)
    found = [name for name, each in classes.items() if isinstance(each, type) and issubclass(each, kinds)]
    return [*found, *_MORE.get(setting, [])]
