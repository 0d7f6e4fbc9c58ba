"""De-identify radiographs: clean the header, write decoded pixels, and refuse or black out words drawn in them."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image
from pydicom.dataset import Dataset

from polyclinic.modality import Cleaned, Identity, UnreadableSource, nested_names
from polyclinic_dicom.stored import Stored
from polyclinic_dicom.write import clean_dataset, refused_if_not_writable, write_dataset
from polyclinic_xray.issues import raster_names
from polyclinic_xray.radiograph import Radiograph
from polyclinic_xray.reading.burned_in import Word, merged, words_in
from polyclinic_xray.reading.dicom import parse_radiograph, read_stored
from polyclinic_xray.reading.palette import palette_colours
from polyclinic_xray.reading.voi import to_display

_MAX_ROUNDS, _MIN_MARGIN, _MAX_REDACTED_SHARE = 3, 2, 0.3
_PIXELS_PER_METRE = 1000.0


def header_names(source: Path) -> Iterable[str]:
    """Return names in a DICOM header at any depth, or names that a label or tag in a raster's metadata marks."""
    with source.open("rb") as stream:
        is_raster = stream.read(3) in (b"\x89PN", b"\xff\xd8\xff")
    with warnings.catch_warnings():
        # pydicom and Pillow warn about every odd value, which does not matter here.
        warnings.simplefilter("ignore")
        return raster_names(source) if is_raster else list(dict.fromkeys(nested_names(parse_radiograph(source))))


def write_clean(source: Path, raw: Radiograph, out: Path, identity: Identity, *, suspects: bool) -> Cleaned:
    """Write a DICOM file as DICOM and a raster as PNG, both lossless.

    Pixels are always written decoded, which drops comments in a compressed stream, bits above the stored ones and
    bytes after the last row.

    Args:
        source: original file.
        raw: radiograph decoded from ``source``.
        out: path of the new file without a suffix.
        identity: identity of the patient.
        suspects: write an image even if words are suspected in it.

    Raises:
        UnreadableSource: words are suspected in the pixels, or the file lacks a mandatory DICOM element.
    """
    if not suspects and (words := words_in(source, raw)):
        raise UnreadableSource(
            f"what looks like a word is drawn in the pixels (found by {_rules(words)}); look at it, and see "
            "`--burned-in redact` and `--keep-suspects`"
        )
    return _write(source, raw, out, identity, suspects=suspects)


def write_redacted(source: Path, read: Callable[[Path], Radiograph], out: Path, identity: Identity) -> Cleaned:
    """Write the same file as ``write_clean``, with the boxes around words blacked out.

    The new file is read and searched again, and words found there are blacked out as well, at most twice.

    Args:
        source: original DICOM file or raster.
        read: function that decodes a file.
        out: path of the new file without a suffix.
        identity: identity of the patient.

    Raises:
        UnreadableSource: words are still found, their boxes cover too much of the image, or pixels outside the boxes
            changed; see also ``write_clean``. The new file is then deleted.
    """
    raw = read(source)
    words = words_in(source, raw)
    target: Path | None = None
    try:
        for _ in range(_MAX_ROUNDS):
            cleaned = _write(source, raw, out, identity, suspects=False, words=words)
            assert isinstance(cleaned.source, Path), "an image is written to a file"
            target = cleaned.source
            again = read(target)
            if not (hits := words_in(target, again)):
                _require_same(source, raw, target, again, words)
                return cleaned
            words = merged([*words, *hits])
        raise UnreadableSource(
            f"words are still found in the pixels (by {_rules(hits)}) after {_MAX_ROUNDS} rounds of blacking them out; "
            "look at it, and see `--keep-suspects`"
        )
    except UnreadableSource:
        if target is not None:
            target.unlink()
        raise


def _write(
    source: Path, raw: Radiograph, out: Path, identity: Identity, *, suspects: bool, words: Sequence[Word] = ()
) -> Cleaned:
    if raw.facts["format"] != "dicom":
        return _write_raster(raw, out, words)
    with refused_if_not_writable():
        return _write_dicom(read_stored(source), out, identity, suspects=suspects, words=words)


