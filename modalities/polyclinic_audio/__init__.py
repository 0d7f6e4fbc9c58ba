"""Audio: breath and heart sounds from WAV, FLAC, OGG and MP3."""

from polyclinic_audio.plugin import Audio

__all__ = ["Audio"]
