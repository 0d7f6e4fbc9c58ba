"""Audio plugin: breath and heart sounds from WAV, FLAC, OGG and MP3 files."""

from polyclinic_audio.plugin import Audio

__all__ = ["Audio"]
