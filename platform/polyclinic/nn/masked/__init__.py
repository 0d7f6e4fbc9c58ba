"""Blocks of masked pretraining: which tokens are hidden, the encoder of several modalities, and their decoders."""
