"""Write a synthetic frontal chest radiograph, drawn from a latent patient, as DICOM."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from polyclinic.modality import Physiology
from polyclinic_xray.chest import SIDE, draw_chest

_BITS = 12
_INVERTED_SHARE = {"north": 0.1, "south": 0.5}


def write_phantom(physiology: Physiology, rng: np.random.Generator, path: Path) -> Path:
    """Draw and write a radiograph; a share of each site's files is MONOCHROME1, and half of the files have a window."""
    stored = np.round(draw_chest(physiology, rng) * (2**_BITS - 1)).astype(np.uint16)
    inverted = bool(rng.random() < _INVERTED_SHARE[physiology.site])
    dataset = _dataset(physiology, rng)
    dataset.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    if rng.random() < 0.5:
        dataset.WindowCenter, dataset.WindowWidth = 2**_BITS // 2, 2**_BITS
    dataset.PixelData = ((2**_BITS - 1) - stored if inverted else stored).tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def _dataset(physiology: Physiology, rng: np.random.Generator) -> FileDataset:
    entropy = [rng.bytes(8).hex()]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[*entropy, "instance"])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = generate_uid(entropy_srcs=["polyclinic phantom"])
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=[*entropy, "study"])
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[*entropy, "series"])
    dataset.PatientName, dataset.PatientID = "Phantom^Study", entropy[0]
    dataset.PatientSex, dataset.PatientAge = physiology.sex, f"{int(physiology.age):03d}Y"
    study_date = date(2150, 1, 1) + timedelta(days=int(rng.integers(0, 20_000)))
    dataset.StudyDate, dataset.StudyTime = study_date.strftime("%Y%m%d"), f"{rng.integers(0, 24):02d}1500"
    dataset.Modality, dataset.BodyPartExamined = "DX", "CHEST"
    dataset.ViewPosition = "PA" if rng.random() < 0.7 else "AP"
    dataset.Manufacturer = f"Phantom {physiology.site}"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.ImagerPixelSpacing = [0.139 * 3000 / SIDE] * 2
    dataset.Rows, dataset.Columns = SIDE, SIDE
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, _BITS, _BITS - 1
    return dataset
