"""Colours of palette images (PS3.3 C.7.6.3.1.5, C.7.6.3.1.6).

Around pydicom's ``apply_color_lut``, whose index has as many bits as an entry: with entries of 8 bits, index 256 wraps
around to the first colour.
"""

import numpy as np
from jaxtyping import Integer, UInt
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut

from polyclinic.modality import UnreadableSource

_MAX_BYTE_ENTRIES = 256


def palette_colours(stored: Integer[np.ndarray, "H W"], dataset: Dataset) -> UInt[np.ndarray, "H W 3"]:
    """Return the colours of stored indices, with 8 or 16 bits that are used in full.

    Raises:
        UnreadableSource: the palette has more than 256 entries of one byte.
    """
    count, first, bits = (int(value) for value in dataset.RedPaletteColorLookupTableDescriptor)
    count = count or 2**16
    if bits == 8 and count > _MAX_BYTE_ENTRIES and not _has_words(dataset, count):
        raise UnreadableSource(
            f"got a palette of {count} entries of one byte, expected at most {_MAX_BYTE_ENTRIES} of them"
        )
    # Clipped here, as an index beyond the table has the last colour, and must not wrap around.
    index = np.clip(stored.astype(np.int64) - first, 0, count - 1)
    colours = apply_color_lut(index + first, dataset)
    # Entries of 8 bits may be stored in words.
    return colours.astype(np.uint8) if bits == 8 and colours.max(initial=0) < _MAX_BYTE_ENTRIES else colours


def _has_words(dataset: Dataset, count: int) -> bool:
    return len(dataset.get("RedPaletteColorLookupTableData") or b"") >= 2 * count
