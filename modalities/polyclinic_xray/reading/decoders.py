"""Which installed package decodes which transfer syntax, and under which licence.

The choice is fixed here and not left to what happens to be installed: pydicom would take any decoder that it finds,
``pylibjpeg-libjpeg`` (GPL) included, and GDCM where another decoder refuses a broken stream without ending the process.
"""

from importlib.metadata import PackageNotFoundError, metadata, version
from typing import NamedTuple

from pydicom import uid
from pydicom.pixels import get_decoder

ENCAPSULATED_UNCOMPRESSED = uid.UID("1.2.840.10008.1.2.1.98")
"""Encapsulated Uncompressed Explicit VR Little Endian (PS3.5 A.4.11), which pydicom does not list."""


class _Choice(NamedTuple):
    """pydicom's name of a decoder, and the distribution it comes from."""

    plugin: str
    distribution: str


_NATIVE = _Choice("", "pydicom")
_OPENJPEG = _Choice("pylibjpeg", "pylibjpeg-openjpeg")
_CHOICES: dict[str, _Choice] = {
    uid.ImplicitVRLittleEndian: _NATIVE,
    uid.ExplicitVRLittleEndian: _NATIVE,
    ENCAPSULATED_UNCOMPRESSED: _NATIVE,
    uid.DeflatedExplicitVRLittleEndian: _NATIVE,
    uid.ExplicitVRBigEndian: _NATIVE,
    uid.JPEGBaseline8Bit: _Choice("pillow", "pillow"),
    uid.JPEGExtended12Bit: _Choice("gdcm", "python-gdcm"),
    uid.JPEGLossless: _Choice("gdcm", "python-gdcm"),
    uid.JPEGLosslessSV1: _Choice("gdcm", "python-gdcm"),
    uid.JPEGLSLossless: _Choice("pyjpegls", "pyjpegls"),
    uid.JPEGLSNearLossless: _Choice("pyjpegls", "pyjpegls"),
    uid.JPEG2000Lossless: _OPENJPEG,
    uid.JPEG2000: _OPENJPEG,
    uid.HTJ2KLossless: _OPENJPEG,
    uid.HTJ2KLosslessRPCL: _OPENJPEG,
    uid.HTJ2K: _OPENJPEG,
    uid.RLELossless: _Choice("pylibjpeg", "pylibjpeg-rle"),
}


def decoders() -> dict[str, tuple[str, str]]:
    """What decodes the pixels of each transfer syntax here.

    Returns:
        Per UID of a transfer syntax that this plugin reads, the package with its version and its licence; both empty
        where the package is missing. A syntax that is not listed (video, JPEG 2000 part 2) is refused by name.
    """
    return {syntax: _installed(choice.distribution) for syntax, choice in _CHOICES.items()}


def decoders_by_format() -> dict[str, tuple[str, str]]:
    """The same by UID and name: the distribution, and its version and licence here, empty where it is missing."""
    found = decoders()
    return {
        name_of(syntax): (choice.distribution, " ".join([*found[syntax][0].split()[1:], found[syntax][1]]).strip())
        for syntax, choice in _CHOICES.items()
    }


def decoder_of(syntax: str) -> str | None:
    """pydicom's name of the decoder for a transfer syntax (empty for uncompressed pixels); None where there is none."""
    choice = _CHOICES.get(syntax)
    if choice is None:
        return None
    if choice.plugin and choice.plugin not in get_decoder(syntax).available_plugins:
        return None
    return choice.plugin


def name_of(syntax: str) -> str:
    """UID and name of a transfer syntax, for messages."""
    known = uid.UID(syntax)
    return f"{syntax}, {known.name}" if known.name != syntax else syntax


def _installed(distribution: str) -> tuple[str, str]:
    try:
        return f"{distribution} {version(distribution)}", _licence(distribution)
    except PackageNotFoundError:
        return "", ""


def _licence(distribution: str) -> str:
    """As the distribution states it: an SPDX expression, or else the words of its classifiers."""
    stated = metadata(distribution)
    if "License-Expression" in stated:
        return str(stated["License-Expression"])
    classifiers = [each.split(" :: ")[-1] for each in stated.get_all("Classifier", []) if each.startswith("License")]
    return ", ".join(classifiers) or "not stated"
