"""The closed table of classes that a configuration from a bundle or a checkpoint may name."""

import inspect
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from polyclinic import nn, objectives
from polyclinic.modality import ENTRY_POINTS, Modality
from polyclinic.nn import Adapter, Encoder, Fusion, Tokenizer, Transformer
from polyclinic.objectives import Objective, Term
from polyclinic.system.old_names import OLD_NAMES

KINDS: tuple[type, ...] = (Adapter, Encoder, Fusion, Modality, Objective, Term, Tokenizer, Transformer)
"""Base classes of what a bundle is built of."""

MODULES: tuple[ModuleType, ...] = (nn, objectives)
"""Packages of the platform whose exports of these kinds may be named."""

_IMPORTED_ON_DEMAND = ("polyclinic.nn.lora.Lora",)
"""Classes of the platform that no package exports, because importing them takes seconds."""

_SHOWN = 80


class ClassTable:
    """Looks classes up by their full path; no other module is imported than those of installed plugins.

    A plugin declares the classes of these kinds that its top-level package exports, and the paths in
    ``Modality.encoders``.

    Args:
        modules: whose exports may be named.
        kinds: base classes of what may be named.
        loaded: whether classes of these kinds may be named, too, that this process has already imported; their bare
            names are then understood as well.
    """

    def __init__(
        self, *, modules: Sequence[ModuleType] = MODULES, kinds: Sequence[type] = KINDS, loaded: bool = False
    ) -> None:
        self.kinds, self._loaded = tuple(kinds), loaded
        self._found = {path: cls for module in modules for path, cls in self._exports(module)}
        self._packages: set[str] = set()

    def find(self, name: object, kind: type, where: str) -> type:
        """The concrete class of a path.

        Args:
            name: the full path.
            kind: of which the class must be.
            where: its place in the configuration, for messages.

        Raises:
            ValueError: no string, a class that is not declared here, or one of another kind.
        """
        found = self._lookup(OLD_NAMES.get(name, name)) if isinstance(name, str) else None
        if found is None or inspect.isabstract(found):
            raise ValueError(
                f"{where} names class {shown(name)}, expected the full path of a class that Polyclinic or an installed "
                "plugin declares; a configuration runs no other code, so install the plugin that has it"
            )
        if not issubclass(found, kind):
            raise ValueError(f"{where} names class {shown(name)}, which is not of kind {kind.__name__}; set another")
        return found

    def _lookup(self, name: str) -> type | None:
        if name in self._found:
            return self._found[name]
        if name in _IMPORTED_ON_DEMAND:
            return _imported(name)
        package = name.partition(".")[0]
        if "." in name and package not in self._packages:
            self._packages.add(package)
            self._found |= self._of_plugin(package)
        if name in self._found:
            return self._found[name]
        if any(name in plugin.encoders for plugin in self._plugins(package)):
            return _imported(name)
        return self._already_imported(name) if self._loaded else None

    def _of_plugin(self, package: str) -> dict[str, type]:
        """What the top-level package of a plugin exports; nothing where no plugin has this package."""
        plugins = self._plugins(package)
        declared = {path: cls for plugin in plugins for path, cls in self._paths(plugin, plugin.__module__)}
        return declared | dict(self._exports(sys.modules[package])) if plugins else {}

    def _plugins(self, package: str) -> list[type[Modality]]:
        return [load_plugin(point) for point in modality_points() if point.module.partition(".")[0] == package]

    def _exports(self, module: ModuleType) -> Iterator[tuple[str, type]]:
        for exported in vars(module).values():
            if inspect.isclass(exported) and issubclass(exported, self.kinds):
                yield from self._paths(exported, module.__name__)

    @staticmethod
    def _paths(cls: type, module: str) -> Iterator[tuple[str, type]]:
        yield f"{module}.{cls.__qualname__}", cls
        yield f"{cls.__module__}.{cls.__qualname__}", cls

    def _already_imported(self, name: str) -> type | None:
        """A class in memory by its path, its exported path, or its bare name where that names one class alone."""
        module, _, attribute = name.rpartition(".")
        known = {cls for kind in self.kinds for cls in _subclasses(kind)}
        if module:
            named = getattr(sys.modules.get(module), attribute, None)
            return named if inspect.isclass(named) and named in known else None
        same: list[type] = [cls for cls in known if cls.__name__ == attribute and not inspect.isabstract(cls)]
        return same[0] if len(same) == 1 else None


def modality_points() -> list[Any]:
    """The entry points of the registered plugins, not imported; a library may replace the class of ``EntryPoint``."""
    return sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name)


def load_plugin(point: Any) -> type[Modality]:
    """Import a registered plugin.

    Raises:
        ValueError: it cannot be imported.
    """
    try:
        plugin: type[Modality] = point.load()
    except Exception as error:
        raise ValueError(
            f"plugin {point.name!r} cannot be loaded ({type(error).__name__}); see `polyclinic doctor`"
        ) from None
    return plugin


def shown(value: object) -> str:
    """A value of a file for a message: quoted, no control characters, and not too long."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        text = type(value).__name__
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _imported(name: str) -> type:
    """A class whose path the installed distribution declares."""
    module, _, attribute = name.rpartition(".")
    found: type = getattr(import_module(module), attribute)
    return found


def _subclasses(kind: type) -> Iterator[type]:
    yield kind
    below: list[type] = kind.__subclasses__()
    for cls in below:
        yield from _subclasses(cls)
