"""From stored grey values to display values in [0, 1]: modality LUT, VOI, inversion (PS3.3 C.11.1, C.11.2).

Written out here because pydicom's ``apply_windowing`` turns the image over when the rescale slope is negative,
and its ``apply_voi`` wraps around tables with entries of 8 bits.
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float32, Integer, Num
from pydicom.dataset import Dataset
from scipy.special import expit

from polyclinic.modality import UnreadableSource
from polyclinic_xray.radiograph import refuse_blank


def to_display(
    dataset: Dataset, stored: Integer[np.ndarray, "H W"], *, limits: tuple[int, int], window: int
) -> tuple[Float32[np.ndarray, "H W"], dict[str, float | str]]:
    """Show stored grey values as the file's tags say.

    Args:
        dataset: the image's attributes.
        stored: pixel values within ``limits``.
        limits: smallest and largest value that BitsStored and PixelRepresentation allow.
        window: which of several lookup tables, or else of several windows, to apply.

    Returns:
        Values in [0, 1] with dense tissue bright, and which steps led to them.

    Raises:
        UnreadableSource: a lookup table or window that the standard does not allow, or too few of them; or tags that
            disagree on which end is bright.
    """
    inverted = str(dataset.PhotometricInterpretation) == "MONOCHROME1"
    shape = _shape(dataset, inverted)
    modality, low, high = _modality(dataset, limits)
    view, name, chosen = _view(dataset, low, high, window)

    def show(values: np.ndarray) -> np.ndarray:
        shown = np.clip(view(modality(values.astype(np.float64))), 0.0, 1.0)
        return np.asarray(1.0 - shown if inverted else shown, dtype=np.float32)

    if limits[1] - limits[0] >= stored.size:
        shown = show(stored)
    else:
        # Each possible value once is cheaper than each pixel; negative values count from the table's end.
        shown = np.roll(show(np.arange(limits[0], limits[1] + 1)), limits[0])[stored]
    padding = _padding(dataset, stored)
    refuse_blank(shown if padding is None else shown[~padding])
    if padding is not None:
        shown[padding] = 0.0
    return shown, {
        "modality_lut": _modality_name(dataset),
        "voi": name,
        "voi_chosen": chosen,
        "inverted": "yes" if inverted else "no",
        "presentation_lut": shape,
        "intent": str(dataset.get("PresentationIntentType") or "none"),
        "padding_share": 0.0 if padding is None else float(padding.mean()),
    }


def _shape(dataset: Dataset, inverted: bool) -> str:
    """Presentation LUT Shape, which says for images FOR PRESENTATION what the photometric interpretation says already.

    It is no further inversion (PS3.3 C.8.11.3.1.2). Where the two contradict each other, viewers do too.
    """
    shape = str(dataset.get("PresentationLUTShape") or "none").strip().upper()
    if shape == ("IDENTITY" if inverted else "INVERSE"):
        raise UnreadableSource(
            f"got {dataset.PhotometricInterpretation} with PresentationLUTShape {shape}: they disagree on which end is "
            "bright; correct one of the two in the file"
        )
    return shape.lower() if shape in ("IDENTITY", "INVERSE", "LIN OD") else "none" if shape == "NONE" else "other"


def _padding(dataset: Dataset, stored: np.ndarray) -> np.ndarray | None:
    """Where nothing was recorded (PS3.3 C.7.5.1.1.2): neither window nor inversion applies there; it is shown dark."""
    if dataset.get("PixelPaddingValue") is None:
        return None
    ends = [_as_stored(dataset, "PixelPaddingValue")]
    if dataset.get("PixelPaddingRangeLimit") is not None:
        ends.append(_as_stored(dataset, "PixelPaddingRangeLimit"))
    return (stored >= min(ends)) & (stored <= max(ends))


def _as_stored(dataset: Dataset, keyword: str) -> int:
    """The value of an element of type US or SS that some writers give the wrong one of the two, or leave as bytes."""
    value = dataset.get(keyword)
    number = int.from_bytes(value, "little") if isinstance(value, bytes) else int(value)
    size = 2 ** int(dataset.BitsAllocated)
    number %= size
    return number - size if dataset.PixelRepresentation and number >= size // 2 else number


def _modality_name(dataset: Dataset) -> str:
    if dataset.get("ModalityLUTSequence"):
        return "lut"
    return "rescale" if "RescaleSlope" in dataset or "RescaleIntercept" in dataset else "none"


def _modality(dataset: Dataset, limits: tuple[int, int]) -> tuple[Callable[[np.ndarray], np.ndarray], float, float]:
    """The modality transform (C.11.1), with the smallest and largest value that it can give."""
    if dataset.get("ModalityLUTSequence"):
        return _table(dataset, dataset.ModalityLUTSequence[0], *limits)
    slope, intercept = _number(dataset, "RescaleSlope", 1.0), _number(dataset, "RescaleIntercept", 0.0)
    if slope == 0:
        raise UnreadableSource("got RescaleSlope 0, expected another number: all pixels would be the same")
    low, high = sorted(end * slope + intercept for end in limits)
    if not 0 < high - low < math.inf:
        raise UnreadableSource("got RescaleSlope and RescaleIntercept that leave no range of finite numbers")
    return lambda values: values * slope + intercept, low, high


def _view(
    dataset: Dataset, low: float, high: float, window: int
) -> tuple[Callable[[np.ndarray], np.ndarray], str, str]:
    """The VOI transform to [0, 1] (C.11.2), its name, and which of how many; without one, the whole range is shown."""
    if dataset.get("VOILUTSequence"):
        tables = dataset.VOILUTSequence
        _require_index(window, len(tables), "VOI lookup tables")
        table, _, top = _table(dataset, tables[window], low, high)
        return lambda values: table(values) / top, "lut", f"{window} of {len(tables)}"
    centres, widths = _numbers(dataset, "WindowCenter"), _numbers(dataset, "WindowWidth")
    if not centres or not widths:
        return lambda values: (values - low) / (high - low), "none", "none"
    count = min(len(centres), len(widths))
    _require_index(window, count, "VOI windows")
    function = str(dataset.get("VOILUTFunction") or "LINEAR").strip().upper()
    return _window(function, centres[window], widths[window]), function.lower(), f"{window} of {count}"


def _window(function: str, centre: float, width: float) -> Callable[[np.ndarray], np.ndarray]:
    """One of the three functions of C.11.2.1.2 and C.11.2.1.3, scaled to [0, 1] and not yet clipped."""
    smallest = 1.0 if function == "LINEAR" else math.ulp(0.0)
    if width < smallest:
        raise UnreadableSource(f"got WindowWidth {width:g}, expected at least 1 for LINEAR and above 0 otherwise")
    if function == "LINEAR" and width == 1:
        return lambda values: (values > centre - 0.5).astype(np.float64)
    if function == "LINEAR":
        return lambda values: (values - (centre - 0.5)) / (width - 1) + 0.5
    if function == "LINEAR_EXACT":
        return lambda values: (values - centre) / width + 0.5
    if function == "SIGMOID":
        return lambda values: expit(4 * (values - centre) / width)
    raise UnreadableSource("got an unknown VOILUTFunction, expected LINEAR, LINEAR_EXACT or SIGMOID")


def _table(
    dataset: Dataset, item: Dataset, low: float, high: float
) -> tuple[Callable[[np.ndarray], np.ndarray], float, float]:
    """A lookup table (C.11.1.1) of values from ``low`` to ``high``, with the smallest and largest entry of its depth.

    Some writers declare 16 bits for entries of fewer, which would be shown nearly black: the depth is that of the
    largest entry, at least 8, as in DCMTK's ``DiLookupTable``.
    """
    count, first, bits = (int(value) for value in item.LUTDescriptor)
    count = count or 2**16
    if not 8 <= bits <= 16:
        raise UnreadableSource(f"got a lookup table of {bits} bits, expected 8 to 16")
    entries, first = _entries(dataset, item, count), _signed_first(first, count, low, high)
    depth = max(8, int(entries.max()).bit_length())

    def look_up(values: Num[np.ndarray, "..."]) -> np.ndarray:
        return entries[np.clip(np.rint(values) - first, 0, count - 1).astype(np.int64)]

    return look_up, 0.0, float(2**depth - 1)


def _signed_first(first: int, count: int, low: float, high: float) -> int:
    """The first mapped value in the sign under which the table meets the values from ``low`` to ``high``.

    The element is US or SS by the sign of the values (C.11.1.1.1), which implicit VR cannot express and some writers
    get wrong: 64512 then stands for -1024.
    """

    def shared(start: int) -> float:
        return min(high, start + count - 1) - max(low, start)

    return max((first, first - 2**16, first + 2**16), key=shared)


def _entries(dataset: Dataset, item: Dataset, count: int) -> np.ndarray:
    """LUTData as [count] numbers; tables with one byte per entry are packed two to a word."""
    data = item.LUTData
    order = "<" if dataset.original_encoding[1] is not False else ">"
    if not isinstance(data, bytes):
        data, order = np.atleast_1d(np.asarray(data, dtype="<u2")).tobytes(), "<"
    wide = len(data) >= 2 * count
    if not wide and len(data) < count:
        raise UnreadableSource(f"got a lookup table of {len(data) // 2} entries, expected {count}")
    return np.frombuffer(data, dtype=f"{order}u2" if wide else np.uint8, count=count).astype(np.float64)


def _require_index(window: int, count: int, kind: str) -> None:
    if not 0 <= window < count:
        raise UnreadableSource(f"got window {window}, but the file has {count} {kind}; set `window` below {count}")


def _numbers(dataset: Dataset, keyword: str) -> list[float]:
    """All values of a decimal string; none where it is absent or empty."""
    try:
        value = dataset.get(keyword)
    except ValueError:  # a decimal comma, which pydicom finds at the first look
        value = "not a number"
    if value is None or value == "":
        return []
    if not hasattr(value, "__iter__"):
        value = [value]
    try:
        numbers = [float(each) for each in ([value] if isinstance(value, str) else value)]
    except ValueError:
        raise UnreadableSource(f"got a {keyword} that is not a number, expected one with a decimal point") from None
    if not all(math.isfinite(number) for number in numbers):
        raise UnreadableSource(f"got a {keyword} that is not finite, expected a number")
    return numbers


def _number(dataset: Dataset, keyword: str, absent: float) -> float:
    return (_numbers(dataset, keyword) or [absent])[0]
