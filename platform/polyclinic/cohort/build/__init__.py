"""Build cohorts from public data sets in their published layout."""

from polyclinic.cohort.build.build import build_cohort
from polyclinic.cohort.build.builder import Built, CohortBuilder, Flow, installed_builders
from polyclinic.cohort.build.data_root import DataRoot

__all__ = ["Built", "CohortBuilder", "DataRoot", "Flow", "build_cohort", "installed_builders"]
