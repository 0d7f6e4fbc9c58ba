"""What a hospital runs: the bundle, the scorer, the service and its page."""
