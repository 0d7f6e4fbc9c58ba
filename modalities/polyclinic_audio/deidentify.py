"""De-identify recordings: write only their samples."""

from pathlib import Path

import numpy as np
import soundfile

from polyclinic.modality import Cleaned, UnreadableSource, labelled_names
from polyclinic_audio.reading.reader import FORMATS, open_sound

_LOSSLESS = ("wav", "flac")
_INTEGER_TYPES = {"PCM_S8": "int16", "PCM_U8": "int16", "PCM_16": "int16", "PCM_24": "int32", "PCM_32": "int32"}
_BLOCK_FRAMES = 1 << 20


def tag_names(source: Path) -> list[str]:
    """Return names of persons in the tags of a sound file: those with a label, and the artist."""
    with soundfile.SoundFile(source) as file:
        tags = file.copy_metadata()
    message = "\n".join(f"{key}: {value}" for key, value in tags.items())
    return [*labelled_names(message), *(tags[key] for key in ("artist",) if key in tags)]


def write_clean_sound(source: Path, out: Path) -> Cleaned:
    """Write the samples and nothing else: no tags, no other chunks, nothing after the end of the sound.

    Integer WAV and FLAC keep their format, and floating-point WAV its precision. Anything else is decoded to 32-bit
    floating-point WAV, because compressing it again would change it.

    Raises:
        UnreadableSource: the file cannot be written.
    """
    try:
        with open_sound(source) as file:
            kind, encoding = FORMATS[file.format], file.subtype
            integer = kind in _LOSSLESS and encoding in _INTEGER_TYPES
            dtype = _INTEGER_TYPES[encoding] if integer else "float64" if encoding == "DOUBLE" else "float32"
            subtype = encoding if integer or encoding == "DOUBLE" else "FLOAT"
            target = out.with_name(f"{out.name}.{kind if integer else 'wav'}")
            with soundfile.SoundFile(
                target,
                "w",
                file.samplerate,
                file.channels,
                subtype=subtype,
                format="FLAC" if target.suffix == ".flac" else "WAV",
            ) as clean:
                _copy(file, clean, dtype)
    except soundfile.LibsndfileError as error:
        raise UnreadableSource(f"sound cannot be written ({type(error).__name__})") from None
    return Cleaned(source=target, removed={"tags and chunks of a sound file": 1})


def _copy(file: soundfile.SoundFile, clean: soundfile.SoundFile, dtype: str) -> None:
    while len(block := file.read(_BLOCK_FRAMES, dtype=dtype, always_2d=True)):
        clean.write(np.ascontiguousarray(block))
