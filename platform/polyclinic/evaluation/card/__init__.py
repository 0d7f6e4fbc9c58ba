"""The evaluation card: what a model can do, for whom, and how far to believe it, on one page."""
