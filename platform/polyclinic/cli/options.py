"""Options that several commands share, and the parser that adds them to the other parameters of a command."""

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from polyclinic.cli.parser import Parser


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """Which studies to evaluate.

    Args:
        cohort: cohort.yaml to use instead of the training cohort.
        split: split to report; thresholds and calibration, where there are any, come from ``val``.
        resamples: number of bootstrap resamples of patients, for the intervals.
        seed: seed of everything random, such as the resamples.
        allow_overlap: whether to include studies from training, and report the overlap.
    """

    cohort: Path | None = None
    split: str = "test"
    resamples: int = 1000
    seed: int = 0
    allow_overlap: bool = False


@dataclass(frozen=True, kw_only=True)
class ReportOptions(SplitOptions):
    """Which studies to evaluate, and where to write the report.

    Args:
        json: file for the report.
    """

    json: Path | None = None


def run_command(command: Callable[..., None], argv: Sequence[str], *, prog: str, **defaults: object) -> None:
    """Run a function with parameters from a command line; fields of its ``options`` are options like the others.

    Args:
        command: function whose docstring and annotations describe the parameters; required ones are positional.
        argv: words after the name of the command.
        prog: name of the command.
        **defaults: defaults of this command that differ from those of its ``options``.
    """
    parser = Parser(prog=prog, text=described(command))
    options = _options_class(command)
    skipped: set[str | int] = {"options"} if options is not None else set()
    parser.add_function_arguments(command, as_group=False, as_positional=True, skip=skipped, sub_configs=True)
    if options is not None:
        parser.add_class_arguments(options, as_group=False)
    parser.set_defaults(defaults)
    _call(command, parser.instantiate_classes(parser.parse_args(list(argv))))


def described(command: Callable[..., object]) -> str:
    """Return the docstring of a command without the sections on its arguments and errors."""
    return re.split(r"\n(?:Args|Attributes|Raises):\n", inspect.getdoc(command) or "")[0]


def _options_class(command: Callable[..., None]) -> Any:
    """Return the dataclass of the parameter ``options``; None without that parameter."""
    return get_type_hints(command).get("options")


def _call(command: Callable[..., None], chosen: Any) -> None:
    values = {name: value for name, value in vars(chosen).items() if name != "config"}
    options = _options_class(command)
    if options is not None:
        values["options"] = options(**{field.name: values.pop(field.name) for field in fields(options)})
    command(**values)
