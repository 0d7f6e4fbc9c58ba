"""Cohort builders for public data sets, registered under the entry-point group ``polyclinic.cohorts``."""
