import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from polyclinic.modality import UnreadableSource
from polyclinic_audio import Audio
from polyclinic_audio.reading.container import refuse_truncated
from polyclinic_audio.reading.mpeg import parse_header
from polyclinic_audio.recording import Recording

RATE = 8000
_TIME = np.arange(2 * RATE) / RATE
TONE = 0.4 * np.sin(2 * np.pi * 440 * _TIME)


def _write(path: Path, samples: np.ndarray, rate: int = RATE, **settings: str) -> Path:
    soundfile.write(path, samples, rate, **settings)
    return path


def _mean_spectrum(audio: Audio, path: Path) -> np.ndarray:
    item = audio.prepare(audio.read(path))
    return item["mel"][: int(item["frames"])].numpy().mean(axis=0)


@pytest.mark.parametrize(
    ("suffix", "subtype", "tolerance"),
    [("wav", "PCM_16", 1e-4), ("wav", "FLOAT", 1e-7), ("flac", "PCM_16", 1e-4), ("ogg", "VORBIS", 0.05)],
)
def test_every_format_returns_the_written_samples(tmp_path: Path, suffix: str, subtype: str, tolerance: float) -> None:
    stereo = np.stack([TONE, 0.5 * TONE], axis=1)
    recording = Audio().read(_write(tmp_path / f"a.{suffix}", stereo, subtype=subtype))
    assert recording.rate == RATE
    np.testing.assert_allclose(recording.samples, 0.75 * TONE, atol=tolerance)
    assert recording.facts["format"] == suffix
    assert recording.facts["channels"] == 2.0
    assert recording.facts["seconds"] == pytest.approx(2.0)


def test_mp3_has_the_spectrum_of_its_wav(tmp_path: Path) -> None:
    audio = Audio(seconds=2.0, mels=32)
    as_mp3, as_wav = (_mean_spectrum(audio, _write(tmp_path / name, TONE, 44100 // 2)) for name in ("a.mp3", "a.wav"))
    assert as_mp3.argmax() == as_wav.argmax()
    assert audio.read(tmp_path / "a.mp3").facts["format"] == "mp3"


@pytest.mark.parametrize("rate", [2000, 4000, 11025, 44100])
def test_a_tone_falls_into_its_band_at_any_rate(tmp_path: Path, rate: int) -> None:
    tone = 0.3 * np.sin(2 * np.pi * 600 * np.arange(3 * rate) / rate)
    audio = Audio(seconds=2.0, mels=64)
    path = _write(tmp_path / "a.wav", tone, rate)
    corners = np.linspace(0, 15 + 27 * np.log(2) / np.log(6.4), 66)
    assert abs(_mean_spectrum(audio, path).argmax() - np.abs(corners[1:-1] - 9).argmin()) <= 1
    described = audio.describe(audio.read(path))
    assert described["resampled"] == ("no" if rate == 4000 else f"{rate} to 4000 Hz")


def test_the_crop_is_centred_and_short_recordings_are_padded() -> None:
    audio = Audio(seconds=1.0, frame=(40.0, 20.0))
    noise = np.random.default_rng(0).normal(size=12000).astype(np.float32)
    long, middle, short = (
        audio.prepare(Recording(samples, 4000, {})) for samples in (noise, noise[4000:8000], noise[:1640])
    )
    np.testing.assert_array_equal(long["mel"], middle["mel"])
    assert int(short["frames"]) == 21
    assert not short["mel"][21:].any()
    assert short["mel"][:21].mean() == pytest.approx(0, abs=1e-4)
    assert not audio.augment(short, np.random.default_rng(0))["mel"][21:].any()


def test_only_fixed_normalisation_keeps_the_level() -> None:
    noise = np.random.default_rng(0).normal(size=8000).astype(np.float32) * 0.1
    loud, quiet = (Recording(noise * gain, 4000, {}) for gain in (1.0, 0.1))
    fixed, per_recording = Audio(seconds=2.0, fixed_level=(-75.0, 10.0)), Audio(seconds=2.0)
    difference = fixed.prepare(loud)["mel"] - fixed.prepare(quiet)["mel"]
    np.testing.assert_allclose(difference, 2.0, atol=1e-3)
    np.testing.assert_allclose(per_recording.prepare(loud)["mel"], per_recording.prepare(quiet)["mel"], atol=1e-3)


def test_the_share_of_clipped_samples_is_measured(tmp_path: Path) -> None:
    clipped = np.clip(3 * np.sin(2 * np.pi * 97 * _TIME), -1, 1)
    expected = 1 - 2 / np.pi * np.arcsin(0.99 / 3)
    assert Audio().read(_write(tmp_path / "a.wav", clipped)).facts["clipping"] == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(0), "zero length"),
        (np.zeros(RATE), "silent"),
        (np.stack([TONE, -TONE], axis=1), "silent"),
        (np.where(np.arange(len(TONE)) == 7, np.nan, TONE), "not finite"),
        (np.tile(TONE, 3), "max_seconds"),
    ],
)
def test_unusable_sound_is_refused(tmp_path: Path, samples: np.ndarray, reason: str) -> None:
    path = _write(tmp_path / "doe.wav", samples, subtype="FLOAT")
    with pytest.raises(UnreadableSource, match=reason) as caught:
        Audio(max_seconds=5.0).read(path)
    assert "doe" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str, share: float) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, size=4 * RATE)
    path = _write(tmp_path / f"doe.{suffix}", noise)
    Audio().read(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UnreadableSource):
        Audio().read(path)


