"""A root of MIMIC-CXR-JPG 2.0.0: tables compressed, images as grey JPEG."""

import gzip
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image as Picture

FINDINGS_ON_DISK = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum", "Fracture", "Lung Lesion",
    "Lung Opacity", "No Finding", "Pleural Effusion", "Pleural Other", "Pneumonia", "Pneumothorax", "Support Devices",
)  # fmt: skip
_METADATA = (
    "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime,"
    "ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,PatientOrientationCodeSequence_CodeMeaning"
)


class Image(NamedTuple):
    """One radiograph; ``date`` as 21800506, ``time`` as 213014.53, either may be blank."""

    subject: int
    study: int
    dicom: str
    view: str
    date: str
    time: str
    split: str
    orientation: str = "Erect"


_EVENING = "213014.53100000002"
IMAGES = (
    Image(10000032, 50414267, "02aa804e-bde0afdd-112c0b34-7bc16630-4e384014", "PA", "21800506", _EVENING, "train"),
    Image(10000032, 50414267, "174413ec-4ec4c1f7-34ea26b7-c5f994f8-79ef1962", "LATERAL", "21800506", _EVENING, "train"),
    Image(10000032, 53189527, "2a2277a9-b0ded155-c0de8eb9-c124d10e-82c5caab", "AP", "21800626", "165500.312", "train",
          "Recumbent"),
    Image(10000032, 53189527, "e084de3b-be89b11e-20fe3f9f-9c8d8dfe-4cfd202c", "PA", "21800626", "5.312", "train"),
    Image(10000764, 57375967, "096052b7-d256dc40-453a102b-fa7d01c6-1b22c6b4", "AP", "21321015", "", "validate", ""),
    Image(10000898, 50771383, "2a280266-c8bae121-54d75383-cac046f4-ca37aa16", "LL", "21880302", "150000", "validate"),
    Image(11000416, 54345678, "99b66f3c-5b8bd1a7-3dc0d4ba-9ddc5d3a-9f0e0a11", "AP", "21750101", "001500.0", "test"),
    Image(11000416, 54345678, "a1b66f3c-5b8bd1a7-3dc0d4ba-9ddc5d3a-9f0e0a12", "AP", "21750101", "001500.0", "test"),
    Image(11000416, 59999999, "b2c66f3c-5b8bd1a7-3dc0d4ba-9ddc5d3a-9f0e0a13", "", "21760101", "120000.0", "test", ""),
)  # fmt: skip
LABELS: Mapping[int, Mapping[str, str]] = {
    50414267: {"No Finding": "1.0"},
    53189527: {"Atelectasis": "1.0", "Edema": "-1.0", "Pneumothorax": "0.0", "Support Devices": "1.0"},
    57375967: {},
    54345678: {"Lung Opacity": "1.0", "Pneumonia": "-1.0"},
}
"""By study; the labellers give 59999999 no row at all."""


def write_mimic_cxr(
    root: Path, images: Sequence[Image] = IMAGES, labels: Mapping[int, Mapping[str, str]] | None = None
) -> None:
    """Write the tables and every image; each study is labelled ``No Finding`` unless its labels are known or given."""
    root.mkdir(parents=True)
    _write_tables(root, images)
    labels_by_study = LABELS if labels is None else labels
    fallback = {} if images is IMAGES else {image.study: {"No Finding": "1.0"} for image in images}
    for labeller in ("chexpert", "negbio"):
        write_labels(root, f"mimic-cxr-2.0.0-{labeller}.csv.gz", {**fallback, **labels_by_study}, images)
    for number, image in enumerate(images):
        file = root / image_file(image)
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (40, 32), dtype=np.uint8)
        Picture.fromarray(pixels).save(file, quality=90)
    (root / "IMAGE_FILENAMES").write_text("".join(f"{image_file(image)}\n" for image in images))


