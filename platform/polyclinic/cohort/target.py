"""What a label column holds: a finding, one of several classes, a level, or a quantity."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from polyclinic.cohort.cells import CellNames

Kind = Literal["finding", "class", "level", "quantity"]

_NAMES_OF: dict[str, Kind] = {"classes": "class", "levels": "level"}
_KEYS = {"column", "values", "classes", "levels", "unit"}


@dataclass(frozen=True, kw_only=True)
class Target:
    """One label column, as numbers.

    Attributes:
        name: of the label.
        kind: ``finding``: 0 absent, 1 present, -1 uncertain. ``class`` and ``level``: the place in ``names``, where
            levels have an order. ``quantity``: a number.
        names: of the classes or levels.
        unit: of a quantity.
        center: of a quantity: its mean over the training studies.
        scale: of a quantity: its standard deviation over the training studies.
    """

    name: str
    kind: Kind = "finding"
    names: tuple[str, ...] = ()
    unit: str = ""
    center: float = 0.0
    scale: float = 1.0


def read_targets(labels: Mapping[str, Mapping[str, Any]]) -> tuple[Target, ...]:
    """The targets that the ``labels`` of a ``cohort.yaml`` describe.

    Raises:
        ValueError: unknown keys, more than one kind, or classes or levels that are not two or more distinct texts.
    """
    return tuple(_target(name, entry) for name, entry in labels.items())


def _target(name: str, entry: Mapping[str, Any]) -> Target:
    if not isinstance(entry, Mapping) or not {"column"} <= set(entry) <= _KEYS:
        raise ValueError(
            f"got labels.{name} = {entry!r}, expected a column with at most one of values, classes, levels and unit, "
            "or a list of columns"
        )
    if not isinstance(entry["column"], str):
        raise ValueError(f"got labels.{name}.column = {entry['column']!r}, expected one text; set it")
    if "values" in entry:
        _refuse_same(f"labels.{name}.values", list(entry["values"]))
    kinds = [key for key in ("classes", "levels", "unit") if key in entry]
    if len(kinds) > 1 or ("values" in entry and kinds and kinds != ["unit"]):
        raise ValueError(f"got labels.{name} with {sorted(set(entry) - {'column'})}, expected one of them; remove some")
    if not kinds:
        return Target(name=name)
    if kinds == ["unit"]:
        return Target(name=name, kind="quantity", unit=str(entry["unit"]))
    names = entry[kinds[0]]
    if not isinstance(names, list) or len(names) < 2 or not all(isinstance(one, str) and one.strip() for one in names):
        raise ValueError(
            f"got labels.{name}.{kinds[0]} = {names!r}, expected a list of two or more different texts, as the cells "
            "have them; set it"
        )
    _refuse_same(f"labels.{name}.{kinds[0]}", names)
    return Target(name=name, kind=_NAMES_OF[kinds[0]], names=tuple(names))


def _refuse_same(setting: str, names: Sequence[str]) -> None:
    try:
        CellNames(names)
    except ValueError as error:
        raise ValueError(f"got {setting} in which {error}") from None
