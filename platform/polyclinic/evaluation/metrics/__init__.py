"""Metrics of scores against labels, with intervals over patients: pure functions over numpy arrays."""
