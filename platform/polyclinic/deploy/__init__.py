"""Deployment: the bundle, the scorer, the service and its page."""
