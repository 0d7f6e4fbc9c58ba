"""Builders of cohorts from public data sets, one file each, registered under ``polyclinic.cohorts``."""
