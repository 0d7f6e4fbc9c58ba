"""Which distributions a bundle needs to run, and under which licences they stand."""

from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

from packaging.requirements import Requirement

_ROOT = "polyclinic"
_LONGEST = 60


def licence_list(of_bundle: str) -> str:
    """A page in Markdown: the bundle's own licence, then every installed distribution that ``polyclinic`` needs."""
    lines = [
        "# Licences",
        "",
        f"This bundle: {of_bundle}",
        "",
        "It runs with these distributions, none of which is inside:",
        "",
        "| distribution | version | licence |",
        "|---|---|---|",
    ]
    lines += [f"| {one.name} | {one.version} | {licence_of(one)} |" for one in _needed()]
    return "\n".join(lines) + "\n"


def licence_of(found: Any) -> str:
    """As the distribution states it: an expression, else a classifier, else the first line of its licence field."""
    told = found.metadata
    if expression := told.get("License-Expression"):
        return str(expression)
    stated = [one.rpartition(" :: ")[2] for one in told.get_all("Classifier") or () if one.startswith("License ::")]
    if stated:
        return ", ".join(dict.fromkeys(stated))
    first = str(told.get("License") or "").strip().splitlines()[:1]
    return first[0][:_LONGEST] if first else "not stated"


def _needed() -> list[Any]:
    """Distributions: ``polyclinic`` and what it requires here, directly or not, by name."""
    found: dict[str, Any] = {}
    waiting = [_ROOT]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue
        waiting += [
            one.name.lower().replace("_", "-")
            for one in map(Requirement, found[name].requires or ())
            if one.marker is None or one.marker.evaluate({"extra": ""})
        ]
    return [found[name] for name in sorted(found)]
