"""From a checkpoint and its evaluation to a bundle."""
