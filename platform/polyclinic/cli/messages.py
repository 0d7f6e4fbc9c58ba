"""Sentences for the messages of jsonargparse, which name its own objects."""

import re
from importlib import import_module
from inspect import signature

from polyclinic.cli.known_classes import known_classes
from polyclinic.system.names import expected_name
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
_REQUIRED = re.compile(r"the following arguments are required: ([\w.,\s]+)")
_UNKNOWN_CLASS = re.compile(
    r"Expected a dot import path string: (\w+)\n"
    r"|Problem with given class_path '([\w.]+)':\s+(?:module '[\w.]+' has no attribute|No module named)"
)
_CHOICES = re.compile(r"Expected a typing\.Literal\[(.*?)\]")


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
    kinds = (_wrong_type, _unknown_choice, _missing, _unknown_setting, *(() if renamed else (_unknown_class,)))
    if wrong := next(filter(None, (sentence(message) for sentence in kinds)), None):
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


def _unknown_choice(message: str) -> str:
    """Return a sentence for a value that is not one of those listed; empty where the message is another."""
    choices, value, keys = {*_CHOICES.findall(message)}, _VALUE.search(message), _KEY.findall(message)
    if len(choices) != 1 or value is None:
        return ""
    known, key = re.findall(r"'([^']*)'", choices.pop()), keys[-1] if keys else "value"
    remedy = f"set `{key}`" if keys else "set another"
    return f"got {key} {value[1]!r}, {expected_name(value[1], known)}; {remedy}"


def _missing(message: str) -> str:
    """Return a sentence for settings that have no value; empty where the message is another."""
    found = _REQUIRED.search(message)
    if found is None:
        return ""
    names = [name.partition(".")[2] for name in re.split(r",\s*", found[1].strip())]
    if not all(names):  # an option of the command, and not a setting of the run
        return ""
    return (
        f"got no {', '.join(names)}; set them in a configuration, which `polyclinic new` writes, and name it by -c FILE"
    )


def _unknown_setting(message: str) -> str:
    """Return a sentence for a setting that a class does not have; empty where the message is another."""
    found = _UNKNOWN_SETTING.search(message)
    if found is None:
        return ""
    module, _, name = found[1].rpartition(".")
    if name == "LightningModule":  # settings of a model that is not named
        return f"got setting {found[2]!r} without a model, expected one of {known_classes('model')}; set `model`"
    known = [each for each in signature(getattr(import_module(module), name)).parameters if each != "self"]
    return f"got setting {found[2]!r} of {name}, {expected_name(found[2], known)}; set that, or remove it"


def _unknown_class(message: str) -> str:
    """Return a sentence for a class that is not known; empty where the message is another."""
    found, keys = _UNKNOWN_CLASS.search(message), _KEY.findall(message)
    if found is None or not keys:
        return ""
    name, known = found[1] or found[2], known_classes(keys[-1].rpartition(".")[2])
    expected = expected_name(name, known) if known else "expected its full import path"
    return f"got class {name!r} for `{keys[-1]}`, {expected}; set it"