def _rules(words: Sequence[Word]) -> str:
    return " and ".join(sorted(frozenset[str]().union(*(word.rules for word in words))))


def _redaction(words: Sequence[Word]) -> Counter[str]:
    return Counter(f"words blacked out in pixels (found by {_rules([word])})" for word in words)


def _mask(words: Sequence[Word], shape: tuple[int, ...]) -> Bool[np.ndarray, "H W"]:
    """Mask the boxes of words, each with a margin of half its shorter side for letters that no rule found."""
    mask = np.zeros(shape[:2], dtype=bool)
    for (top, bottom, left, right), _ in words:
        margin = max(_MIN_MARGIN, round(min(bottom - top, right - left) / 2))
        mask[max(0, top - margin) : bottom + margin, max(0, left - margin) : right + margin] = True
    if mask.mean() > _MAX_REDACTED_SHARE:
        raise UnreadableSource(
            f"words seem to cover {mask.mean():.0%} of the image, expected at most {_MAX_REDACTED_SHARE:.0%}; look at "
            "it, and see `--keep-suspects`"
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
        raise UnreadableSource(
            "redaction would change pixels outside the blacked-out boxes; this is a bug, please report it"
        )


def _write_raster(raw: Radiograph, out: Path, words: Sequence[Word]) -> Cleaned:
    """Write the pixels without any metadata; a colour image is written as the luminance that was read."""
    most = 2 ** int(raw.facts["bits"]) - 1
    stored = np.round(raw.pixels.astype(np.float64) * most).astype(np.uint8 if most == 255 else np.uint16)
    stored[_mask(words, stored.shape)] = 0
    target = out.with_name(f"{out.name}.png")
    # PNG stores the shape of pixels that are not square as pixels per metre.
    density = None if raw.pixel_aspect == 1 else (_PIXELS_PER_METRE * raw.pixel_aspect, _PIXELS_PER_METRE)
    Image.fromarray(stored).save(target, dpi=density)
    return Cleaned(source=target, removed={"metadata of a raster": 1, **_redaction(words)})


def _write_dicom(stored: Stored, out: Path, identity: Identity, *, suspects: bool, words: Sequence[Word]) -> Cleaned:
    dataset = stored.dataset
    if not suspects and not words and str(dataset.get("BurnedInAnnotation", "")).strip().upper() == "YES":
        raise UnreadableSource("the header says BurnedInAnnotation YES; look at it, and see `--keep-suspects`")
    clean, removed = clean_dataset(dataset, identity=identity)
    # Waveforms are listed for ECGs; here their bytes would be written without having been read.
    if clean.pop("WaveformSequence", None) is not None:
        removed["elements not on the list"] += 1
    pixels = stored.pixels
    if str(dataset.PhotometricInterpretation) == "PALETTE COLOR":
        # Written as RGB, because unused entries of a palette may hold text.
        pixels = palette_colours(pixels, dataset)
        clean.BitsStored, clean.HighBit = pixels.dtype.itemsize * 8, pixels.dtype.itemsize * 8 - 1
        clean.PixelRepresentation = 0
    if words:
        pixels = pixels.copy()
        pixels[_mask(words, pixels.shape)] = _black(stored)
        _declare_redaction(clean, words)
    _set_pixels(clean, pixels)
    removed["bits above those stored"] += stored.unused == "cleared"
    return Cleaned(source=write_dataset(clean, out, identity), removed=+removed + _redaction(words))


def _black(stored: Stored) -> int:
    """Return the stored value that is shown darkest; in a grey image either the smallest or the largest."""
    pixels, dataset = stored.pixels, stored.dataset
    if pixels.ndim == 3 or str(dataset.PhotometricInterpretation) == "PALETTE COLOR":  # written as RGB
        return 0
    shown, _ = to_display(dataset, pixels, limits=stored.limits, window=0)
    return int(pixels.flat[min((pixels.argmin(), pixels.argmax()), key=lambda index: float(shown.flat[index]))])


def _declare_redaction(dataset: Dataset, words: Sequence[Word]) -> None:
    """Set the elements that PS3.15 E.3.1 requires in a file whose pixels were cleaned."""
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
