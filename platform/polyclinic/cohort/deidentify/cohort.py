"""Write a de-identified copy of a cohort, completely or not at all."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from polyclinic import __version__
from polyclinic.cohort.cohort import Study, read_cohort
from polyclinic.cohort.deidentify.study import Outcome, clean_study, find_names
from polyclinic.cohort.deidentify.table import Columns, Entry, read_columns, write_table
from polyclinic.cohort.schema import CohortSpec, read_spec
from polyclinic.files.atomic import atomic_folder
from polyclinic.modality import Deidentifiable, Modality
from polyclinic.privacy.identifiers import identifying_fields
from polyclinic.privacy.identity import Identity, mapped
from polyclinic.system.processes import worker_pool
from polyclinic.system.progress import track

_CHUNK_SIZE = 8
_WORD = re.compile(r"[^\W_]{2,}")
_COMMON_WORDS = frozenset(
    (
        *("patient", "patients", "name", "names", "id", "mrn", "dob", "birth", "date", "number", "no", "phone"),
        *("address", "mail", "study"),
    )
)
"""Words of column names that also occur in tags next to a name, and identify nobody."""
_HAS_SEVERAL_PARTS = re.compile(r"[\s^,\d]")


def deidentify_cohort(
    path: Path,
    out: Path,
    *,
    key: bytes,
    modalities: Mapping[str, Modality],
    workers: int = 2,
    max_refused: float = 0.05,
    suspects: bool = False,
    redact: bool = False,
) -> dict[str, Any]:
    """Write a cohort without identifiers: table, ``cohort.yaml``, one folder per modality, ``deidentified.json``.

    Settings and table are validated first. Then every source is read once before anything is written, to find the
    names in the headers, texts and dropped columns of each patient; they are removed from all texts of that patient.
    A source that cannot be read or cleaned is omitted, as a missing modality. Both passes stop as soon as too many
    sources are refused.

    Args:
        path: ``cohort.yaml`` of the cohort.
        out: folder that must not exist; it appears only when everything is written.
        key: secret key of the hospital; the same key gives a patient the same id, UIDs and date shift again.
        modalities: plugins of the cohort by name.
        workers: number of cleaning processes.
        max_refused: maximum share of sources that may be omitted.
        suspects: whether a text may pass that seems to name somebody but cannot be removed.
        redact: whether words drawn in an image are blacked out, instead of refusing the image.

    Returns:
        The record that is written to ``deidentified.json``: how often each rule changed something, by modality
        (``removed``), the number of names that each modality and the table gave (``names_found``), and the refused
        sources with their reasons and mapped study ids.

    Raises:
        ValueError: the cohort is not valid, a modality cannot be de-identified, too many sources are refused, or a
            file cannot be written. Everything written so far is then removed.
    """
    if workers < 0 or not 0 <= max_refused <= 1:
        raise ValueError(
            f"got {workers} workers and max_refused {max_refused:g}, expected 0 or more, and a share from 0 to 1"
        )
    out = out.resolve()
    if out.exists():
        raise ValueError("the folder to write to already exists; choose another one or remove it")
    cohort, spec = read_cohort(path), read_spec(path)
    plugins = _deidentifiable(cohort.modalities, modalities)
    columns = read_columns(spec)
    spread = partial(_run_in_order, workers=workers, modalities=plugins)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(out.with_name(f".{out.name}.lock"), timeout=0), atomic_folder(out, mode=0o700) as partial_out:
            identities, found = _find_identities(cohort.studies, columns, key, plugins, max_refused, spread)
            _refuse_identifying_settings(spec, identities.values())
            for name in cohort.modalities:
                (partial_out / name).mkdir(mode=0o700)
            work = partial(_clean, out=partial_out, modalities=plugins, suspects=suspects, redact=redact)
            pairs = [(study, identities[study.patient_id]) for study in cohort.studies]
            entries = _clean_all(pairs, work, max_refused, spread)
            record = _write(partial_out, spec, entries, columns, key, suspects=suspects, redact=redact, found=found)
    except Timeout:
        raise ValueError("another process is writing to this folder; wait for it, or choose another one") from None
    except BrokenProcessPool:
        raise ValueError(
            "a cleaning process ended on a source; find it with `polyclinic cohort check`, and remove it from the table"
        ) from None
    except OSError as error:
        raise ValueError(
            f"a file cannot be read or written: {error.strerror or type(error).__name__}; check permissions and disk "
            "space beside the folder to write to"
        ) from None
    return record


def _clean_all(
    pairs: Sequence[tuple[Study, Identity]],
    work: Callable[[tuple[Study, Identity]], Outcome],
    max_refused: float,
    spread: Callable[..., Generator[Any, None, None]],
) -> list[Entry]:
    """Clean all studies; raise ValueError as soon as too many sources are refused."""
    entries: list[Entry] = []
    reasons = Counter[str]()
    sources = sum(len(study.sources) for study, _ in pairs)
    with closing(spread(work, pairs, message="cleaning sources")) as outcomes:
        for pair, outcome in zip(pairs, outcomes, strict=True):
            entries.append((*pair, outcome))
            reasons.update(outcome.refused.values())
            _refuse_too_many(reasons, sources, max_refused, is_all=len(entries) == len(pairs))
    return entries


def _write(
    out: Path,
    spec: CohortSpec,
    entries: Sequence[Entry],
    columns: Columns,
    key: bytes,
    *,
    suspects: bool,
    redact: bool,
    found: Mapping[str, int],
) -> dict[str, Any]:
    """Write table, cohort file and record, and validate them by reading the new cohort."""
    groups = tuple(group for group in spec.groups if group not in columns.births)
    changed = write_table(out, replace(spec, groups=groups), entries)
    record = _as_record(entries, columns, changed, key, suspects=suspects)
    record |= {"names_found": dict(found), "words_blacked_out": redact}
    (out / "deidentified.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    for folder in [path for path in out.iterdir() if path.is_dir() and not any(path.iterdir())]:
        folder.rmdir()
    read_cohort(out / "cohort.yaml")
    return record


def _deidentifiable(names: Sequence[str], modalities: Mapping[str, Modality]) -> dict[str, Any]:
    for name in names:
        if not isinstance(modalities.get(name), Deidentifiable):
            raise ValueError(
                f"modality {name!r} has no plugin that can de-identify it; remove it from the cohort file, or "
                "make its plugin `Deidentifiable`"
            )
    return {name: modalities[name] for name in names}


def _find_identities(
    studies: Sequence[Study],
    columns: Columns,
    key: bytes,
    modalities: Mapping[str, Any],
    max_refused: float,
    spread: Callable[..., Generator[Any, None, None]],
) -> tuple[dict[str, Identity], Counter[str]]:
    """Collect all names of each patient, and count the names that each modality and the table gave."""
    names = defaultdict[str, dict[str, None]](dict)
    counts, reasons = Counter[str](), Counter[str]()
    sources = sum(len(study.sources) for study in studies)
    with closing(spread(partial(find_names, modalities=modalities), studies, message="reading sources")) as found:
        for place, (study, findings) in enumerate(zip(studies, found, strict=True)):
            cells = columns.names(place)
            counts.update({name: len(listed) for name, listed in findings.names.items()} | {"table": len(cells)})
            in_sources = [name for listed in findings.names.values() for name in listed]
            names[study.patient_id].update(dict.fromkeys((*in_sources, *cells, study.study_id, study.patient_id)))
            reasons.update(findings.refused.values())
            _refuse_too_many(reasons, sources, max_refused, is_all=place + 1 == len(studies))
    identities = {patient: Identity(key=key, patient=patient, names=tuple(names[patient])) for patient in names}
    return identities, +counts


def _refuse_identifying_settings(spec: CohortSpec, patients: Iterable[Identity]) -> None:
    """Refuse a cohort file that names a patient in a setting, as settings are copied to the new cohort file."""
    listed = [name for entry in spec.labels.values() for name in entry.get("classes") or entry.get("levels") or ()]
    units = [str(entry.get("unit", "")) for entry in spec.labels.values()]
    words = [*spec.groups, *spec.labels, *map(str, listed), *units, *spec.modalities, spec.population]
    content = "\n".join(words).encode()
    # A single word in a name's element is as often "RADIOLOGY" as a person.
    full_names = (
        replace(patient, names=tuple(filter(_HAS_SEVERAL_PARTS.search, patient.names))) for patient in patients
    )
    if any(map(identifying_fields, words)) or any(patient.is_in(content) for patient in full_names):
        raise ValueError(
            "a group, label, class, unit or population of the cohort file holds a name or number of a patient; "
            "rename it"
        )


def _clean(
    pair: tuple[Study, Identity],
    *,
    out: Path,
    modalities: Mapping[str, Deidentifiable],
    suspects: bool,
    redact: bool,
) -> Outcome:
    study, identity = pair
    return clean_study(study, identity, out, modalities, suspects=suspects, redact=redact)


def _run_in_order(
    work: Callable[[Any], Any], tasks: Sequence[Any], *, workers: int, modalities: Mapping[str, Modality], message: str
) -> Generator[Any, None, None]:
    """Yield the results of the tasks in order, computed in other processes if there are several workers."""
    if workers < 2:
        yield from (work(task) for task in track(tasks, description=message))
        return
    with worker_pool(workers, modalities.values()) as pool:
        results = pool.map(work, tasks, chunksize=_CHUNK_SIZE)
        yield from track(results, description=message, total=len(tasks))


def _refuse_too_many(reasons: Counter[str], sources: int, most: float, *, is_all: bool) -> None:
    """Raise ValueError as soon as too many sources are refused; the number can only grow."""
    if reasons.total() > most * max(sources, 1) or (is_all and reasons.total() == sources):
        named = "; ".join(f"{count} times: {reason}" for reason, count in reasons.most_common(3))
        raise ValueError(
            f"{reasons.total()} of {sources} sources are refused{'' if is_all else ' already'}, more than max_refused "
            f"= {most:.1%} allows ({named}); repair them, remove them from the table, or raise `--max-refused`"
        )


def _column_record(columns: Columns, entries: Sequence[Entry]) -> dict[str, Any]:
    """Return the names of columns, without those that contain a word of a person's name."""
    ids = {study_or_patient for study, _, _ in entries for study_or_patient in (study.study_id, study.patient_id)}
    names = {name for _, identity, _ in entries for name in identity.names} - ids
    words = {word for name in names for word in _WORD.findall(name.casefold())} - _COMMON_WORDS
    report = columns.as_record()
    safe = {
        key: [name for name in report[key] if not words & set(_WORD.findall(name.casefold()))]
        for key in ("kept", "dropped", "groups_of_births")
    }
    return {**safe, "dropped_unnamed": len(columns.dropped) - len(safe["dropped"])}


def _as_record(
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
        "columns": _column_record(columns, entries),
        "removed": {**{name: dict(sorted(kinds.items())) for name, kinds in removed.items()}, "table": dict(changed)},
        "refused": [
            {"modality": name, "reason": reason, "studies": sorted(studies)}
            for (name, reason), studies in sorted(refused.items())
        ],
    }
