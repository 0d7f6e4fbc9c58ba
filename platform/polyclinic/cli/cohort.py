"""``polyclinic cohort phantom | check | overlap``: write, check and compare cohorts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from polyclinic.cli.configurations import read_configuration
from polyclinic.cohort.check import all_checks, check_as_json, check_cohort, print_check, worst_of, worst_sentence
from polyclinic.cohort.cohort import SPLITS, adapt_modalities, read_cohort
from polyclinic.cohort.leakage.overlap import TrainingExposure, cohort_exposure, find_overlap, print_overlap
from polyclinic.cohort.phantom import default_modalities, every_modality, write_phantom_cohort
from polyclinic.files.results import refuse_unwritable, refuse_used_folder, write_result
from polyclinic.modality import Modality
from polyclinic.system.names import refuse_unknown
from polyclinic.system.shell import print_next
from polyclinic.system.terminal import Console, remark
from polyclinic.training.checkpoint_file import exposure_of, load_checkpoint


def phantom(
    out: Path, studies: int = 400, seed: int = 0, workers: int = 2, modalities: list[str] | None = None
) -> None:
    """Write a synthetic cohort in hospital formats: polyclinic cohort phantom demo/cohort --studies 400 --seed 0

    Args:
        out: new folder for the cohort.
        studies: number of studies, at least 20.
        seed: random seed; the same seed writes the same files.
        workers: number of writing processes.
        modalities: names of plugins; the five of the published figures unless set.
    """
    refuse_used_folder(out, "out")
    path = write_phantom_cohort(
        out, studies=studies, seed=seed, modalities=default_modalities(modalities), workers=workers
    )
    cohort = read_cohort(path)
    console = Console()
    present = ", ".join(f"{name} {share:.0%}" for name, share in cohort.present_share().items())
    console.print(f"{len(cohort.studies)} studies, present: {present}")
    print_next("polyclinic", "cohort", "check", path)


def check(
    cohort: Path,
    experiment: Path | None = None,
    workers: int = 2,
    seconds: float = 60.0,
    strict: bool = False,
    json: Path | None = None,
) -> None:
    """Validate a cohort and read every file once: polyclinic cohort check demo/cohort/cohort.yaml

    The exit code is 1 if a source cannot be decoded or another error is found, otherwise 0.

    Args:
        cohort: path of a cohort.yaml.
        experiment: configuration file whose `data.modalities` configure the plugins; unless set, each modality is read
            by the installed plugin of the same name with default settings.
        workers: number of reading processes; 0 reads in this process, unprotected from decoders that crash or hang.
        seconds: time limit per source, after which it counts as unreadable.
        strict: whether a warning also gives exit code 1.
        json: file for the result.

    Raises:
        ValueError: the cohort is invalid, or the check found an error or, with `strict`, a warning.
    """
    refuse_unwritable(json)
    read = read_cohort(cohort)
    modalities = configured(experiment) if experiment else default_modalities(read.modalities)
    refuse_unknown("modality", modalities, read.modalities, f"set `data.modalities` to those of {cohort.name}")
    console = Console()
    for note in adapt_modalities(read, modalities):
        remark(f"note: {note}")
    checks = check_cohort(read, modalities, workers=workers, seconds=seconds)
    print_check(read, checks, console)
    if json is not None:
        write_result(json, check_as_json(read, checks))
    every = all_checks(read, checks)
    worst, summary = worst_of(every), worst_sentence(every)
    if worst == "error" or (strict and worst == "warning"):
        raise ValueError(f"{summary} (see above); repair the sources and labels, or remove them from the table")
    console.print(f"found: {summary or 'nothing to review'}", soft_wrap=True, markup=False)
    print_next("polyclinic", "new", "heads" if read.labels else "masked", cohort)


def overlap(
    first: Path,
    second: Path,
    first_splits: tuple[str, ...] = ("train", "val"),
    second_splits: tuple[str, ...] = ("test",),
    json: Path | None = None,
) -> None:
    """Find studies that two cohorts share: polyclinic cohort overlap pretraining.yaml evaluation.yaml

    Patients are compared by id if both cohorts state the same `population` or neither states one. Files, and texts of
    at least 40 characters, are compared by content, so that copies are found under any name and id. The exit code is
    1 if a study is shared.

    Args:
        first: cohort.yaml, or a checkpoint, which records the studies that it and its ancestors were trained and
            selected on.
        second: cohort.yaml with the studies to evaluate on.
        first_splits: splits of the first, if it is a cohort.
        second_splits: splits of the second.
        json: file for the result, with the ids of all shared studies of the second.

    Raises:
        ValueError: a cohort is invalid, or a study is shared.
    """
    refuse_unwritable(json)
    refuse_unknown("split", (*first_splits, *second_splits), SPLITS, "set them such as '[train, val]'")
    installed, cohort = every_modality(), read_cohort(second)
    modalities = {name: installed.get(name) for name in cohort.modalities}
    exposure = _exposure(first, first_splits, installed)
    shared = find_overlap(exposure, cohort, modalities, tested=second_splits, within=True)
    print_overlap(shared, Console())
    if json is not None:
        write_result(json, shared.as_record())
    if shared.shared:
        raise ValueError(
            f"{len(shared.shared)} of {shared.studies} studies are shared (first {list(shared.shared[:5])}); remove "
            "them from one of the two, or move them to the training split"
        )
    print_next("polyclinic", "cohort", "check", second)


def _exposure(path: Path, splits: Sequence[str], installed: Mapping[str, Modality]) -> TrainingExposure:
    """Return the training exposure that a checkpoint records, or that training on splits of a cohort would give."""
    if path.suffix.lower() not in (".yaml", ".yml"):
        return exposure_of(load_checkpoint(path))
    cohort = read_cohort(path)
    chosen = {study.study_id for study in cohort.studies if study.split in splits}
    modalities = {name: installed.get(name) for name in cohort.modalities}
    return TrainingExposure(cohorts=(cohort_exposure(cohort, modalities, trained=chosen, selected=()),))


def configured(config: Path) -> dict[str, Modality]:
    """Build the plugins of an experiment file by the rules of ``fit``."""
    entries: Any = (read_configuration(config, setting="--experiment").get("data") or {}).get("modalities")
    if not entries:
        raise ValueError(f"{config.name} has no `data.modalities`, expected the plugins by modality; set it")
    every_modality()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--modalities", type=dict[str, Modality])
    built: dict[str, Modality] = parser.instantiate(parser.parse_object({"modalities": entries})).modalities
    return built
