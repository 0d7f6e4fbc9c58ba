"""The evaluation card: performance, calibration, subgroups and explanations of a model on one page."""
