"""A root of CheXpert, small or full: tables with paths from the folder above, images as grey JPEG."""

from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np
from PIL import Image as Picture

FINDINGS_ON_DISK = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation",
    "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip


class Image(NamedTuple):
    """One row of ``train.csv`` or ``valid.csv``; ``labels`` in the order of ``FINDINGS_ON_DISK``."""

    path: str
    sex: str
    age: str
    frontal: str
    view: str
    labels: str


_UNSURE = ",,-1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0,"
_CLEAR = "1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0"
_LARGE_HEART = "0.0,1.0,1.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0"
TRAIN = (
    Image("train/patient00001/study1/view1_frontal.jpg", "Female", "68", "Frontal", "AP", "1.0,,,,,,,,,0.0,,,,1.0"),
    Image("train/patient00002/study1/view1_frontal.jpg", "Male", "90", "Frontal", "AP", _UNSURE),
    Image("train/patient00002/study1/view2_frontal.jpg", "Male", "90", "Frontal", "PA", _UNSURE),
    Image("train/patient00002/study1/view3_lateral.jpg", "Male", "90", "Lateral", "", _UNSURE),
    Image("train/patient00002/study2/view1_frontal.jpg", "Male", "17", "Frontal", "LL", "1.0,,,,,,,,,,,,,"),
    Image("train/patient00003/study1/view1_frontal.jpg", "Unknown", "0", "Frontal", "PA", ",,,,,1.0,,,,0.0,,,,"),
)  # fmt: skip
VALID = (
    Image("valid/patient64541/study1/view1_frontal.jpg", "Male", "73", "Frontal", "AP", _LARGE_HEART),
    Image("valid/patient64542/study1/view1_frontal.jpg", "Male", "39", "Frontal", "", _CLEAR),
    Image("valid/patient64542/study1/view2_lateral.jpg", "Male", "39", "Lateral", "", _CLEAR),
)  # fmt: skip
# Another order of columns, so that reading by position is noticed.
_TEST_ORDER = ("Support Devices", *(name for name in FINDINGS_ON_DISK if name != "Support Devices"))
_TEST = {
    "test/patient64741/study1": {"Support Devices", "Pleural Effusion"},
    "test/patient64742/study1": {"No Finding"},
}
_HEADER = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *FINDINGS_ON_DISK)


def write_chexpert(root: Path, *, train: tuple[Image, ...] = TRAIN) -> None:
    """Write tables and images into ``root``; the paths in the tables begin with its name."""
    root.mkdir(parents=True)
    for name, images in (("train", train), ("valid", VALID)):
        rows = [",".join((f"{root.name}/{image.path}", *image[1:])) for image in images]
        (root / f"{name}.csv").write_text("\n".join([",".join(_HEADER), *rows]) + "\n")
        for image in images:
            write_image(root / image.path)


def write_test_set(root: Path) -> None:
    """Write ``groundtruth.csv`` and the images; its paths name the full version, whatever the root is called."""
    rows = [
        ",".join((f"CheXpert-v1.0/{study}", *("1" if name in present else "0" for name in _TEST_ORDER)))
        for study, present in _TEST.items()
    ]
    (root / "groundtruth.csv").write_text("\n".join([",".join(("Study", *_TEST_ORDER)), *rows]) + "\n")
    for study in _TEST:
        write_image(root / study / "view1_frontal.jpg")
    write_image(root / "test/patient64741/study1/view2_lateral.jpg")


def write_image(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(crc32("/".join(file.parts[-4:]).encode())).integers(0, 256, (40, 32), dtype=np.uint8)
    Picture.fromarray(pixels).save(file, quality=90)
