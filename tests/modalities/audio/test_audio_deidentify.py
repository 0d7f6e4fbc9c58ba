"""De-identified recordings hold samples and nothing else."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from polyclinic.modality import Identity, UnreadableSource
from polyclinic_audio import Audio

SECRET = "DOE^JOHN"
IDENTITY = Identity(key=b"0123456789abcdef" * 2, patient="4711", names=(SECRET,))


def sound(folder: Path, kind: str, encoding: str) -> Path:
    samples = 0.5 * np.random.default_rng(0).standard_normal((4000, 2)).clip(-1, 1)
    with soundfile.SoundFile(folder / f"study.{kind.lower()}", "w", 4000, 2, encoding, format=kind) as file:
        file.title = file.artist = file.comment = f"Patient name: {SECRET}"
        file.write(samples)
    return folder / f"study.{kind.lower()}"


def cleaned(source: Path, folder: Path) -> Path:
    (folder / "out").mkdir(exist_ok=True)
    written = Audio().deidentify(source, folder / "out/abc", IDENTITY, suspects=False).source
    assert isinstance(written, Path)
    assert [file.name for file in (folder / "out").iterdir()] == [written.name]
    return written


@pytest.mark.parametrize(
    ("kind", "encoding", "suffix", "subtype"),
    [
        ("WAV", "PCM_U8", ".wav", "PCM_U8"),
        ("WAV", "PCM_16", ".wav", "PCM_16"),
        ("WAV", "PCM_24", ".wav", "PCM_24"),
        ("WAV", "PCM_32", ".wav", "PCM_32"),
        ("WAV", "FLOAT", ".wav", "FLOAT"),
        ("WAV", "DOUBLE", ".wav", "DOUBLE"),
        ("WAV", "ULAW", ".wav", "FLOAT"),
        ("FLAC", "PCM_16", ".flac", "PCM_16"),
        ("FLAC", "PCM_24", ".flac", "PCM_24"),
        ("OGG", "VORBIS", ".wav", "FLOAT"),
    ],
)
def test_deidentification_removes_tags_and_keeps_samples(
    kind: str, encoding: str, suffix: str, subtype: str, tmp_path: Path
) -> None:
    source = sound(tmp_path, kind, encoding)
    assert SECRET.encode() in source.read_bytes()
    written = cleaned(source, tmp_path)
    assert SECRET.encode() not in written.read_bytes()
    assert (written.suffix, soundfile.info(written).subtype) == (suffix, subtype)
    before, after = Audio().read(source), Audio().read(written)
    np.testing.assert_array_equal(after.samples, before.samples)
    assert after.rate == before.rate
    assert [issue.code for issue in Audio().issues(written, after)] == [
        issue.code for issue in Audio().issues(source, before) if issue.code != "header-identifiers"
    ]


def test_chunks_that_no_tag_reader_knows_are_removed_too(tmp_path: Path) -> None:
    source = sound(tmp_path, "WAV", "PCM_16")
    extra = b"".join(name + len(SECRET).to_bytes(4, "little") + SECRET.encode() for name in (b"bext", b"id3 ", b"XYZ "))
    content = source.read_bytes() + extra
    source.write_bytes(content[:4] + (len(content) - 8).to_bytes(4, "little") + content[8:] + SECRET.encode())
    assert SECRET.encode() not in cleaned(source, tmp_path).read_bytes()


def test_names_come_from_the_tags_that_name_people(tmp_path: Path) -> None:
    assert {SECRET, f"Patient name: {SECRET}"} <= set(Audio().names(sound(tmp_path, "FLAC", "PCM_16")))


def test_a_broken_recording_is_refused_without_writing_a_file(tmp_path: Path) -> None:
    broken = sound(tmp_path, "WAV", "PCM_16")
    broken.write_bytes(broken.read_bytes()[:-500])
    with pytest.raises(UnreadableSource, match="cut short"):
        cleaned(broken, tmp_path)
    assert list((tmp_path / "out").iterdir()) == []
