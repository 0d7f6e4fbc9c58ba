"""A root of VinDr-CXR 1.0.0: tables of labels, and radiographs as DICOM under names that end in ``.dicom``."""

import warnings
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np

from archives import write_dicom

# In the order of the published table; the table of the test set names the last but one in the singular.
COLUMNS = (
    "Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Clavicle fracture", "Consolidation", "Edema",
    "Emphysema", "Enlarged PA", "ILD", "Infiltration", "Lung Opacity", "Lung cavity", "Lung cyst", "Mediastinal shift",
    "Nodule/Mass", "Pleural effusion", "Pleural thickening", "Pneumothorax", "Pulmonary fibrosis", "Rib fracture",
    "Other lesion", "COPD", "Lung tumor", "Pneumonia", "Tuberculosis", "Other diseases", "No finding",
)  # fmt: skip


class Reading(NamedTuple):
    """What one radiologist saw in one image."""

    image: str
    radiologist: str
    findings: tuple[str, ...]


def image_id(number: int) -> str:
    """Return a name like those of the set: 32 hexadecimal digits."""
    return f"{crc32(str(number).encode()):08x}" * 4


READINGS = tuple(
    Reading(image_id(image), radiologist, findings)
    for image, radiologist, findings in (
        (1, "R11", ("No finding",)),
        (1, "R7", ("No finding",)),
        (1, "R10", ("Cardiomegaly", "Aortic enlargement")),
        (2, "R8", ("Cardiomegaly", "Nodule/Mass")),
        (2, "R9", ("Cardiomegaly", "Other diseases")),
        (2, "R10", ("Cardiomegaly",)),
        (3, "R8", ("Pneumonia", "Lung Opacity")),
        (3, "R9", ("Pneumonia", "Lung Opacity")),
        (3, "R10", ("Tuberculosis",)),
    )
)
TEST = ((101, ("Other diseases", "Lung tumor")), (102, ("No finding",)))
PEOPLE = {1: ("F", "058Y"), 2: ("M", "010M"), 3: ("O", "238Y"), 101: ("", "000Y"), 102: ("M", "")}


def row(name: str, findings: tuple[str, ...], *, radiologist: str = "") -> str:
    """Return a line of a table."""
    keys = (name, radiologist) if radiologist else (name,)
    return ",".join((*keys, *("1" if column in findings else "0" for column in COLUMNS)))


def write_vindr(root: Path, *, readings: tuple[Reading, ...] = READINGS) -> None:
    """Write both tables of labels and the images."""
    (root / "annotations").mkdir(parents=True)
    train = [row(reading.image, reading.findings, radiologist=reading.radiologist) for reading in readings]
    write_table(root, "train", ["image_id", "rad_id", *COLUMNS], train)
    test = [row(image_id(number), findings) for number, findings in TEST]
    write_table(root, "test", ["image_id", *COLUMNS[:-2], "Other disease", COLUMNS[-1]], test)
    for number, (sex, age) in PEOPLE.items():
        write_image(root / ("test" if number > 100 else "train") / f"{image_id(number)}.dicom", sex=sex, age=age)


def write_table(root: Path, name: str, header: list[str], lines: list[str]) -> None:
    (root / "annotations" / f"image_labels_{name}.csv").write_text("\n".join((",".join(header), *lines)) + "\n")


def write_image(path: Path, *, sex: str, age: str) -> None:
    """Write a radiograph of 12 bits; its header has sex and age and no patient."""
    pixels = np.random.default_rng(crc32(path.name.encode())).integers(0, 4096, (40, 32), dtype=np.uint16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 238Y and an empty text, as in the set, do not conform
        write_dicom(path, PatientSex=sex, PatientAge=age, Rows=40, Columns=32, PixelData=pixels.tobytes())
