"""Names of a package that are imported when they are first used."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def import_when_used(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Build the module-level ``__getattr__`` of a package whose modules load large libraries.

    Args:
        package: full name of the package.
        modules: module of each name, below the package.

    Returns:
        A function that imports and returns the object of a name, and raises ``AttributeError`` for any other.
    """

    def find(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{modules[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return find
