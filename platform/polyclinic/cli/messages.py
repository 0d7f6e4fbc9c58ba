"""Sentences for the messages of jsonargparse, which name its own objects."""

import re
from importlib import import_module
from inspect import signature

from polyclinic.cli.parser import nearest
from polyclinic.system.old_names import OLD_NAMES

_KEY = re.compile(r'Parser key "([^"]+)"')
_KIND = re.compile(r"Expected a <class '(\w+)'>")
_VALUE = re.compile(r"(?:Got|Given) value: (.*)")
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list, such as '[{}]'",
    "tuple": "a list, such as '[{}]'",
}
_UNKNOWN_SETTING = re.compile(r"Problem with given class_path '([\w.]+)':\s+Option '(\w+)' is not accepted")
_UNKNOWN_CLASS = re.compile(r"Expected a dot import path string: (\w+)\n")
_CLASSES = {
    "model": ("polyclinic.tasks", ""),
    "objective": ("polyclinic.objectives", "Objective"),
    "fusion": ("polyclinic.nn", "Fusion"),
    "adapter": ("polyclinic.nn", "Adapter"),
}
"""Package of the classes that a setting takes, and their base class, by the name of the setting."""


def sentences(message: str) -> str:
    """Return the reasons in a message of jsonargparse, without the objects that it prints after them."""
    _, heading, items = message.partition("Errors:\n")
    lines = items.partition("\nGiven value type")[0].splitlines()
    reasons = [line.strip().removeprefix("- ") for line in lines if "<class 'NoneType'>" not in line]
    renamed = [
        f"{old} is now {new}; write the new name"
        for old, new in OLD_NAMES.items()
        if f"Expected a dot import path string: {old.rpartition('.')[2]}\n" in message
    ]
    if wrong := _wrong_type(message) or _unknown_setting(message) or ("" if renamed else _unknown_class(message)):
        return wrong
    return "\n".join(renamed or reasons) if renamed or (heading and reasons) else message


def _wrong_type(message: str) -> str | None:
    """Return a sentence for a value of the wrong type; None where the message of jsonargparse is another."""
    keys, kinds = _KEY.findall(message), {*_KIND.findall(message)} - {"NoneType"}
    value = _VALUE.search(message)
    # Of several alternatives that failed, no single one is the expected type.
    failed = [line for line in message.splitlines() if line.lstrip().startswith("- ") and "NoneType" not in line]
    if not keys or value is None or len(failed) > 1 or len(kinds) != 1 or not kinds <= _KINDS.keys():
        return None
    expected = _KINDS[kinds.pop()].format(value[1])
    return f"got {keys[-1]} {value[1]!r}, expected {expected}; set `{keys[-1]}`"


def _unknown_setting(message: str) -> str:
    """Return a sentence for a setting that a class does not have; empty where the message is another."""
    found = _UNKNOWN_SETTING.search(message)
    if found is None:
        return ""
    module, _, name = found[1].rpartition(".")
    known = [each for each in signature(getattr(import_module(module), name)).parameters if each != "self"]
    expected = nearest(found[2], known) or f", expected one of {known}"
    return f"got setting {found[2]!r} of {name}{expected}; set that, or remove it"


def _unknown_class(message: str) -> str:
    """Return a sentence for a class that is not known; empty where the message is another."""
    found, keys = _UNKNOWN_CLASS.search(message), _KEY.findall(message)
    if found is None or not keys:
        return ""
    known = _known_classes(keys[-1].rpartition(".")[2])
    expected = nearest(found[1], known) or f", expected {f'one of {known}' if known else 'its full import path'}"
    return f"got class {found[1]!r} for `{keys[-1]}`{expected}; set it"


def _known_classes(setting: str) -> list[str]:
    """Return the names of the classes that a setting takes; empty for a setting without a list."""
    if setting not in _CLASSES:
        return []
    package, base = import_module(_CLASSES[setting][0]), _CLASSES[setting][1]
    classes = {name: getattr(package, name) for name in package.__all__ if name != base}
    kinds = getattr(package, base, object)
    return [name for name, each in classes.items() if isinstance(each, type) and issubclass(each, kinds)]
