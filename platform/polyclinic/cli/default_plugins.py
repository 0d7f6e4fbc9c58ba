"""The plugins of a cohort's modalities, for a command line that configures none."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from polyclinic.cli.configurations import configuration_files, read_configuration
from polyclinic.cohort.schema import read_spec
from polyclinic.modality import installed_modalities
from polyclinic.system.terminal import remark

_MODALITIES, _COHORT = "--data.modalities", "--data.cohort"


def with_default_plugins(argv: Sequence[str]) -> list[str]:
    """Return the words with the installed plugin of the name of each modality, if they name a cohort and no plugin.

    Args:
        argv: words from the name of the command on.
    """
    words = list(argv)
    cohort = _cohort(words)
    if cohort is None or any(word.startswith(_MODALITIES) for word in words) or not cohort.is_file():
        return words
    for path in configuration_files(words):
        content = read_configuration(path)
        content = content.get(words[0], content)
        if "modalities" in (content.get("data") or {}):
            return words
    installed = installed_modalities()
    found = {name: installed[name].__name__ for name in read_spec(cohort).modalities if name in installed}
    if found:
        listed = ", ".join(f"{name} by {plugin}" for name, plugin in found.items())
        remark(f"note: `data.modalities` is taken from the cohort: {listed}")
    return [*words, *(word for name, plugin in found.items() for word in (f"{_MODALITIES}.{name}", plugin))]


def _cohort(words: Sequence[str]) -> Path | None:
    """Return the cohort file that the words name; None where a configuration names it, or nothing does."""
    given = [value for flag, value in pairwise(words) if flag == _COHORT]
    given += [word.partition("=")[2] for word in words if word.startswith(f"{_COHORT}=")]
    return Path(given[-1]) if given else None
