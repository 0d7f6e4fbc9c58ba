"""``polyclinic cohort phantom | build | check | overlap``."""

import json as json_format
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, auto_cli

from polyclinic.cli import cohort_build as building
from polyclinic.cohort.check import all_checks, check_as_json, check_cohort, print_check, worst_of, worst_sentence
from polyclinic.cohort.cohort import SPLITS, adapt_modalities, read_cohort
from polyclinic.cohort.leakage.overlap import TrainingExposure, cohort_exposure, find_overlap, print_overlap
from polyclinic.cohort.phantom import default_modalities, write_phantom_cohort
from polyclinic.files.yaml_loader import load_yaml
from polyclinic.modality import Modality
from polyclinic.system.shell import print_next
from polyclinic.system.terminal import Console
from polyclinic.training.checkpoint_file import exposure_of, load_checkpoint


def main(argv: Sequence[str]) -> None:
    """Run one of the cohort's subcommands."""
    if argv[1:2] == ["build"]:
        # Its options are those of the builder, which only its own parser knows.
        building.main(argv[2:])
        return
    commands = {"phantom": phantom, "build": build, "check": check, "overlap": overlap}
    auto_cli(dict[str, Any](commands), args=list(argv[1:]), prog="polyclinic cohort", exit_on_error=False)


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
    print_next("polyclinic", "cohort", "check", path)


def build(name: str, root: Path, out: Path) -> None:
    """Build a cohort from a public data set: polyclinic cohort build ptbxl --root DATA --out COHORT

    Args:
        name: of the data set; each has settings of its own, see polyclinic cohort build NAME --help.
        root: folder of the data set.
        out: a new folder.
    """
    building.main([name, "--root", str(root), "--out", str(out)])


def check(
    cohort: Path,
    experiment: Path | None = None,
    workers: int = 2,
    seconds: float = 60.0,
    strict: bool = False,
    json: Path | None = None,
) -> None:
    """Validate a cohort and read every file once: polyclinic cohort check demo/cohort/cohort.yaml

    Ends with exit code 1 when a source does not decode or another error is found, with 0 otherwise.

    Args:
        cohort: a cohort.yaml.
        experiment: a configuration file whose `data.modalities` say how to read; unless set, each modality is read
            by the installed plugin of its name, with default settings.
        workers: processes that read; 0 reads without protection from a decoder that crashes or hangs.
        seconds: after which a source is given up as unreadable.
        strict: whether a warning ends the check with exit code 1 too.
        json: file to write the result to.

    Raises:
        ValueError: the cohort is not valid, or something was found that ends the check with exit code 1.
    """
    read = read_cohort(cohort)
    modalities = configured(experiment) if experiment else default_modalities(read.modalities)
    if absent := [name for name in modalities if name not in read.modalities]:
        raise ValueError(f"{cohort.name} has no modality {absent[0]!r}; it has {list(read.modalities)}")
    if json is not None:
        make_room(json)
    console = Console()
    for left_out in adapt_modalities(read, modalities):
        console.print(f"note: {left_out}", soft_wrap=True, markup=False)
    checks = check_cohort(read, modalities, workers=workers, seconds=seconds)
    print_check(read, checks, console)
    if json is not None:
        json.write_text(json_format.dumps(check_as_json(read, checks), indent=1), encoding="utf-8")
    every = all_checks(read, checks)
    worst, found = worst_of(every), worst_sentence(every)
    if worst == "error" or (strict and worst == "warning"):
        raise ValueError(f"{found} (see above); repair the sources and labels, or take them out of the table")
    console.print(f"found: {found or 'nothing to worry about'}", soft_wrap=True, markup=False)
    print_next("polyclinic", "fit", "-c", "experiments/...", "--data.cohort", cohort)


def overlap(
    first: Path,
    second: Path,
    first_splits: tuple[str, ...] = ("train", "val"),
    second_splits: tuple[str, ...] = ("test",),
    json: Path | None = None,
) -> None:
    """Tell which studies of one cohort another one has: polyclinic cohort overlap pretraining.yaml evaluation.yaml

    Patients are compared by id where both cohorts state the same `population` or neither states one; files and texts
    of at least 40 characters by content, so that a copy is found under any name and any id. Ends with exit code 1
    when a study is shared.

    Args:
        first: a cohort.yaml, or a checkpoint, which knows what it and the runs before it were trained and chosen on.
        second: the cohort.yaml that is to be measured on.
        first_splits: of the first, when it is a cohort.
        second_splits: of the second.
        json: file to write the result to, with the id of every shared study of the second.

    Raises:
        ValueError: a cohort is not valid, or a study is shared.
    """
    for name in (*first_splits, *second_splits):
        if name not in SPLITS:
            raise ValueError(f"got split {name!r}, expected some of {list(SPLITS)}; set them as '[train, val]'")
    installed, cohort = default_modalities(), read_cohort(second)
    modalities = {name: installed.get(name) for name in cohort.modalities}
    seen = _seen(first, first_splits, installed)
    found = find_overlap(seen, cohort, modalities, tested=second_splits, within=True)
    print_overlap(found, Console())
    if json is not None:
        json.write_text(json_format.dumps(found.told(), indent=1), encoding="utf-8")
    if found.shared:
        raise ValueError(
            f"{len(found.shared)} of {found.studies} studies are shared (first {list(found.shared[:5])}); leave them "
            "out of one of the two, or move them to the training split"
        )
    print_next("polyclinic", "cohort", "check", second)


def _seen(path: Path, splits: Sequence[str], installed: Mapping[str, Modality]) -> TrainingExposure:
    """What a checkpoint was made from, or the splits of a cohort."""
    if path.suffix.lower() not in (".yaml", ".yml"):
        return exposure_of(load_checkpoint(path))
    cohort = read_cohort(path)
    chosen = {study.study_id for study in cohort.studies if study.split in splits}
    modalities = {name: installed.get(name) for name in cohort.modalities}
    return TrainingExposure(cohorts=(cohort_exposure(cohort, modalities, trained=chosen, selected=()),))


def make_room(file: Path) -> None:
    """Refuse a place where nothing can be written before hours are spent on what goes there."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"got a place whose folder cannot be made ({type(error).__name__}); set `--json`") from None
    if file.is_dir():
        raise ValueError(f"got the folder {file.name!r}, expected a file; set `--json`")


def configured(config: Path) -> dict[str, Modality]:
    """The plugins of an experiment file, built by the same rules as ``fit`` builds them."""
    content = load_yaml(config.read_bytes(), name=config.name)
    entries: Any = (content.get("data") or {}).get("modalities") if isinstance(content, dict) else None
    if not entries:
        raise ValueError(f"{config.name} has no `data.modalities`")
    default_modalities()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--modalities", type=dict[str, Modality])
    built: dict[str, Modality] = parser.instantiate(parser.parse_object({"modalities": entries})).modalities
    return built
