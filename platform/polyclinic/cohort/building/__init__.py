"""Cohorts built from public data sets as they lie on disk."""

from polyclinic.cohort.building.build import build_cohort
from polyclinic.cohort.building.builder import Built, CohortBuilder, installed_builders
from polyclinic.cohort.building.flow import Flow
from polyclinic.cohort.building.root import DataRoot

__all__ = ["Built", "CohortBuilder", "DataRoot", "Flow", "build_cohort", "installed_builders"]