def test_other_formats_and_inline_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match="AIFF"):
        Audio().read(_write(tmp_path / "a.aiff", TONE))
    (tmp_path / "b.wav").write_bytes(b"RIFF\x10\0\0\0WAVEnothing here")
    with pytest.raises(UnreadableSource):
        Audio().read(tmp_path / "b.wav")
    with pytest.raises(UnreadableSource, match="inline"):
        Audio().read("a wheeze")


def _mpeg(samples: np.ndarray, rate: int, mode: str = "VARIABLE") -> bytes:
    stream = io.BytesIO()
    soundfile.write(
        stream, samples, rate, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode=mode, compression_level=0.6
    )
    return stream.getvalue()


def _without_xing(content: bytes) -> bytes:
    header = parse_header(content[:4])
    assert header is not None
    assert b"Xing" in content[: header.size] or b"Info" in content[: header.size]
    return content[header.size :]


def _count_samples(content: bytes) -> int:
    """Count the samples that the frame headers of a stream without tags declare."""
    place, samples = 0, 0
    while header := parse_header(content[place : place + 4]):
        place, samples = place + header.size, samples + header.samples
    assert place == len(content)
    return samples


def _quiet_then_loud(rate: int, channels: int = 1) -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=(3 * rate, channels)) * 0.2
    noise[:rate] *= 1e-3
    return noise


