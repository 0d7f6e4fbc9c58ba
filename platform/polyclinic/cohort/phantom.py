"""Write a synthetic cohort: latent patients, rendered by each plugin in its file format."""

import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from polyclinic import __version__
from polyclinic.files.atomic import atomic_folder
from polyclinic.modality import Modality, Physiology, installed_modalities
from polyclinic.modality.physiology import FINDINGS, Patient
from polyclinic.system.names import refuse_unknown
from polyclinic.system.processes import worker_pool
from polyclinic.system.progress import track

_SPLIT_SHARES = (("train", 0.65), ("val", 0.1), ("test", 0.25))
_VISIT_PROBABILITIES = (0.45, 0.3, 0.15, 0.1)
_MISSING_PROBABILITIES = (0.28, 0.15, 0.12, 0.2, 0.1)
_CHUNK_SIZE = 25


def write_phantom_cohort(
    out: Path, *, studies: int, seed: int, modalities: Mapping[str, Modality], workers: int = 2
) -> Path:
    """Write a synthetic cohort: one folder per modality, ``cohort.csv``, ``cohort.yaml``, and its origin in
    ``phantom.yaml``.

    Each patient has one to four visits and one split. Each modality is missing at random in 10 to 30 % of the
    studies, and every study has at least one. The same seed writes the same studies for any number of ``workers``.

    Args:
        out: folder that must not exist; it appears only when everything is written.
        studies: number of studies, at least 20.
        seed: seed of all random draws.
        modalities: plugins that write the sources, by name.
        workers: number of writing processes.

    Returns:
        The path of ``cohort.yaml``.

    Raises:
        ValueError: ``out`` exists, or ``studies`` is below 20.
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
    """Draw patient number, split and physiology of every study; the split depends on the patient number alone."""
    rng = np.random.default_rng([seed, 0])
    found: list[tuple[int, str, Physiology]] = []
    number = 0
    while len(found) < studies:
        patient = Patient(np.random.default_rng([seed, 1, number]))
        split = _split_at(number)
        count = 1 + int(rng.choice(len(_VISIT_PROBABILITIES), p=_VISIT_PROBABILITIES))
        count = min(count, studies - len(found))
        found += [(number, split, patient.visit(np.random.default_rng([seed, 2, number, i]))) for i in range(count)]
        number += 1
    return found


def _split_at(number: int) -> str:
    """Return the split of a patient number; the golden ratio spreads the shares evenly over consecutive numbers."""
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
        return [work(entry) for entry in track(numbered, description="writing studies")]
    with worker_pool(workers, modalities.values()) as pool:
        results = pool.map(work, numbered, chunksize=_CHUNK_SIZE)
        return list(track(results, description="writing studies", total=len(numbered)))


def _write_study(
    entry: tuple[int, tuple[int, str, Physiology]], *, out: Path, modalities: Mapping[str, Modality], seed: int
) -> dict[str, object]:
    index, (patient, split, physiology) = entry
    study = f"S{index:06d}"
    rng = np.random.default_rng([seed, 3, index])
    missing = {
        name: rng.random() < _MISSING_PROBABILITIES[place % len(_MISSING_PROBABILITIES)]
        for place, name in enumerate(modalities)
    }
    if all(missing.values()):
        missing = dict.fromkeys(missing, False)
    row: dict[str, object] = {"study_id": study, "patient_id": f"P{patient:06d}", "split": split}
    row |= {"site": physiology.site, "sex": physiology.sex, "age_band": _age_band(physiology.age)}
    for name, modality in modalities.items():
        source = ""
        if not missing[name]:
            # A generator per modality, so that adding a plugin does not change the sources of the others.
            source_rng = np.random.default_rng([seed, 4, index, zlib.crc32(name.encode())])
            source = modality.phantom(physiology, source_rng, out / name / study).relative_to(out).as_posix()
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
    """Return installed plugins with their default settings: those of a phantom cohort, or those in ``names``.

    Raises:
        ValueError: no installed distribution registers a name.
    """
    installed = installed_modalities()
    wanted = sorted(name for name in installed if installed[name].in_phantom) if names is None else list(names)
    refuse_unknown("plugin", wanted, sorted(installed), "name installed plugins, see `polyclinic modalities`")
    return {name: installed[name]() for name in wanted}


def every_modality() -> dict[str, Modality]:
    """Return all installed plugins with their default settings."""
    return {name: plugin() for name, plugin in installed_modalities().items()}
