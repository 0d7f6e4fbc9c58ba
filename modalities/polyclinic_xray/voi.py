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
        UnreadableSource: a lookup table or window that the standard does not allow, or too few of them.
    """
    modality, low, high = _modality(dataset, limits)
    view, name = _view(dataset, low, high, window)
    inverted = str(dataset.PhotometricInterpretation) == "MONOCHROME1"

    def show(values: np.ndarray) -> np.ndarray:
        shown = np.clip(view(modality(values.astype(np.float64))), 0.0, 1.0)
        return np.asarray(1.0 - shown if inverted else shown, dtype=np.float32)

    steps = {"modality_lut": _modality_name(dataset), "voi": name, "inverted": "yes" if inverted else "no"}
    if limits[1] - limits[0] >= stored.size:
        return show(stored), {**steps}
    # Each possible value once is cheaper than each pixel; negative values count from the table's end.
    table = np.roll(show(np.arange(limits[0], limits[1] + 1)), limits[0])
    return table[stored], {**steps}


def _modality_name(dataset: Dataset) -> str:
    if dataset.get("ModalityLUTSequence"):
        return "lut"
    return "rescale" if "RescaleSlope" in dataset or "RescaleIntercept" in dataset else "none"


def _modality(dataset: Dataset, limits: tuple[int, int]) -> tuple[Callable[[np.ndarray], np.ndarray], float, float]:
    """The modality transform (C.11.1), with the smallest and largest value that it can give."""
    if dataset.get("ModalityLUTSequence"):
        return _table(dataset, dataset.ModalityLUTSequence[0])
    slope, intercept = _number(dataset, "RescaleSlope", 1.0), _number(dataset, "RescaleIntercept", 0.0)
    if slope == 0:
        raise UnreadableSource("got RescaleSlope 0, expected another number: all pixels would be the same")
    low, high = sorted(end * slope + intercept for end in limits)
    if not 0 < high - low < math.inf:
        raise UnreadableSource("got RescaleSlope and RescaleIntercept that leave no range of finite numbers")
    return lambda values: values * slope + intercept, low, high


def _view(dataset: Dataset, low: float, high: float, window: int) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """The VOI transform to [0, 1] (C.11.2) and its name; without one, the whole range is shown."""
    if dataset.get("VOILUTSequence"):
        tables = dataset.VOILUTSequence
        _require_index(window, len(tables), "VOI lookup tables")
        table, _, top = _table(dataset, tables[window])
        return lambda values: table(values) / top, "lut"
    centres, widths = _numbers(dataset, "WindowCenter"), _numbers(dataset, "WindowWidth")
    if not centres or not widths:
        return lambda values: (values - low) / (high - low), "none"
    _require_index(window, min(len(centres), len(widths)), "VOI windows")
    function = str(dataset.get("VOILUTFunction") or "LINEAR").strip().upper()
    return _window(function, centres[window], widths[window]), function.lower()


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


def _table(dataset: Dataset, item: Dataset) -> tuple[Callable[[np.ndarray], np.ndarray], float, float]:
    """A lookup table (C.11.1.1) with the smallest and largest entry that its depth allows."""
    count, first, bits = (int(value) for value in item.LUTDescriptor)
    count = count or 2**16
    if not 8 <= bits <= 16:
        raise UnreadableSource(f"got a lookup table of {bits} bits, expected 8 to 16")
    entries = _entries(dataset, item, count)

    def look_up(values: Num[np.ndarray, "..."]) -> np.ndarray:
        return entries[np.clip(np.rint(values) - first, 0, count - 1).astype(np.int64)]

    return look_up, 0.0, float(2**bits - 1)


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
    value = dataset.get(keyword)
    if value is None or value == "":
        return []
    numbers = [float(each) for each in (value if hasattr(value, "__iter__") else [value])]
    if not all(math.isfinite(number) for number in numbers):
        raise UnreadableSource(f"got a {keyword} that is not finite, expected a number")
    return numbers


def _number(dataset: Dataset, keyword: str, absent: float) -> float:
    return (_numbers(dataset, keyword) or [absent])[0]
