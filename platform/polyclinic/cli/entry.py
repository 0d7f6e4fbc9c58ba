"""Entry point of ``polyclinic``: run a subcommand, and turn its errors into messages and exit codes."""

import sys

from polyclinic.system.isolation import SAFE_PATH, isolate

# While Python imports this package for ``-m polyclinic.cli``, sys.argv[0] is still ``-m``.
if sys.argv[0] == "-m" or sys.argv[0].rpartition("/")[2] == "polyclinic":
    isolate()

# After isolate(), which decides where these come from.
import os
import re
from argparse import ArgumentError
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Protocol, cast

from polyclinic.files.yaml_loader import register_loader
from polyclinic.system.old_names import OLD_NAMES
from polyclinic.system.terminal import printable

COMMANDS = {
    "fit": ("polyclinic.cli.fit", "train a task; polyclinic fit -c experiments/phantom/symile.yaml"),
    "validate": ("polyclinic.cli.fit", "run the validation of a checkpoint"),
    "test": ("polyclinic.cli.fit", "run the test of a checkpoint"),
    "sweep": ("polyclinic.cli.sweep", "tune settings over runs of fit; polyclinic sweep --space space.yaml -c FILE"),
    "crossval": ("polyclinic.cli.crossval", "train and test on every fold of a cohort; polyclinic crossval -c FILE"),
    "predict": (
        "polyclinic.cli.predict",
        "write predictions of a checkpoint: imputed modalities, embeddings or logits",
    ),
    "cohort": ("polyclinic.cli.cohort", "write, build, check and compare cohorts; polyclinic cohort phantom demo"),
    "evaluate": (
        "polyclinic.cli.evaluate.main",
        "measure a checkpoint: zero-shot, retrieval, linkage, probes, card",
    ),
    "bundle": (
        "polyclinic.cli.bundle",
        "export, verify or register a classifier; polyclinic bundle export",
    ),
    "score": ("polyclinic.cli.score", "score the files of a study, or a cohort; polyclinic score BUNDLE"),
    "serve": ("polyclinic.cli.serve", "serve a bundle to browsers and programs; polyclinic serve BUNDLE"),
    "audit": ("polyclinic.cli.audit", "check the audit log of a service; polyclinic audit FILE"),
    "deidentify": (
        "polyclinic.cli.deidentify",
        "remove identifiers from a cohort; polyclinic deidentify cohort.yaml outside --key FILE",
    ),
    "tracking": ("polyclinic.cli.tracking", "send entries that MLflow missed; polyclinic tracking send"),
    "modalities": ("polyclinic.cli.doctor", "list the installed plugins"),
    "doctor": ("polyclinic.cli.doctor", "report versions, decoders, devices and tracking of this machine"),
}

_OWNER_ONLY = 0o077


class _Commands(Protocol):
    def main(self, argv: Sequence[str]) -> None: ...


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


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0 for success, 1 after a message for invalid input."""
    if argv is None:
        isolate()
        os.umask(_OWNER_ONLY)
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help"):
        print_usage()
        return 0
    if argv[0] not in COMMANDS:
        return _fail(f"got command {argv[0]!r}, expected one of {sorted(COMMANDS)}; see polyclinic --help")
    register_loader()
    try:
        with _restricted():
            cast(_Commands, import_module(COMMANDS[argv[0]][0])).main(argv)
    except (ValueError, ArgumentError) as error:
        return _fail(_sentences(str(error)))
    except KeyboardInterrupt:
        return _fail("interrupted", code=130)
    return 0


@contextmanager
def _restricted() -> Iterator[None]:
    """Create files for their owner only, and start processes that do not import from the working folder."""
    umask, safe = os.umask(_OWNER_ONLY), os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        os.umask(umask)
        if safe is None:
            os.environ.pop(SAFE_PATH, None)
        else:
            os.environ[SAFE_PATH] = safe


def print_usage() -> None:
    """List the commands, one line each."""
    lines = [f"  {name:<12}{summary}" for name, (_, summary) in COMMANDS.items()]
    sys.stdout.write("usage: polyclinic COMMAND ...\n\n" + "\n".join(lines) + "\n\nsee polyclinic COMMAND --help\n")


def _sentences(message: str) -> str:
    """Return the reasons in a message of jsonargparse, without the objects that it prints after them."""
    _, heading, items = message.partition("Errors:\n")
    lines = items.partition("\nGiven value type")[0].splitlines()
    reasons = [line.strip().removeprefix("- ") for line in lines if "<class 'NoneType'>" not in line]
    renamed = [
        f"{old} is now {new}; write the new name"
        for old, new in OLD_NAMES.items()
        if f"Expected a dot import path string: {old.rpartition('.')[2]}\n" in message
    ]
    if wrong := _wrong_type(message):
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


def _fail(message: str, *, code: int = 1) -> int:
    sys.stdout.flush()
    sys.stderr.write(f"error: {printable(message)}\n")
    return code
