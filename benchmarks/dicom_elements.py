"""Elements of the DICOM standard in which a value can be planted."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from pydicom.datadict import DicomDictionary, RepeatersDictionary
from pydicom.dataset import Dataset

READ = frozenset(
    (
        *("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
        *("PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "PixelData", "PixelAspectRatio"),
        *("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "VOILUTFunction", "PixelSpacing"),
        *("ModalityLUTSequence", "VOILUTSequence", "PresentationLUTShape", "PixelPaddingValue", "SOPClassUID"),
        *("PixelPaddingRangeLimit", "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "BurnedInAnnotation"),
        *("WaveformSequence", "FloatPixelData", "DoubleFloatPixelData", "ImagerPixelSpacing", "SpecificCharacterSet"),
        *("NominalScannedPixelSpacing",),
    )
)
"""Elements that a reader uses: another value changes the image, or makes it unreadable."""

_EXCLUDED_GROUPS = (0x0000, 0x0002, 0xFFFC, 0xFFFE)


class Place(NamedTuple):
    """A standard element: its tag, its VR (the first of several), and its keyword."""

    tag: int
    vr: str
    keyword: str


def places() -> Iterator[Place]:
    """Yield every standard element of a dataset that no reader needs, and one group of each repeating group."""
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        if keyword and keyword not in READ and tag >> 16 not in _EXCLUDED_GROUPS and vr != "NONE":
            yield Place(tag, vr.partition(" ")[0], keyword)
    for mask, (vr, _, _, _, keyword) in RepeatersDictionary.items():
        yield Place(int(mask.replace("x", "2" if mask[:2] in ("50", "60") else "0"), 16), vr.partition(" ")[0], keyword)


def plant(dataset: Dataset, value: Callable[[Place], Any], where: Iterator[Place] | None = None) -> int:
    """Set every element to the value that a function returns for it, except where that is None.

    Returns:
        Number of elements that were set.
    """
    count = 0
    for place in places() if where is None else where:
        if (content := value(place)) is not None:
            dataset.add_new(place.tag, place.vr, content)
            count += 1
    return count
