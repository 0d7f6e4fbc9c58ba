"""Configuration files of ``polyclinic fit`` that a command line names."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from polyclinic.files.kinds import CONFIGURATION, refuse_other_kind
from polyclinic.files.yaml_loader import load_yaml

_FLAGS = ("-c", "--config")


def configuration_files(words: Sequence[str]) -> list[Path]:
    """Return the configuration files that a command line names; the parser reports missing ones."""
    given = [value for flag, value in pairwise(words) if flag in _FLAGS]
    given += [value for flag, _, value in (word.partition("=") for word in words) if flag in _FLAGS and value]
    return [path for path in map(Path, given) if path.exists()]


def read_configuration(path: Path, *, setting: str = "--config") -> dict[str, Any]:
    """Read a configuration file; empty if it is not a mapping.

    Raises:
        ValueError: the path is of another kind, or not YAML; the message names the file and the line.
    """
    refuse_other_kind(path, CONFIGURATION, f"set `{setting}` to one")
    content = load_yaml(path.read_bytes(), name=path.name)
    return content if isinstance(content, dict) else {}
