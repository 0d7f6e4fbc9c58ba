"""Classes that a bundle names, built without running anything that is not installed here as a part of Polyclinic."""

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, TypeVar

from jsonargparse import ArgumentParser

from polyclinic.modality import ENTRY_POINTS, Modality

Part = TypeVar("Part")
_OURS = "polyclinic"


def class_path(part: object) -> str:
    """Where the class of an object is."""
    return f"{type(part).__module__}.{type(part).__qualname__}"


def build(kind: type[Part], spec: Mapping[str, Any], where: str) -> Part:
    """An object of a kind from its class and settings.

    Args:
        kind: of which the class must be.
        spec: ``class_path`` and ``init_args``; nested ones in the same way.
        where: its place in the bundle, for messages.

    Raises:
        ValueError: a class outside of the platform and its installed plugins, of another kind, or settings that it
            does not take.
    """
    _refuse_foreign(spec, where)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(kind, "part")
    try:
        made: Part = parser.instantiate(parser.parse_object({"part": dict(spec)})).part
    except Exception as error:
        said = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise ValueError(f"{where}: {spec.get('class_path')} cannot be built here: {said[0]}") from None
    return made


def build_modality(name: str, spec: Mapping[str, Any]) -> Modality:
    """A plugin, with what it learned.

    Raises:
        ValueError: it is not installed, or does not take its settings or its state.
    """
    installed = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if spec["plugin"] not in installed:
        raise ValueError(
            f"the bundle needs plugin {spec['plugin']!r} for modality {name!r}, installed are {sorted(installed)}; "
            "install its distribution"
        )
    try:
        made: Modality = installed[spec["plugin"]].load()(**spec["settings"])
        made.load_state(spec["state"])
    except (TypeError, KeyError) as error:
        raise ValueError(
            f"modalities.{name} cannot be built here: {error}; install the version that wrote it"
        ) from None
    return made


def plugin_of(modality: Modality) -> str:
    """The name under which a plugin is installed.

    Raises:
        ValueError: it is not.
    """
    for point in entry_points(group=ENTRY_POINTS):
        if point.load() is type(modality):
            return point.name
    raise ValueError(
        f"got plugin {type(modality).__name__}, which no installed distribution registers; add the entry point "
        f"{ENTRY_POINTS!r} so that a bundle can name it"
    )


def _refuse_foreign(spec: Any, where: str) -> None:
    """Importing a module runs it: only those of the platform and of installed plugins are."""
    if isinstance(spec, Mapping):
        if "class_path" in spec:
            root = str(spec["class_path"]).partition(".")[0]
            known = {_OURS, *(point.module.partition(".")[0] for point in entry_points(group=ENTRY_POINTS))}
            if root not in known:
                raise ValueError(
                    f"{where} names class {str(spec['class_path'])!r}, expected one of {sorted(known)}; a bundle runs "
                    "no other code"
                )
        for key, value in spec.items():
            _refuse_foreign(value, f"{where}.{key}")
    elif isinstance(spec, list):
        for value in spec:
            _refuse_foreign(value, where)
