"""Decode grey JPEG Lossless, and JPEG Extended of more than 8 bits, by GDCM with every bit of the frame.

pydicom's GDCM plugin is limited to 8 bits of JPEG Extended, and clears the bits above the stored ones, so that a caller
cannot see that any were set.
"""

import gdcm
import numpy as np
from jaxtyping import Integer
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame

from polyclinic_dicom.codestream import Claim
from polyclinic_dicom.jpeg_markers import check_code_length


def decode_grey(dataset: Dataset, syntax: str, claim: Claim) -> Integer[np.ndarray, "H W"]:
    """Decode the only frame of a dataset.

    Args:
        dataset: dataset with encapsulated Pixel Data.
        syntax: UID of a transfer syntax of JPEG Lossless or JPEG Extended.
        claim: header of the frame.

    Raises:
        ValueError: GDCM returns another number of pixels.
        UnreadableSource: the pixels of a lossless frame are not those that were encoded.
    """
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    fragment, fragments = gdcm.Fragment(), gdcm.SequenceOfFragments.New()
    fragment.SetByteStringValue(frame)
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetDataElement(element)
    photometric = gdcm.PhotometricInterpretation.GetPIType(str(dataset.PhotometricInterpretation))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(photometric))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
    signed, size = int(dataset.PixelRepresentation), int(dataset.BitsAllocated) // 8
    image.SetPixelFormat(gdcm.PixelFormat(1, 8 * size, claim.bits, claim.bits - 1, signed))
    content = image.GetBuffer().encode("utf-8", "surrogateescape")
    check_code_length(frame, np.frombuffer(content, dtype=f"<u{size}").reshape(rows, columns))
    return np.frombuffer(content, dtype=f"<{'i' if signed else 'u'}{size}").reshape(rows, columns)
