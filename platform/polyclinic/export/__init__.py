"""Export a checkpoint and its evaluation as a bundle."""
