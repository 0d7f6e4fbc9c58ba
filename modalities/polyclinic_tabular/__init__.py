"""Tabular plugin: laboratory values, vital signs and coded facts from CSV files or columns of the cohort."""

from polyclinic_tabular.mlp_encoder import MLPEncoder
from polyclinic_tabular.plugin import Tabular

__all__ = ["MLPEncoder", "Tabular"]
