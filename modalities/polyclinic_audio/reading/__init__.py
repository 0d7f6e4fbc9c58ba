"""Readers of sound files in WAV, FLAC, OGG and MP3."""
