"""Models without their training, built from a closed table of classes."""
