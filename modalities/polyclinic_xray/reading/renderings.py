"""All renderings in which a viewer may show the stored values of a radiograph, to find words visible in only one."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Num
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from polyclinic_dicom.stored import Stored
from polyclinic_xray.radiograph import Radiograph
from polyclinic_xray.reading.dicom import read_stored
from polyclinic_xray.reading.palette import palette_colours
from polyclinic_xray.reading.voi import to_display

_PERCENTILES = (0.5, 99.5)
_TABLES_TAG = tag_for_keyword("VOILUTSequence")


def renderings_of(source: Path, raw: Radiograph) -> Iterator[Float32[np.ndarray, "H W"]]:
    """Yield the renderings of a file in [0, 1].

    Args:
        source: DICOM file or raster; stored values are read again from a DICOM file.
        raw: radiograph decoded from ``source``.

    Raises:
        UnreadableSource: see ``read_stored``.
    """
    if raw.facts["format"] == "dicom":
        yield from stored_renderings(read_stored(source))
    else:
        yield raw.pixels
        yield from stretched(raw.pixels)


def stored_renderings(stored: Stored) -> Iterator[Float32[np.ndarray, "H W"]]:
    """Yield decoded pixels stretched to their range, then through each VOI lookup table and window of the file.

    For a colour image, each channel is yielded stretched.
    """
    pixels = stored.pixels
    if str(stored.dataset.get("PhotometricInterpretation")) == "PALETTE COLOR":
        pixels = palette_colours(pixels, stored.dataset)
    if pixels.ndim == 3:
        for channel in np.moveaxis(pixels, -1, 0):
            yield from stretched(channel)
        return
    yield from stretched(pixels)
    yield from _displays(stored)


def stretched(values: Num[np.ndarray, "H W"]) -> Iterator[Float32[np.ndarray, "H W"]]:
    """Yield values stretched to [0, 1] from their percentiles 0.5 and 99.5, and from their extremes."""
    extremes = float(values.min()), float(values.max())
    for low, high in (tuple(map(float, np.percentile(values, _PERCENTILES))), extremes):
        if high > low:
            yield np.clip((values.astype(np.float32) - low) / (high - low), 0, 1).astype(np.float32)


def _displays(stored: Stored) -> Iterator[Float32[np.ndarray, "H W"]]:
    tables, windows = _count(stored.dataset, "VOILUTSequence"), _count(stored.dataset, "WindowCenter")
    # Windows apply only without tables, see ``to_display``.
    plain = Dataset({tag: element for tag, element in dict(stored.dataset).items() if tag != _TABLES_TAG})
    plain.set_original_encoding(*stored.dataset.original_encoding, stored.dataset.original_character_set)
    for dataset, count in ((stored.dataset, tables), (plain, max(1, windows))):
        for window in range(count):
            # Viewers cannot apply an invalid table or window either.
            with suppress(Exception):
                yield to_display(dataset, stored.pixels, limits=stored.limits, window=window)[0]


def _count(dataset: Dataset, keyword: str) -> int:
    """Return the number of items or values of an element."""
    if keyword not in dataset:
        return 0
    element = dataset[keyword]
    return len(element.value) if element.VR == "SQ" else int(element.VM)
