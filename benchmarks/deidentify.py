"""Number of people, planted in every field of every format, that are still found in a de-identified cohort."""

import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pydicom
import yaml
from PIL import Image

from benchmarks.fuzz import FORMATS
from benchmarks.measure import Figure
from benchmarks.people import Person, Searcher, people
from benchmarks.planted_files import PLANTERS, plant_record
from polyclinic.cohort import default_modalities
from polyclinic.cohort.deidentify.cohort import deidentify_cohort
from polyclinic.modality.physiology import Patient
from polyclinic.privacy.identity import mapped

COMMAND = "python -m benchmarks deidentify"
PEOPLE = 500
MODALITIES: Mapping[str, Sequence[str]] = {
    "xray": ("xray-dicom", "xray-dicom-jpegls", "xray-png", "xray-png16", "xray-jpeg"),
    "ecg": ("ecg-dicom", "ecg-wfdb", "ecg-wfdb-segments", "ecg-ge-muse-xml", "ecg-hl7-aecg"),
    "audio": ("audio-wav", "audio-flac", "audio-ogg", "audio-mp3"),
    "report": ("report-txt",),
    "tabular": ("tabular-csv", "tabular-csv-wide"),
}
"""Formats by modality; the cohort table, in Parquet with metadata, is planted as well."""

STUDIES = max(map(len, MODALITIES.values()))
"""Studies of each person, so that each is planted in every format."""

_KEY = bytes(range(32))
_ICON_SIDE = 64
_MAX_PRINTED = 20


def measure(count: int = PEOPLE) -> list[Figure]:
    """Plant people, de-identify as the command does, and search every byte of the output; hits go to stderr."""
    persons = people(count)
    with tempfile.TemporaryDirectory() as name:
        source, out = Path(name) / "hospital", Path(name) / "outside"
        plant_cohort(source, persons, table="parquet")
        planted = set().union(*Searcher(persons).left(source).values())
        result = deidentify(source / "cohort.yaml", out)
        owners = {
            mapped(_KEY, "study", f"{person.number}-{study}"): place
            for place, person in enumerate(persons)
            for study in range(STUDIES)
        }
        hits = Searcher(persons).left(out, owners)
    for path, indices in list(hits.items())[:_MAX_PRINTED]:
        sys.stderr.write(f"{path}: {len(indices)} people\n")
    refused = sum(len(entry["studies"]) for entry in result["refused"])
    sys.stderr.write(f"planted {len(planted)} people in {result['sources']} sources; {refused} are refused\n")
    remaining = len(set().union(*hits.values()))
    return [
        Figure(name="deidentify.planted_left", value=remaining, unit="people", goal=0, at_most=True, command=COMMAND),
        Figure(name="deidentify.planted", value=len(planted), unit="people", goal=count, command=COMMAND),
        Figure(name="deidentify.refused", value=refused, unit="sources", goal=0, at_most=True, command=COMMAND),
    ]


def deidentify(cohort: Path, out: Path, *, workers: int = 2) -> dict[str, Any]:
    """De-identify like ``polyclinic deidentify --keep-suspects``, so that suspect sources are cleaned, not refused."""
    modalities = default_modalities(list(MODALITIES))
    return deidentify_cohort(cohort, out, key=_KEY, modalities=modalities, workers=workers, suspects=True)


def plant_cohort(folder: Path, persons: Sequence[Person], *, table: str) -> Path:
    """Write a cohort with several studies of each person, each in another format of every modality.

    Args:
        folder: new folder.
        persons: people to plant.
        table: format of the table, ``csv`` or ``parquet``.
    """
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Planted values do not always conform to their VR.
        bases = base_files(Path(name))
        rows = [row for number, person in enumerate(persons) for row in _studies(folder, bases, person, number)]
    _write_table(folder / f"cohort.{table}", pd.DataFrame(rows), persons)
    spec = {
        **{
            "table": f"cohort.{table}",
            "study_id": "study",
            "patient_id": "mrn",
            "split": "split",
            "population": "ours",
        },
        **{"modalities": {name: {"path": name} for name in MODALITIES}, "groups": ["ward", "site", "age"]},
        "labels": {"ill": {"column": "ill"}},
    }
    (folder / "cohort.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    return folder / "cohort.yaml"


def _write_table(path: Path, table: pd.DataFrame, persons: Sequence[Person]) -> None:
    table[f"seen by {persons[0].name}"] = "yes"
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
        return
    stored = pyarrow.Table.from_pandas(table)
    metadata = {**(stored.schema.metadata or {}), b"seen": "\n".join(person.line for person in persons).encode()}
    pyarrow.parquet.write_table(stored.replace_schema_metadata(metadata), path)


def _studies(folder: Path, bases: Mapping[str, Path], person: Person, number: int) -> Iterator[dict[str, str]]:
    for study in range(STUDIES):
        row = {"study": f"{person.number}-{study}", "mrn": person.number, "split": "train", "ill": str(study % 2)}
        row |= {"patient_name": person.name, "dob": f"{person.birth:%Y-%m-%d}", "phone": person.phone}
        row |= {"home_address": person.street, "email": person.email, "comment": person.line}
        row |= {"ward": person.texts[study], "site": person.texts[study + STUDIES], "age": "93"}
        for modality, names in MODALITIES.items():
            is_there = study < len(names)
            row[modality] = _planted(folder, bases, names[study], person, number).as_posix() if is_there else ""
        yield row


def _planted(folder: Path, bases: Mapping[str, Path], name: str, person: Person, number: int) -> Path:
    """Write a source in a format, and return its path below the folder."""
    base = bases[name]
    place = folder / f"{person.family} {name}"
    place.mkdir()
    if base.suffix == ".hea":
        return plant_record(place, base, person).relative_to(folder)
    target = place / f"{person.name} {person.birth:%Y%m%d}{base.suffix}"
    target.write_bytes(PLANTERS[name](base.read_bytes(), person, number))
    return target.relative_to(folder)


def base_files(folder: Path) -> dict[str, Path]:
    """Write a small phantom in each format, into which people are planted."""
    rng = np.random.default_rng(0)
    visit = Patient(rng).visit(rng)
    plugins = default_modalities(list(MODALITIES))
    bases: dict[str, Path] = {}
    for modality, names in MODALITIES.items():
        for name in names:
            place = folder / name
            place.mkdir(parents=True)
            path = plugins[modality].phantom(visit, rng, place / "base")
            if modality == "xray":
                _shrink(path)
            if name in ("xray-png", "xray-png16"):
                bases[name] = _raster(path, 16 if name.endswith("16") else 8)
            else:
                bases[name] = FORMATS[name.removesuffix("-wide")].convert(path)[0]
    return bases


def _shrink(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    pixels = dataset.pixel_array
    small = pixels[:: max(1, len(pixels) // _ICON_SIDE), :: max(1, pixels.shape[1] // _ICON_SIDE)]
    dataset.Rows, dataset.Columns = small.shape
    dataset.PixelData = np.ascontiguousarray(small).tobytes()
    dataset.save_as(path)


def _raster(path: Path, bits: int) -> Path:
    stored = pydicom.dcmread(path).pixel_array
    image = Image.fromarray((stored << 4).astype(np.uint16) if bits == 16 else (stored >> 4).astype(np.uint8))
    image.save(path.with_suffix(".png"))
    return path.with_suffix(".png")
