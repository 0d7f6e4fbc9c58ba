"""The decoder of each transfer syntax, and its licence.

The choice is fixed here and does not depend on the installed packages: pydicom would use any decoder that it finds,
including ``pylibjpeg-libjpeg`` (GPL), and GDCM, which can end the process on a broken stream, in place of a decoder
that refuses it.
"""

from importlib.metadata import PackageNotFoundError, metadata, version
from typing import NamedTuple

from pydicom import uid
from pydicom.pixels import get_decoder

ENCAPSULATED_UNCOMPRESSED = uid.UID("1.2.840.10008.1.2.1.98")
"""Encapsulated Uncompressed Explicit VR Little Endian (PS3.5 A.4.11), missing in pydicom."""


class _Choice(NamedTuple):
    """pydicom's name of a decoder, and the distribution that provides it."""

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
    """Return the installed decoder of each transfer syntax that this plugin reads.

    Returns:
        By transfer syntax UID, the package with its version, and its licence; both are empty if the package is
        missing. Other syntaxes (video, JPEG 2000 part 2) are refused by name.
    """
    return {syntax: _installed(choice.distribution) for syntax, choice in _CHOICES.items()}


def decoders_by_format() -> dict[str, tuple[str, str]]:
    """Return the distribution of each decoder by UID and name, and its version and licence (empty if missing)."""
    entries = decoders()
    return {
        name_of(syntax): (
            choice.distribution,
            " ".join([*entries[syntax][0].split()[1:], entries[syntax][1]]).strip(),
        )
        for syntax, choice in _CHOICES.items()
    }


def decoder_of(syntax: str) -> str | None:
    """Return pydicom's name of the decoder of a transfer syntax: empty for uncompressed pixels, None if missing."""
    choice = _CHOICES.get(syntax)
    if choice is None:
        return None
    if choice.plugin and choice.plugin not in get_decoder(syntax).available_plugins:
        return None
    return choice.plugin


def name_of(syntax: str) -> str:
    """Return the UID and name of a transfer syntax for messages."""
    name = uid.UID(syntax).name
    return f"{syntax}, {name}" if name != syntax else syntax


def _installed(distribution: str) -> tuple[str, str]:
    try:
        return f"{distribution} {version(distribution)}", _licence(distribution)
    except PackageNotFoundError:
        return "", ""


def _licence(distribution: str) -> str:
    """Return the licence in a distribution's metadata: its SPDX expression, or else its classifiers."""
    fields = metadata(distribution)
    if "License-Expression" in fields:
        return str(fields["License-Expression"])
    classifiers = [
        classifier.split(" :: ")[-1]
        for classifier in fields.get_all("Classifier", [])
        if classifier.startswith("License")
    ]
    return ", ".join(classifiers) or "not stated"
