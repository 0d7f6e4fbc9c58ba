"""Blocks of masked pretraining: masking, the joint encoder of several modalities, and their decoders."""
