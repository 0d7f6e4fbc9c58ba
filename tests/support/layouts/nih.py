"""A root of NIH ChestX-ray14: its table, both lists of the split, and images in one or in twelve folders."""

from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np
from PIL import Image as Picture

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
_MEASURED = "2682,2749,0.143,0.14300000000000002"


class Image(NamedTuple):
    """One row of the table and the list that has it."""

    name: str
    findings: str
    follow_up: int
    patient: str
    age: str
    sex: str
    view: str
    side: str


IMAGES = (
    Image("00000001_000.png", "Cardiomegaly", 0, "1", "57", "M", "PA", "train"),
    Image("00000001_001.png", "Cardiomegaly|Emphysema", 1, "1", "58", "M", "PA", "train"),
    Image("00000002_000.png", "No Finding", 0, "2", "80", "M", "PA", "test"),
    Image("00000003_000.png", "Hernia", 0, "3", "74", "F", "AP", "test"),
    Image("00000004_000.png", "Mass|Nodule|Pleural_Thickening", 0, "4", "414", "F", "AP", "train"),
    Image("00000005_000.png", "No Finding", 0, "5", "17", "F", "PA", "train"),
)


def write_nih(root: Path, *, images: tuple[Image, ...] = IMAGES, spread: bool = False) -> None:
    """Write table, lists and images; ``spread`` puts every image into a folder as the archives on Kaggle do."""
    root.mkdir(parents=True)
    lines = [",".join((*map(str, image[:7]), _MEASURED)) for image in images]
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join((HEADER, *lines)) + "\n")
    for name, side in (("train_val_list.txt", "train"), ("test_list.txt", "test")):
        names = [image.name for image in images if image.side == side]
        (root / name).write_text("\n".join(dict.fromkeys(names)))
    for number, image in enumerate(images):
        folder = root / f"images_{number + 1:03d}" / "images" if spread else root / "images"
        write_image(folder / image.name)


def write_image(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(crc32(file.name.encode())).integers(0, 256, (40, 32), dtype=np.uint8)
    Picture.fromarray(pixels).save(file)