def image_file(image: Image) -> str:
    return f"files/p{str(image.subject)[:2]}/p{image.subject}/s{image.study}/{image.dicom}.jpg"


def write_labels(
    root: Path, name: str, labels: Mapping[int, Mapping[str, str]], images: Sequence[Image] = IMAGES
) -> None:
    """Write a table of a labeller; studies that no image belongs to are left out."""
    subjects = {image.study: image.subject for image in images}
    rows = (
        [str(subjects[study]), str(study), *(values.get(name, "") for name in FINDINGS_ON_DISK)]
        for study, values in labels.items()
        if study in subjects
    )
    write_csv(root / name, ["subject_id", "study_id", *FINDINGS_ON_DISK], rows)


def write_csv(file: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    text = "".join(",".join(row) + "\n" for row in [header, *rows])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(text.encode(), mtime=0) if file.suffix == ".gz" else text.encode())


def _write_tables(root: Path, images: Sequence[Image]) -> None:
    described = {"AP": "antero-posterior", "PA": "postero-anterior", "LATERAL": "lateral", "LL": "left lateral"}
    write_csv(
        root / "mimic-cxr-2.0.0-metadata.csv.gz",
        _METADATA.split(","),
        (
            [image.dicom, str(image.subject), str(image.study), "CHEST (PA AND LAT)", image.view, "3056", "2544",
             image.date, image.time, "CHEST (PA AND LAT)", described.get(image.view, ""), image.orientation]
            for image in images
        ),
    )  # fmt: skip
    write_csv(
        root / "mimic-cxr-2.0.0-split.csv.gz",
        ["dicom_id", "study_id", "subject_id", "split"],
        ([image.dicom, str(image.study), str(image.subject), image.split] for image in images),
    )


def write_radiologists(root: Path) -> None:
    """Write the test labels of version 2.1.0: no subject, ``Airspace Opacity`` first and ``Lung Opacity`` nowhere."""
    names = ["Airspace Opacity", *(name for name in FINDINGS_ON_DISK if name != "Lung Opacity")]
    marked = {54345678: {"Airspace Opacity": "0.0", "Edema": "1.0", "Fracture": "-1.0"}, 50414267: {"Edema": "1.0"}}
    rows = ([str(study), *(values.get(name, "") for name in names)] for study, values in marked.items())
    write_csv(root / "mimic-cxr-2.1.0-test-set-labeled.csv", ["study_id", *names], rows)


def write_patients(root: Path) -> None:
    """Write ``hosp/patients.csv.gz``; subject 11000416 was older than 89 in 2176, 10000898 is not there."""
    write_csv(
        root / "hosp" / "patients.csv.gz",
        ["subject_id", "gender", "anchor_age", "anchor_year", "anchor_year_group", "dod"],
        [
            ["10000032", "F", "52", "2180", "2014 - 2016", "2180-09-09"],
            ["10000764", "M", "86", "2132", "2014 - 2016", ""],
            ["11000416", "M", "91", "2176", "2017 - 2019", ""],
        ],
    )


def write_sections(root: Path) -> None:
    """Write ``mimic_cxr_sectioned.csv``, in which a section has line ends and quotes, and another study none."""
    text = """study,impression,findings,last_paragraph,comparison
s50414267,No acute process.,"The heart is ""normal"", and
the lungs are clear.",,None.
s53189527,,,Interval removal of the ___ line.,
s57375967,,,,___
s59999999,Not an AP view.,,,
"""
    (root / "mimic_cxr_sectioned.csv").write_text(text, encoding="utf-8")


def write_report_files(root: Path) -> None:
    """Write two reports of the tree of text files."""
    for subject, study in ((10000032, 50414267), (11000416, 54345678)):
        file = root / f"files/p{str(subject)[:2]}/p{subject}/s{study}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(" FINAL REPORT\n EXAMINATION: CHEST\n\n IMPRESSION: \n \n Study of ___.\n")
