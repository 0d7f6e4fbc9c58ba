"""A cohort written anew without what names its patients: everything, or nothing at all."""

import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rich.progress import track

from polyclinic import __version__
from polyclinic.cohort.cohort import Study, read_cohort
from polyclinic.cohort.spec import CohortSpec, read_spec
from polyclinic.deidentify.identity import Identity, mapped
from polyclinic.deidentify.study import Outcome, clean_study, names_in
from polyclinic.deidentify.table import Columns, Entry, read_columns, write_table
from polyclinic.modality import Deidentifiable, Modality

_CHUNK = 8


def deidentify_cohort(
    path: Path,
    out: Path,
    *,
    key: bytes,
    modalities: Mapping[str, Modality],
    workers: int = 2,
    max_refused: float = 0.05,
    suspects: bool = False,
) -> dict[str, Any]:
    """Write a cohort without identifiers: table, ``cohort.yaml``, one folder per modality, ``deidentified.json``.

    Every source is read twice: names that the headers, texts and dropped columns of a patient tell are looked for in
    all texts of that patient. A source that cannot be read or cleaned is left out as missing.

    Args:
        path: of a ``cohort.yaml``.
        out: a folder that does not exist yet; it appears only when everything is written.
        key: secret of the hospital; the same key gives a patient the same id, UIDs and shift of dates again.
        modalities: plugins of the cohort by name.
        workers: processes that clean.
        max_refused: largest share of the sources that may be left out.
        suspects: whether what only seems to name somebody and cannot be removed may pass.

    Returns:
        What was removed by kind and count, and what was refused and why, with mapped study ids.

    Raises:
        ValueError: the cohort is not valid, a plugin cannot clean, too much is refused, or something cannot be written.
            Nothing is left of what was written then.
    """
    if workers < 0 or not 0 <= max_refused <= 1:
        raise ValueError(
            f"got {workers} workers and max_refused {max_refused:g}, expected 0 or more, and a share from 0 to 1"
        )
    cohort, out = read_cohort(path), out.resolve()
    plugins = _able(cohort.modalities, modalities)
    if out.exists():
        raise ValueError("the folder to write to already exists; choose another one or remove it")
    partial_out = out.with_name(f".{out.name}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(out.with_name(f".{out.name}.lock"), timeout=0):
            try:
                _make_folders(partial_out, cohort.modalities)
                spread = partial(_spread, workers=workers)
                entries, columns = _cleaned(
                    cohort.studies, read_spec(path), partial_out, key, plugins, suspects, spread
                )
                _refuse_too_many(entries, max_refused)
                told = _write(partial_out, read_spec(path), entries, columns, key, suspects=suspects)
                partial_out.rename(out)
            finally:
                shutil.rmtree(partial_out, ignore_errors=True)
    except Timeout:
        raise ValueError("another process is writing to this folder; wait for it, or choose another one") from None
    except BrokenProcessPool:
        raise ValueError(
            "a cleaning process ended on a source; find it with `polyclinic cohort check`, and take it out of the table"
        ) from None
    except OSError as error:
        raise ValueError(
            f"a file cannot be read or written: {error.strerror or type(error).__name__}; look for permissions and "
            "space beside the folder to write to"
        ) from None
    return told


def _make_folders(out: Path, names: Sequence[str]) -> None:
    shutil.rmtree(out, ignore_errors=True)
    for name in names:
        (out / name).mkdir(parents=True)


def _cleaned(
    studies: Sequence[Study],
    spec: CohortSpec,
    out: Path,
    key: bytes,
    modalities: Mapping[str, Any],
    suspects: bool,
    spread: Callable[..., Iterator[Any]],
) -> tuple[list[Entry], Columns]:
    columns = read_columns(spec)
    known = _identities(studies, columns, key, modalities, spread)
    pairs = [(study, known[study.patient_id]) for study in studies]
    work = partial(_clean, out=out, modalities=modalities, suspects=suspects)
    outcomes = spread(work, pairs, said="cleaning sources")
    return [(*pair, outcome) for pair, outcome in zip(pairs, outcomes, strict=True)], columns


def _write(
    out: Path, spec: CohortSpec, entries: Sequence[Entry], columns: Columns, key: bytes, *, suspects: bool
) -> dict[str, Any]:
    """Table, cohort file and account, proved by reading them as a run will."""
    groups = tuple(group for group in spec.groups if group not in columns.births)
    changed = write_table(out, replace(spec, groups=groups), entries)
    told = _told(entries, columns, changed, key, suspects=suspects)
    (out / "deidentified.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
    for folder in [one for one in out.iterdir() if one.is_dir() and not any(one.iterdir())]:
        folder.rmdir()
    read_cohort(out / "cohort.yaml")
    return told


def _able(names: Sequence[str], modalities: Mapping[str, Modality]) -> dict[str, Any]:
    for name in names:
        if not isinstance(modalities.get(name), Deidentifiable):
            raise ValueError(
                f"modality {name!r} has no plugin that can de-identify it; leave it out of the cohort file, or "
                "make its plugin `Deidentifiable`"
            )
    return {name: modalities[name] for name in names}


def _identities(
    studies: Sequence[Study],
    columns: Columns,
    key: bytes,
    modalities: Mapping[str, Any],
    spread: Callable[..., Iterator[Any]],
) -> dict[str, Identity]:
    """Every patient, with all names that anything tells of them."""
    found = spread(partial(names_in, modalities=modalities), studies, said="looking for names")
    names = defaultdict[str, dict[str, None]](dict)
    for place, (study, told) in enumerate(zip(studies, found, strict=True)):
        several = (*told, *columns.names(place), study.study_id, study.patient_id)
        names[study.patient_id].update(dict.fromkeys(several))
    return {patient: Identity(key=key, patient=patient, names=tuple(told)) for patient, told in names.items()}


def _clean(
    pair: tuple[Study, Identity], *, out: Path, modalities: Mapping[str, Deidentifiable], suspects: bool
) -> Outcome:
    study, identity = pair
    return clean_study(study, identity, out, modalities, suspects=suspects)


def _spread(work: Callable[[Any], Any], tasks: Sequence[Any], *, workers: int, said: str) -> Iterator[Any]:
    """Do the tasks in their order, in other processes where there are some."""
    if workers < 2:
        yield from (work(task) for task in track(tasks, description=said, transient=True))
        return
    # Spawned, because a forked child may inherit a locked OpenMP pool from torch.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        results = pool.map(work, tasks, chunksize=_CHUNK)
        yield from track(results, description=said, total=len(tasks), transient=True)


def _refuse_too_many(entries: Sequence[Entry], most: float) -> None:
    reasons = Counter(reason for _, _, outcome in entries for reason in outcome.refused.values())
    sources = sum(len(study.sources) for study, _, _ in entries)
    share = reasons.total() / max(sources, 1)
    if share > most or reasons.total() == sources:
        named = "; ".join(f"{count} times: {reason}" for reason, count in reasons.most_common(3))
        raise ValueError(
            f"{reasons.total()} of {sources} sources are refused, more than max_refused = {most:.1%} allows ({named}); "
            "repair them or take them out of the table, or raise `--max-refused`"
        )


def _told(
    entries: Sequence[Entry],
    columns: Columns,
    changed: Mapping[str, int],
    key: bytes,
    *,
    suspects: bool,
) -> dict[str, Any]:
    removed = defaultdict[str, Counter[str]](Counter)
    refused = defaultdict[tuple[str, str], list[str]](list)
    for study, identity, outcome in entries:
        for name, cleaned in outcome.cleaned.items():
            removed[name].update(cleaned.removed)
        for name, reason in outcome.refused.items():
            refused[name, reason].append(identity.mapped("study", study.study_id))
    return {
        "polyclinic": __version__,
        "key": mapped(key, "key", "")[:8],
        "studies": len(entries),
        "patients": len({identity.patient_id for _, identity, _ in entries}),
        "sources": sum(len(study.sources) for study, _, _ in entries),
        "suspects_kept": suspects,
        "columns": columns.told(),
        "removed": {**{name: dict(sorted(kinds.items())) for name, kinds in removed.items()}, "table": dict(changed)},
        "refused": [
            {"modality": name, "reason": reason, "studies": sorted(studies)}
            for (name, reason), studies in sorted(refused.items())
        ],
    }
