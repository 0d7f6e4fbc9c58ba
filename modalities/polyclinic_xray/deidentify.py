"""Radiographs without what names their patient: a clean header, decoded pixels, and no words that are found in them."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.pixels import apply_color_lut
from pydicom.uid import ExplicitVRLittleEndian, UID_dictionary

from polyclinic.modality import (
    Cleaned,
    DicomStandard,
    Identity,
    UnreadableSource,
    clean_dicom,
    nested_names,
)
from polyclinic_xray.issues import raster_names
from polyclinic_xray.radiograph import Radiograph
from polyclinic_xray.reading.burned_in import Word, merged, words_in
from polyclinic_xray.reading.dicom import Stored, parse_dicom, read_stored
from polyclinic_xray.reading.voi import to_display

STANDARD = DicomStandard(
    item=Dataset,
    keyword=keyword_for_tag,
    sop_classes={uid for uid, (_, kind, *_) in UID_dictionary.items() if kind == "SOP Class"},
)
"""What pydicom knows."""

_ROUNDS, _LEAST_MARGIN, _LARGEST_SHARE = 3, 2, 0.3
_DENSITY = 1000.0


def header_names(source: Path) -> Iterable[str]:
    """Names in a DICOM header, at any depth; of a raster those that a label or a tag of its metadata gives."""
    with source.open("rb") as stream:
        is_raster = stream.read(3) in (b"\x89PN", b"\xff\xd8\xff")
    with warnings.catch_warnings():
        # pydicom and Pillow warn of every odd value, which does not matter here.
        warnings.simplefilter("ignore")
        return raster_names(source) if is_raster else list(dict.fromkeys(nested_names(parse_dicom(source))))


def write_clean(source: Path, raw: Radiograph, out: Path, identity: Identity, *, suspects: bool) -> Cleaned:
    """Write a DICOM file as DICOM and a raster as PNG, both without compression that loses anything.

    Pixels are always written decoded: comments of a compressed stream, bits above the stored ones and what lies behind
    the last row stay behind.

    Args:
        source: which was read.
        raw: what was read of it.
        out: where to write, without a suffix.
        identity: of the patient.
        suspects: whether to write an image although words are suspected in it.

    Raises:
        UnreadableSource: words are suspected in the pixels, or the file lacks what every DICOM file must have.
    """
    if not suspects and (words := words_in(source, raw)):
        raise UnreadableSource(
            f"what looks like a word is drawn in the pixels (found by {_rules(words)}); look at it, and see "
            "`--burned-in redact` and `--keep-suspects`"
        )
    return _write(source, raw, out, identity, suspects=suspects)


def write_redacted(source: Path, read: Callable[[Path], Radiograph], out: Path, identity: Identity) -> Cleaned:
    """Write what ``write_clean`` writes, with the boxes around words black.

    What was written is read and searched again. What is found then is blacked out as well, twice at most.

    Args:
        source: a DICOM file or a raster.
        read: decodes it.
        out: where to write, without a suffix.
        identity: of the patient.

    Raises:
        UnreadableSource: words are still found, their boxes cover too much of the image, pixels outside of the boxes
            changed, or see ``write_clean``. Nothing is left of what was written then.
    """
    raw = read(source)
    words = words_in(source, raw)
    written: Path | None = None
    try:
        for _ in range(_ROUNDS):
            cleaned = _write(source, raw, out, identity, suspects=False, words=words)
            assert isinstance(cleaned.source, Path), "an image is written to a file"
            written = cleaned.source
            again = read(written)
            if not (left := words_in(written, again)):
                _require_same(source, raw, written, again, words)
                return cleaned
            words = merged([*words, *left])
        raise UnreadableSource(
            f"words are still found in the pixels (by {_rules(left)}) after {_ROUNDS} rounds of blacking them out; "
            "look at it, and see `--keep-suspects`"
        )
    except UnreadableSource:
        if written is not None:
            written.unlink()
        raise


def _write(
    source: Path, raw: Radiograph, out: Path, identity: Identity, *, suspects: bool, words: Sequence[Word] = ()
) -> Cleaned:
    if raw.facts["format"] != "dicom":
        return _write_raster(raw, out, words)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _write_dicom(read_stored(source), out, identity, suspects=suspects, words=words)
        except (UnreadableSource, OSError):
            raise
        except Exception as error:
            raise UnreadableSource(f"its header cannot be cleaned or written ({type(error).__name__})") from None


def _rules(words: Sequence[Word]) -> str:
    return " and ".join(sorted(frozenset[str]().union(*(word.rules for word in words))))


def _redaction(words: Sequence[Word]) -> Counter[str]:
    return Counter(f"words blacked out in pixels (found by {_rules([word])})" for word in words)


def _mask(words: Sequence[Word], shape: tuple[int, ...]) -> Bool[np.ndarray, "H W"]:
    """The boxes of words, each with a margin of half its shorter side, in which letters may stand that no rule took."""
    mask = np.zeros(shape[:2], dtype=bool)
    for (top, bottom, left, right), _ in words:
        margin = max(_LEAST_MARGIN, round(min(bottom - top, right - left) / 2))
        mask[max(0, top - margin) : bottom + margin, max(0, left - margin) : right + margin] = True
    if mask.mean() > _LARGEST_SHARE:
        raise UnreadableSource(
            f"words seem to cover {mask.mean():.0%} of the image, expected at most {_LARGEST_SHARE:.0%}; look at it, "
            "and see `--keep-suspects`"
        )
    return mask


def _require_same(source: Path, raw: Radiograph, written: Path, again: Radiograph, words: Sequence[Word]) -> None:
    before, after = raw.pixels, again.pixels
    if raw.facts["format"] == "dicom" and raw.facts["photometric"] == again.facts["photometric"]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            before, after = read_stored(source).pixels, read_stored(written).pixels
    outside = ~_mask(words, before.shape)
    if not np.array_equal(before[outside], after[outside]):
        raise UnreadableSource("its pixels outside of the blacked out boxes would change; a fault of the plugin")


def _write_raster(raw: Radiograph, out: Path, words: Sequence[Word]) -> Cleaned:
    """Pixels alone: a colour that was read as its luminance is written as that."""
    most = 2 ** int(raw.facts["bits"]) - 1
    stored = np.round(raw.pixels.astype(np.float64) * most).astype(np.uint8 if most == 255 else np.uint16)
    stored[_mask(words, stored.shape)] = 0
    written = out.with_name(f"{out.name}.png")
    # Square pixels need no statement; PNG keeps any other shape as pixels per metre.
    density = None if raw.pixel_aspect == 1 else (_DENSITY * raw.pixel_aspect, _DENSITY)
    Image.fromarray(stored).save(written, dpi=density)
    return Cleaned(source=written, removed={"metadata of a raster": 1, **_redaction(words)})


def _write_dicom(stored: Stored, out: Path, identity: Identity, *, suspects: bool, words: Sequence[Word]) -> Cleaned:
    dataset = stored.dataset
    if not suspects and not words and str(dataset.get("BurnedInAnnotation", "")).strip().upper() == "YES":
        raise UnreadableSource("the header says BurnedInAnnotation YES; look at it, and see `--keep-suspects`")
    if not dataset.get("SOPClassUID"):
        raise UnreadableSource("DICOM without a SOP Class UID, which a file must have")
    clean, removed = clean_dicom(dataset, identity=identity, standard=STANDARD)
    # The list has them for ECGs; here their bytes would leave without being read.
    if clean.pop("WaveformSequence", None) is not None:
        removed["elements not on the list"] += 1
    pixels = stored.pixels
    if str(dataset.PhotometricInterpretation) == "PALETTE COLOR":
        # Unused entries of a palette may hold text.
        pixels = apply_color_lut(pixels, dataset)
        clean.BitsStored, clean.HighBit = pixels.dtype.itemsize * 8, pixels.dtype.itemsize * 8 - 1
        clean.PixelRepresentation = 0
    if words:
        pixels = pixels.copy()
        pixels[_mask(words, pixels.shape)] = _black(stored)
        _declare_redaction(clean, words)
    _set_pixels(clean, pixels)
    removed["bits above those stored"] += stored.unused == "cleared"
    if not clean.get("SOPInstanceUID"):
        clean.SOPInstanceUID = identity.uid(out.name)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = clean.SOPClassUID, clean.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    written = out.with_name(f"{out.name}.dcm")
    FileDataset("", dict(clean), file_meta=meta, preamble=b"\0" * 128).save_as(written, enforce_file_format=True)
    return Cleaned(source=written, removed=+removed + _redaction(words))


def _black(stored: Stored) -> int:
    """The value of the image that is shown darkest: of a grey one either its smallest or its largest."""
    pixels, dataset = stored.pixels, stored.dataset
    if pixels.ndim == 3 or str(dataset.PhotometricInterpretation) == "PALETTE COLOR":  # written as RGB
        return 0
    shown, _ = to_display(dataset, pixels, limits=stored.limits, window=0)
    return int(pixels.flat[min((pixels.argmin(), pixels.argmax()), key=lambda place: float(shown.flat[place]))])


def _declare_redaction(dataset: Dataset, words: Sequence[Word]) -> None:
    """What PS3.15 E.3.1 asks of a file whose pixels were cleaned."""
    dataset.BurnedInAnnotation = "NO"
    message = f"words in the pixels blacked out: {len(words)}, found by {_rules(words)}"
    dataset.DeidentificationMethod = [str(dataset.get("DeidentificationMethod", "")), message]
    option = Dataset()
    option.CodeValue, option.CodingSchemeDesignator, option.CodeMeaning = "113101", "DCM", "Clean Pixel Data Option"
    dataset.DeidentificationMethodCodeSequence.append(option)


def _set_pixels(dataset: Dataset, pixels: np.ndarray) -> None:
    content = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    dataset.BitsAllocated = pixels.dtype.itemsize * 8
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    dataset["PixelData"].VR = "OW"
    if pixels.ndim == 3:
        dataset.PhotometricInterpretation, dataset.PlanarConfiguration, dataset.SamplesPerPixel = "RGB", 0, 3
