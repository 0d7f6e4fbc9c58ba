"""Patients and files of a split that the weights were trained on."""
