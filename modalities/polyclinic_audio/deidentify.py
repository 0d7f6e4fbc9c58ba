"""Recordings without what names their patient: their samples alone."""

from pathlib import Path

import numpy as np
import soundfile

from polyclinic.modality import Cleaned, UnreadableSource, labelled_names
from polyclinic_audio.reading.reader import FORMATS, open_sound

_KEPT = ("wav", "flac")
_WHOLE = {"PCM_S8": "int16", "PCM_U8": "int16", "PCM_16": "int16", "PCM_24": "int32", "PCM_32": "int32"}
_BLOCK = 1 << 20


def tag_names(source: Path) -> list[str]:
    """Names that the tags of a sound file tell by a label, and who is said to play."""
    with soundfile.SoundFile(source) as file:
        tags = file.copy_metadata()
    message = "\n".join(f"{key}: {value}" for key, value in tags.items())
    return [*labelled_names(message), *(tags[key] for key in ("artist",) if key in tags)]


def write_clean_sound(source: Path, out: Path) -> Cleaned:
    """Write samples and nothing else: no tags, no chunks beside the sound, nothing behind its end.

    WAV and FLAC of whole numbers stay what they are, WAV of floating point becomes that of 32 or 64 bits. Anything else
    is decoded to WAV of 32 bit floating point, as compressing it again would change it.

    Raises:
        UnreadableSource: it cannot be written.
    """
    try:
        with open_sound(source) as file:
            kind, encoding = FORMATS[file.format], file.subtype
            whole = kind in _KEPT and encoding in _WHOLE
            dtype = _WHOLE[encoding] if whole else "float64" if encoding == "DOUBLE" else "float32"
            kept = encoding if whole or encoding == "DOUBLE" else "FLOAT"
            written = out.with_name(f"{out.name}.{kind if whole else 'wav'}")
            with soundfile.SoundFile(
                written,
                "w",
                file.samplerate,
                file.channels,
                subtype=kept,
                format="FLAC" if written.suffix == ".flac" else "WAV",
            ) as clean:
                _copy(file, clean, dtype)
    except soundfile.LibsndfileError as error:
        raise UnreadableSource(f"sound cannot be written ({type(error).__name__})") from None
    return Cleaned(source=written, removed={"tags and chunks of a sound file": 1})


def _copy(file: soundfile.SoundFile, clean: soundfile.SoundFile, dtype: str) -> None:
    while len(block := file.read(_BLOCK, dtype=dtype, always_2d=True)):
        clean.write(np.ascontiguousarray(block))
