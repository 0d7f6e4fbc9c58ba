"""Models for inference, built from a closed table of classes."""
