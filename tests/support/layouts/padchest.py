"""A root of PadChest: its table of 36 columns, whose first has no name, and images of 16 bits in numbered folders."""

import csv
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np
from PIL import Image as Picture

TABLE = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
HEADER = (
    "", "ImageID", "ImageDir", "StudyDate_DICOM", "StudyID", "PatientID", "PatientBirth", "PatientSex_DICOM",
    "ViewPosition_DICOM", "Projection", "MethodProjection", "Pediatric", "Modality_DICOM", "Manufacturer_DICOM",
    "PhotometricInterpretation_DICOM", "PixelRepresentation_DICOM", "PixelAspectRatio_DICOM", "SpatialResolution_DICOM",
    "BitsStored_DICOM", "WindowCenter_DICOM", "WindowWidth_DICOM", "Rows_DICOM", "Columns_DICOM",
    "XRayTubeCurrent_DICOM", "Exposure_DICOM", "ExposureInuAs_DICOM", "ExposureTime", "RelativeXRayExposure_DICOM",
    "ReportID", "Report", "MethodLabel", "Labels", "Localizations", "LabelsLocalizationsBySentence", "labelCUIS",
    "LocalizationsCUIS",
)  # fmt: skip


class Image(NamedTuple):
    """The cells of a row that matter."""

    image: str
    folder: str
    date: str
    study: str
    patient: str
    birth: str
    sex: str
    view: str
    report: str
    method: str
    labels: str


IMAGES = (
    Image("101_k6ga29.png", "0", "20140915", "101", "8398", "1930.0", "F", "PA",
          " sin hallazg patolog edad pacient .", "Physician", "['normal']"),
    Image("202_b.png", "0", "20150914", "202", "3135", "1929.0", "M", "L",
          " sutil infiltr pseudonodul , cifosis sever .", "RNN_model",
          "['pulmonary fibrosis', 'kyphosis', 'pseudonodule', 'ground glass pattern']"),
    Image("202_d.png", "0", "20150914", "202", "3135", "1929.0", "M", "PA",
          " sutil infiltr pseudonodul , cifosis sever .", "RNN_model",
          "['pulmonary fibrosis', 'kyphosis', 'pseudonodule', 'ground glass pattern']"),
    Image("303_a.png", "54", "20160105", "303", "6316", "", "O", "AP_horizontal", " . ", "RNN_model",
          "['unchanged', ' pleural effusion', '', 'NSG tube']"),
    Image("404_a.png", "54", "20100105", "404", "3135", "1929.0", "M", "AP", "nan", "Physician", "nan"),
    Image("505_a.png", "3", "20100105", "505", "7777", "2011.0", "nan", "PA", " derram pleural .", "Physician",
          "['loculated pleural effusion', 'loculated pleural effusion']"),
    Image("606_a.png", "3", "20100105", "606", "8888", "1960.0", "F", "COSTAL", " fractur costal .", "Physician",
          "['rib fracture']"),
)  # fmt: skip


def write_padchest(root: Path, *, images: tuple[Image, ...] = IMAGES, flat: str = "") -> None:
    """Write the table and the images, into their numbered folders or into one folder."""
    root.mkdir(parents=True)
    with (root / TABLE).open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(HEADER)
        for number, image in enumerate(images):
            cells = dict.fromkeys(HEADER, "None") | {
                "": str(number), "ImageID": image.image, "ImageDir": image.folder, "StudyDate_DICOM": image.date,
                "StudyID": image.study, "PatientID": image.patient, "PatientBirth": image.birth,
                "PatientSex_DICOM": image.sex, "Projection": image.view, "Manufacturer_DICOM": "PhilipsMedicalSystems",
                "Report": image.report, "MethodLabel": image.method, "Labels": image.labels,
                "LabelsLocalizationsBySentence": f"[{image.labels}]",
            }  # fmt: skip
            writer.writerow(cells.values())
    for image in images:
        write_image(root / (flat or image.folder) / image.image)


def write_image(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(crc32(file.name.encode())).integers(0, 4096, (40, 32), dtype=np.uint16)
    Picture.fromarray(pixels).save(file)
