"""The closed table of classes that the configuration of a bundle or checkpoint may use."""

import inspect
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from polyclinic import MODULE_OF, nn, objectives
from polyclinic.modality import ENTRY_POINTS, Modality
from polyclinic.nn import Adapter, Encoder, Fusion, Tokenizer, Transformer
from polyclinic.objectives import Objective, Term
from polyclinic.system.extras import missing_sentence
from polyclinic.system.old_names import OLD_NAMES

KINDS: tuple[type, ...] = (Adapter, Encoder, Fusion, Modality, Objective, Term, Tokenizer, Transformer)
"""Base classes of the components of a bundle."""

MODULES: tuple[ModuleType, ...] = (nn, objectives)
"""Packages of the platform whose exports of these kinds may be used."""

_IMPORTED_ON_DEMAND = ("polyclinic.nn.lora.Lora",)
"""Classes of the platform that packages do not export, because importing them takes seconds."""

MAX_SHOWN_CHARACTERS = 80


class ClassTable:
    """Looks up classes by their full path, and imports no modules except those of installed plugins.

    A plugin declares the classes of these kinds that its top-level package exports, and the paths in
    ``Modality.encoders``.

    Args:
        modules: modules whose exports may be used.
        kinds: base classes of allowed classes.
        loaded: whether to allow all classes of these kinds that this process has already imported, also by their bare
            names.
    """

    def __init__(
        self, *, modules: Sequence[ModuleType] = MODULES, kinds: Sequence[type] = KINDS, loaded: bool = False
    ) -> None:
        self.kinds, self._loaded = tuple(kinds), loaded
        self._found = {path: cls for module in modules for path, cls in self._exports(module)}
        self._packages: set[str] = set()

    def find(self, name: object, kind: type, where: str) -> type:
        """Return the concrete class of a path.

        Args:
            name: full path of the class.
            kind: required base class.
            where: place in the configuration, for messages.

        Raises:
            ValueError: the name is not a string, or its class is not declared, abstract, or of another kind.
        """
        found = self._lookup(_current_path(name)) if isinstance(name, str) else None
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
        """Return the classes that plugins of a top-level package declare; none if no plugin has this package."""
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
        """Return an imported class by its path, its exported path, or its bare name if that is unique."""
        module, _, attribute = name.rpartition(".")
        imported = {cls for kind in self.kinds for cls in _subclasses(kind)}
        if module:
            found = getattr(sys.modules.get(module), attribute, None)
            return found if inspect.isclass(found) and found in imported else None
        matches: list[type] = [cls for cls in imported if cls.__name__ == attribute and not inspect.isabstract(cls)]
        return matches[0] if len(matches) == 1 else None


def _current_path(name: str) -> str:
    """Return the path in this release of a class that has a public or an old name."""
    package, _, attribute = name.rpartition(".")
    if package == "polyclinic" and attribute in MODULE_OF:
        return f"polyclinic.{MODULE_OF[attribute]}.{attribute}"
    return OLD_NAMES.get(name, name)


def modality_points() -> list[Any]:
    """Return the entry points of the registered plugins, without importing them.

    The type is ``Any`` because a library may replace the class ``EntryPoint``.
    """
    return sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name)


def load_plugin(point: Any) -> type[Modality]:
    """Import a registered plugin.

    Raises:
        ValueError: the plugin cannot be imported.
    """
    try:
        plugin: type[Modality] = point.load()
    except Exception as error:
        raise ValueError(
            f"plugin {point.name!r} cannot be loaded ({type(error).__name__}); see `polyclinic doctor`"
        ) from None
    return plugin


def declared_encoders(plugin: type[Modality]) -> list[str]:
    """Return the full paths of the encoders that the package of a plugin exports, and of those that it lists.

    Each is the path of the module that defines the class.
    """
    exports = vars(sys.modules[plugin.__module__.partition(".")[0]]).values()
    classes = [cls for cls in exports if inspect.isclass(cls) and issubclass(cls, Encoder) and cls is not Encoder]
    return [*(f"{cls.__module__}.{cls.__qualname__}" for cls in classes), *plugin.encoders]


def shown(value: object) -> str:
    """Format a value of a file for a message: quoted, truncated, and without control characters."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        text = type(value).__name__
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}..."


def _imported(name: str) -> type:
    """Import a class whose path an installed distribution declares.

    Raises:
        ValueError: a library that the class needs is in an extra that is not installed.
    """
    module, _, attribute = name.rpartition(".")
    try:
        found: type = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        if message := missing_sentence(error.name, f"class {attribute}"):
            raise ValueError(message) from None
        raise
    return found


def _subclasses(kind: type) -> Iterator[type]:
    yield kind
    below: list[type] = kind.__subclasses__()
    for cls in below:
        yield from _subclasses(cls)
