"""Convert stored grey values to display values in [0, 1]: modality LUT, VOI, inversion (PS3.3 C.11.1, C.11.2).

Implemented here because pydicom's ``apply_windowing`` inverts the image when the rescale slope is negative, and its
``apply_voi`` wraps around tables with entries of 8 bits.
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
    """Apply the display pipeline of a file's tags to its stored grey values.

    Args:
        dataset: dataset with the image's attributes.
        stored: pixel values within ``limits``.
        limits: smallest and largest value that BitsStored and PixelRepresentation allow.
        window: index of the VOI lookup table to apply, or of the window if there are no tables.

    Returns:
        Values in [0, 1] with dense tissue bright, and the steps that were applied.

    Raises:
        UnreadableSource: a lookup table or window is invalid or missing, or tags disagree on which end is bright.
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
        # Transforming each possible value once is cheaper than each pixel. The table is rolled so that negative
        # values, which numpy indexes from the end, find their entry there.
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
    """Return the Presentation LUT Shape, and refuse one that contradicts the photometric interpretation.

    For images FOR PRESENTATION it repeats the polarity and is not a second inversion (PS3.3 C.8.11.3.1.2). Viewers
    disagree on files in which the two contradict each other.
    """
    shape = str(dataset.get("PresentationLUTShape") or "none").strip().upper()
    if shape == ("IDENTITY" if inverted else "INVERSE"):
        raise UnreadableSource(
            f"got {dataset.PhotometricInterpretation} with PresentationLUTShape {shape}: they disagree on which end is "
            "bright; correct one of the two in the file"
        )
    return shape.lower() if shape in ("IDENTITY", "INVERSE", "LIN OD") else "none" if shape == "NONE" else "other"


def _padding(dataset: Dataset, stored: np.ndarray) -> np.ndarray | None:
    """Mask pixels where nothing was recorded (PS3.3 C.7.5.1.1.2), which are shown dark; None without padding."""
    if dataset.get("PixelPaddingValue") is None:
        return None
    ends = [_as_stored(dataset, "PixelPaddingValue")]
    if dataset.get("PixelPaddingRangeLimit") is not None:
        ends.append(_as_stored(dataset, "PixelPaddingRangeLimit"))
    return (stored >= min(ends)) & (stored <= max(ends))


def _as_stored(dataset: Dataset, keyword: str) -> int:
    """Return an element of VR US or SS in the sign of the pixels; some writers use the wrong VR, or leave bytes."""
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
    """Return the modality transform (C.11.1) with its smallest and largest value."""
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
    """Return the VOI transform to [0, 1] (C.11.2), its name, and text such as "0 of 2"; the default is linear."""
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
    """Return a window function of C.11.2.1.2 or C.11.2.1.3, scaled to [0, 1] but not clipped."""
    min_width = 1.0 if function == "LINEAR" else math.ulp(0.0)
    if width < min_width:
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
    """Return a lookup table (C.11.1.1) for values from ``low`` to ``high``, with the range of its bit depth.

    Some writers declare 16 bits for entries of fewer bits, which would be shown nearly black. The depth is therefore
    that of the largest entry, at least 8 bits, as in DCMTK's ``DiLookupTable``.
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
    """Return the first mapped value, in the sign in which the table overlaps most with ``low`` to ``high``.

    The element is US or SS depending on the sign of the values (C.11.1.1.1). Implicit VR cannot express this and some
    writers get it wrong, so that 64512 may mean -1024.
    """

    def overlap(start: int) -> float:
        return min(high, start + count - 1) - max(low, start)

    return max((first, first - 2**16, first + 2**16), key=overlap)


def _entries(dataset: Dataset, item: Dataset, count: int) -> np.ndarray:
    """Return LUTData as [count] numbers; entries of one byte are packed two to a word."""
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
    """Return all values of a decimal string; none if it is missing or empty."""
    try:
        value = dataset.get(keyword)
    except ValueError:  # pydicom parses a value at the first access, and refuses a decimal comma
        value = "not a number"
    if value is None or value == "":
        return []
    if not hasattr(value, "__iter__"):
        value = [value]
    try:
        numbers = [float(text) for text in ([value] if isinstance(value, str) else value)]
    except ValueError:
        raise UnreadableSource(f"got a {keyword} that is not a number, expected one with a decimal point") from None
    if not all(math.isfinite(number) for number in numbers):
        raise UnreadableSource(f"got a {keyword} that is not finite, expected a number")
    return numbers


def _number(dataset: Dataset, keyword: str, default: float) -> float:
    return (_numbers(dataset, keyword) or [default])[0]