@pytest.mark.public_report(17)
@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (16000, 2), (22050, 1), (44100, 1), (48000, 2)])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_mpeg_without_a_stated_length_is_read_to_its_end(tmp_path: Path, rate: int, channels: int, mode: str) -> None:
    content = _without_xing(_mpeg(_quiet_then_loud(rate, channels), rate, mode))
    (tmp_path / "a.mp3").write_bytes(
        b"ID3\x04\0\0\0\0\0\x20\xff\xfb\x90\0".ljust(42, b"\0") + content + b"TAG".ljust(128)
    )
    recording = Audio().read(tmp_path / "a.mp3")
    frame = 576 if rate < 32000 else 1152
    assert abs(len(recording.samples) - _count_samples(content)) < frame
    assert recording.samples[: rate // 2].std() < 0.02 < recording.samples[rate + rate // 2 :].std()
    np.testing.assert_array_equal(Audio().read(tmp_path / "a.mp3").samples, recording.samples)


@pytest.mark.public_report(17)
def test_joined_mpeg_streams_are_read_completely_or_refused(tmp_path: Path) -> None:
    path, stream, other_rate = (
        tmp_path / "a.mp3",
        _mpeg(_quiet_then_loud(16000), 16000),
        _mpeg(_quiet_then_loud(22050), 22050),
    )
    path.write_bytes(stream)
    np.testing.assert_allclose(Audio().read(path).samples, soundfile.read(path, dtype="float32")[0], atol=1e-6)
    assert len(Audio().read(path).samples) == 48000
    bare = _without_xing(stream)
    for content in (
        stream + stream,
        bare + bare,
        stream + bare,
        bare + stream,
        stream + b"ID3\x03\0\0\0\0\0\x02ab" + stream,
    ):
        path.write_bytes(content)
        assert abs(len(Audio().read(path).samples) - 2 * _count_samples(bare)) < 576
    for content, message in [
        (bare + other_rate, "different rate"),
        (bare[:-7], "cut short in the middle"),
        (stream[: len(stream) - _size_of_last_frame(stream)], "cut short: got"),
        (bare + b"x" * 99, "neither sound nor a tag"),
        (bare * 4, "max_seconds"),
        (b"\xff\xfb\x00\xc4" + bare, "free format"),
    ]:
        path.write_bytes(content)
        with pytest.raises(UnreadableSource, match=message):
            Audio(max_seconds=9.0).read(path)


@pytest.mark.parametrize("length", [20, 256])
def test_an_ape_tag_with_only_a_footer_is_not_read_as_sound(tmp_path: Path, length: int) -> None:
    bare = _without_xing(_mpeg(_quiet_then_loud(16000), 16000))
    item = struct.pack("<II", length, 0) + b"Comment\0" + b"x" * length
    footer = b"APETAGEX" + struct.pack("<4I", 2000, len(item) + 32, 1, 0) + b"\0" * 8
    path = tmp_path / "a.mp3"
    for content in (bare + item + footer, bare + item + footer + b"TAG".ljust(128) + b"\0" * 50):
        path.write_bytes(content)
        assert abs(len(Audio().read(path).samples) - _count_samples(bare)) < 576
    path.write_bytes(bare + b"x" + item + footer)
    with pytest.raises(UnreadableSource, match="neither sound nor a tag"):
        Audio().read(path)


def _size_of_last_frame(content: bytes) -> int:
    place, size = 0, 0
    while header := parse_header(content[place : place + 4]):
        place, size = place + header.size, header.size
    return size


def test_mpeg_inside_a_wav_file_is_refused(tmp_path: Path) -> None:
    content = _mpeg(_quiet_then_loud(8000), 8000)
    described = struct.pack("<HHIIHHHHIHHH", 0x55, 1, 8000, 8000, 1, 0, 12, 1, 2, 417, 1, 1393)
    chunks = b"WAVEfmt " + struct.pack("<I", 30) + described + b"data" + struct.pack("<I", len(content)) + content
    (tmp_path / "a.wav").write_bytes(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)
    with pytest.raises(UnreadableSource, match="MPEG sound inside a WAV"):
        Audio().read(tmp_path / "a.wav")


@pytest.mark.parametrize(("form", "endian"), [("RF64", "FILE"), ("WAV", "BIG"), ("WAVEX", "FILE")])
def test_truncated_wave_files_with_other_headers_are_refused(tmp_path: Path, form: str, endian: str) -> None:
    path = _write(tmp_path / "a.wav", TONE, format=form, endian=endian)
    content = path.read_bytes()
    np.testing.assert_allclose(Audio().read(path).samples, TONE, atol=1e-4)
    for missing_bytes in (1, len(content) // 2, len(content) - 50):
        path.write_bytes(content[:-missing_bytes])
        with pytest.raises(UnreadableSource, match=r"cut short|without a data chunk"):
            Audio().read(path)


def test_rf64_with_a_second_long_chunk_is_read(tmp_path: Path) -> None:
    content = _write(tmp_path / "a.wav", TONE, format="RF64").read_bytes()
    start = content.index(b"data")
    sizes = content[12:20].replace(struct.pack("<I", 28), struct.pack("<I", 40)) + content[20:44] + struct.pack("<I", 1)
    long_chunk = b"JUNK" + struct.pack("<I", 0xFFFFFFFF) + bytes(6)
    (tmp_path / "a.wav").write_bytes(
        content[:12] + sizes + b"JUNK" + struct.pack("<Q", 6) + content[48:start] + long_chunk + content[start:]
    )
    refuse_truncated(tmp_path / "a.wav")
    (tmp_path / "a.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:-2])
    with pytest.raises(UnreadableSource, match="RF64 is cut short"):
        Audio().read(tmp_path / "a.wav")


@pytest.mark.parametrize(("suffix", "message"), [("flac", "several FLAC"), ("ogg", "several OGG")])
def test_joined_files_are_refused_rather_than_read_by_half(tmp_path: Path, suffix: str, message: str) -> None:
    path = _write(tmp_path / f"a.{suffix}", TONE)
    content = path.read_bytes()
    path.write_bytes(content + content)
    with pytest.raises(UnreadableSource, match=message):
        Audio().read(path)
