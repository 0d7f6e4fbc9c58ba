"""Classes that a bundle names, built from the closed table of what is installed here."""

from collections.abc import Mapping
from typing import Any, TypeVar

from polyclinic.modality import ENTRY_POINTS, Modality
from polyclinic.models.build import Builder, check_plain, first_line
from polyclinic.models.class_table import ClassTable, load_plugin, modality_points, shown

Part = TypeVar("Part")
_MOST_STATE, _LONGEST_STATE = 5_000_000, 64_000_000
"""Of what a plugin learned, which may be the vocabulary of a language model."""


def build(kind: type[Part], spec: Mapping[str, Any], where: str) -> Part:
    """An object of a kind from its class and settings.

    Args:
        kind: of which the class must be.
        spec: ``class_path`` and ``init_args``; nested ones in the same way.
        where: its place in the bundle, for messages.

    Raises:
        ValueError: a class that neither the platform nor an installed plugin declares, one of another kind, or
            settings that it does not take.
    """
    made: Part = Builder(table=ClassTable(), files=False).plan(spec, kind, where).make()
    return made


def build_modality(name: str, spec: Mapping[str, Any]) -> Modality:
    """A plugin, with what it learned.

    Raises:
        ValueError: it is not installed, or does not take its settings or its state.
    """
    installed = {point.name: point for point in modality_points()}
    where = f"modalities.{name}"
    if not isinstance(spec["plugin"], str) or spec["plugin"] not in installed:
        raise ValueError(
            f"the bundle needs plugin {shown(spec['plugin'])} for modality {name!r}, installed are "
            f"{sorted(installed)}; install its distribution"
        )
    check_plain(spec["state"], f"{where}.state", most=_MOST_STATE, longest=_LONGEST_STATE)
    plugin = load_plugin(installed[spec["plugin"]])
    made: Modality = Builder(table=ClassTable(), files=False).plan_settings(plugin, spec["settings"], where).make()
    try:
        made.load_state(spec["state"])
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a compiled library may panic, which is not an Exception
        raise ValueError(
            f"{where} cannot be built here: its state does not fit ({first_line(error)}); use the version that wrote it"
        ) from None
    return made


def plugin_of(modality: Modality) -> str:
    """The name under which a plugin is installed.

    Raises:
        ValueError: it is not.
    """
    for point in modality_points():
        if load_plugin(point) is type(modality):
            return point.name
    raise ValueError(
        f"got plugin {type(modality).__name__}, which no installed distribution registers; add the entry point "
        f"{ENTRY_POINTS!r} so that a bundle can name it"
    )
