"""Simple models on the same studies: what a trained model has to beat."""
