"""A cohort of latent patients, each modality written by its plugin in its own file format."""

import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from rich.progress import track

from polyclinic import __version__
from polyclinic.files.atomic import atomic_folder
from polyclinic.modality import Modality, Physiology, installed_modalities
from polyclinic.modality.physiology import FINDINGS, Patient
from polyclinic.system.processes import worker_pool

_SPLIT_SHARES = (("train", 0.65), ("val", 0.1), ("test", 0.25))
_VISITS = (0.45, 0.3, 0.15, 0.1)
_MISSING = (0.28, 0.15, 0.12, 0.2, 0.1)
_CHUNK = 25


def write_phantom_cohort(
    out: Path, *, studies: int, seed: int, modalities: Mapping[str, Modality], workers: int = 2
) -> Path:
    """Write a synthetic cohort: one folder per modality, ``cohort.csv``, ``cohort.yaml``, and ``phantom.yaml`` that
    says how it was made.

    Each patient has one to four visits and one split. Each modality is missing at random in 10 to 30 % of the
    studies, never all of them. The same seed writes the same studies, whatever ``workers`` is.

    Args:
        out: a folder that does not exist yet; it appears only when everything is written.
        studies: number of studies N, at least 20.
        seed: of everything random.
        modalities: who writes what, by name.
        workers: processes that write.

    Returns:
        The path of ``cohort.yaml``.

    Raises:
        ValueError: ``out`` exists, or too few studies.
    """
    if studies < 20:
        raise ValueError(f"got {studies} studies, expected at least 20; set `--studies`")
    if out.exists():
        raise ValueError(f"folder {out.name!r} already exists; choose another `out` or remove it")
    visits = _visits(studies, seed)
    origin = {"studies": studies, "seed": seed, "modalities": sorted(modalities), "polyclinic": __version__}
    with atomic_folder(out) as partial:
        for name in modalities:
            (partial / name).mkdir()
        rows = _write_all(visits, partial, modalities, seed, workers)
        pd.DataFrame(rows).to_csv(partial / "cohort.csv", index=False)
        (partial / "cohort.yaml").write_text(yaml.safe_dump(_spec(modalities, seed), sort_keys=False), encoding="utf-8")
        (partial / "phantom.yaml").write_text(yaml.safe_dump(origin, sort_keys=False), encoding="utf-8")
    return out / "cohort.yaml"


def _visits(studies: int, seed: int) -> list[tuple[int, str, Physiology]]:
    """Patient number, split and physiology of every study; splits are dealt over patients in turn."""
    rng = np.random.default_rng([seed, 0])
    found: list[tuple[int, str, Physiology]] = []
    number = 0
    while len(found) < studies:
        patient = Patient(np.random.default_rng([seed, 1, number]))
        split = _split_at(number)
        count = min(1 + int(rng.choice(len(_VISITS), p=_VISITS)), studies - len(found))
        found += [(number, split, patient.visit(np.random.default_rng([seed, 2, number, i]))) for i in range(count)]
        number += 1
    return found


def _split_at(number: int) -> str:
    """The golden ratio spreads the shares evenly over any run of patient numbers."""
    place, edge = (0.5 + number * 0.6180339887498949) % 1, 0.0
    for split, share in _SPLIT_SHARES:
        edge += share
        if place < edge:
            return split
    return _SPLIT_SHARES[-1][0]


def _write_all(
    visits: Sequence[tuple[int, str, Physiology]],
    out: Path,
    modalities: Mapping[str, Modality],
    seed: int,
    workers: int,
) -> list[dict[str, object]]:
    work = partial(_write_study, out=out, modalities=modalities, seed=seed)
    numbered = list(enumerate(visits))
    if workers <= 1:
        return [work(entry) for entry in track(numbered, description="writing studies", transient=True)]
    with worker_pool(workers, modalities.values()) as pool:
        results = pool.map(work, numbered, chunksize=_CHUNK)
        return list(track(results, description="writing studies", total=len(numbered), transient=True))


def _write_study(
    entry: tuple[int, tuple[int, str, Physiology]], *, out: Path, modalities: Mapping[str, Modality], seed: int
) -> dict[str, object]:
    index, (patient, split, physiology) = entry
    study = f"S{index:06d}"
    rng = np.random.default_rng([seed, 3, index])
    missing = {name: rng.random() < _MISSING[place % len(_MISSING)] for place, name in enumerate(modalities)}
    if all(missing.values()):
        missing = dict.fromkeys(missing, False)
    row: dict[str, object] = {"study_id": study, "patient_id": f"P{patient:06d}", "split": split}
    row |= {"site": physiology.site, "sex": physiology.sex, "age_band": _age_band(physiology.age)}
    for name, modality in modalities.items():
        source = ""
        if not missing[name]:
            own = np.random.default_rng([seed, 4, index, zlib.crc32(name.encode())])
            source = modality.phantom(physiology, own, out / name / study).relative_to(out).as_posix()
        row[name] = source
    return row | {finding: int(found) for finding, found in physiology.findings().items()}


def _age_band(age: float) -> str:
    return "under 50" if age < 50 else "50 to 69" if age < 70 else "70 and over"


def _spec(modalities: Mapping[str, Modality], seed: int) -> dict[str, object]:
    return {
        "table": "cohort.csv",
        "study_id": "study_id",
        "patient_id": "patient_id",
        "population": f"phantom-{seed}",
        "split": "split",
        "modalities": {name: {"path": name} for name in modalities},
        "labels": list(FINDINGS),
        "groups": ["site", "sex", "age_band"],
    }


def default_modalities(names: Sequence[str] | None = None) -> dict[str, Modality]:
    """Installed plugins with their default settings, all of them or those named.

    Raises:
        ValueError: a name that no installed distribution registers.
    """
    installed = installed_modalities()
    wanted = sorted(installed) if names is None else list(names)
    if unknown := [name for name in wanted if name not in installed]:
        raise ValueError(f"no plugin is called {unknown[0]!r}; the installed ones are {sorted(installed)}")
    return {name: installed[name]() for name in wanted}
