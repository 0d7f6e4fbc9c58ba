"""``polyclinic cohort phantom | check``."""

import json as json_format
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, auto_cli
from rich.console import Console

from polyclinic.cohort.check import check_cohort, print_check
from polyclinic.cohort.cohort import read_cohort
from polyclinic.cohort.phantom import default_modalities, write_phantom_cohort
from polyclinic.modality import Modality


def main(argv: Sequence[str]) -> None:
    """Run one of the cohort's subcommands."""
    auto_cli({"phantom": phantom, "check": check}, args=list(argv[1:]), prog="polyclinic cohort", exit_on_error=False)


def phantom(
    out: Path, studies: int = 400, seed: int = 0, workers: int = 2, modalities: list[str] | None = None
) -> None:
    """Write a synthetic cohort in hospital formats: polyclinic cohort phantom demo/cohort --studies 400 --seed 0

    Args:
        out: a new folder.
        studies: number of studies, at least 20.
        seed: the same seed writes the same files.
        workers: processes that write.
        modalities: plugins by name; all the installed ones unless set.
    """
    path = write_phantom_cohort(
        out, studies=studies, seed=seed, modalities=default_modalities(modalities), workers=workers
    )
    cohort = read_cohort(path)
    console = Console()
    present = ", ".join(f"{name} {share:.0%}" for name, share in cohort.present_share().items())
    console.print(f"{len(cohort.studies)} studies, present: {present}")
    console.print(f"next: polyclinic cohort check {path}", soft_wrap=True)


def check(cohort: Path, experiment: Path | None = None, json: Path | None = None) -> None:
    """Validate a cohort and read every file once: polyclinic cohort check demo/cohort/cohort.yaml

    Args:
        cohort: a cohort.yaml.
        experiment: a configuration file whose `data.modalities` say how to read; unless set, each modality is read
            by the installed plugin of its name, with default settings.
        json: file to write the result to.

    Raises:
        ValueError: the cohort is not valid, or a source is broken.
    """
    read = read_cohort(cohort)
    modalities = _configured(experiment) if experiment else default_modalities(read.modalities)
    if absent := [name for name in modalities if name not in read.modalities]:
        raise ValueError(f"{cohort.name} has no modality {absent[0]!r}; it has {list(read.modalities)}")
    checks = check_cohort(read, modalities)
    console = Console()
    print_check(read, checks, console)
    if json is not None:
        result = {"fingerprint": read.fingerprint, "modalities": {name: asdict(one) for name, one in checks.items()}}
        json.write_text(json_format.dumps(result, indent=1), encoding="utf-8")
    broken = sum(len(one.broken) for one in checks.values())
    if broken:
        raise ValueError(f"{broken} sources are broken (listed above); repair or remove them from the table")
    console.print(f"next: polyclinic fit -c experiments/... --data.cohort {cohort}", soft_wrap=True)


def _configured(config: Path) -> dict[str, Modality]:
    """The plugins of an experiment file, built by the same rules as ``fit`` builds them."""
    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    entries: Any = (content.get("data") or {}).get("modalities") if isinstance(content, dict) else None
    if not entries:
        raise ValueError(f"{config.name} has no `data.modalities`")
    default_modalities()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--modalities", type=dict[str, Modality])
    built: dict[str, Modality] = parser.instantiate(parser.parse_object({"modalities": entries})).modalities
    return built
