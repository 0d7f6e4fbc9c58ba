"""A root of CirCor DigiScope 1.0.3: its table, and per recording a sound, a header and a segmentation."""

from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np
import soundfile

HEADER = (
    "Patient ID,Recording locations:,Age,Sex,Height,Weight,Pregnancy status,Murmur,Murmur locations,"
    "Most audible location,Systolic murmur timing,Systolic murmur shape,Systolic murmur grading,Systolic murmur pitch,"
    "Systolic murmur quality,Diastolic murmur timing,Diastolic murmur shape,Diastolic murmur grading,"
    "Diastolic murmur pitch,Diastolic murmur quality,Outcome,Campaign,Additional ID"
)
_RATE = 4000


class Patient(NamedTuple):
    """One row of the table, without the columns on timing and quality."""

    number: str
    places: str
    age: str
    sex: str
    height: str
    weight: str
    pregnant: str
    murmur: str
    murmur_places: str
    loudest: str
    outcome: str
    campaign: str
    other_number: str


PATIENTS = (
    Patient("2530", "AV+PV+TV+MV", "Child", "Female", "98.0", "15.9", "False", "Absent", "nan", "nan", "Abnormal",
            "CC2015", "nan"),
    Patient("9979", "AV+PV+TV+MV", "Child", "Female", "103.0", "13.1", "False", "Present", "AV+MV", "TV", "Abnormal",
            "CC2015", "nan"),
    Patient("9983", "AV+TV", "Infant", "Male", "nan", "nan", "False", "Unknown", "nan", "nan", "Normal", "CC2014",
            "68406.0"),
    Patient("68406", "MV+MV", "nan", "Male", "151.0", "40.2", "True", "Absent", "nan", "nan", "Normal", "CC2015",
            "9983.0"),
    Patient("85345", "Phc", "Neonate", "nan", "50.0", "3.0", "False", "Absent", "nan", "nan", "nan", "CC2015", "nan"),
)  # fmt: skip


def recordings(patient: Patient) -> list[str]:
    """Return the names of a patient's recordings; those of a place that was recorded twice are numbered."""
    places = patient.places.split("+")
    counted = [(place, places.count(place), places[: number + 1].count(place)) for number, place in enumerate(places)]
    return [f"{patient.number}_{place}" + (f"_{number}" if count > 1 else "") for place, count, number in counted]


def write_circor(root: Path, *, patients: tuple[Patient, ...] = PATIENTS) -> None:
    """Write the table and the files of every recording."""
    folder = root / "training_data"
    folder.mkdir(parents=True)
    lines = [",".join((*patient[:10], *["nan"] * 10, *patient[10:])) for patient in patients]
    (root / "training_data.csv").write_text("\n".join((HEADER, *lines)) + "\n")
    for patient in patients:
        names = recordings(patient)
        for name in names:
            write_recording(folder, name)
        body = [f"{name.split('_', 1)[1]} {name}.hea {name}.wav {name}.tsv" for name in names]
        text = "\n".join((f"{patient.number} {len(names)} {_RATE}", *body, f"#Age: {patient.age}"))
        (folder / f"{patient.number}.txt").write_text(text + "\n")


def write_recording(folder: Path, name: str) -> None:
    sound = np.random.default_rng(crc32(name.encode())).normal(0, 0.1, _RATE * 3)
    soundfile.write(folder / f"{name}.wav", sound, _RATE, subtype="PCM_16")
    (folder / f"{name}.hea").write_text(f"{name} 1 {_RATE} {len(sound)}\n{name}.wav 16+44 1 16 0 0 0 0 {name}\n")
    (folder / f"{name}.tsv").write_text("0\t0.4\t1\n0.4\t0.9\t2\n")
