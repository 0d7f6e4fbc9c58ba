"""Bundles in the MLflow registry: logged without pickle and without a network, loaded as a flavour of MLflow."""
