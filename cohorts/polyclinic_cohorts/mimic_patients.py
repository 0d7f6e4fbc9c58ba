"""Columns of the patients of MIMIC-IV, and their age in a given year."""

PATIENTS = {"subject_id": "BIGINT", "gender": "VARCHAR", "anchor_age": "INTEGER", "anchor_year": "INTEGER"}

UNKNOWN_AGE = "an anchor_age above 89 is taken to mean any such age; before the anchor year the age is then unknown"


def age_in(year: str) -> str:
    """Return a SQL expression of ``PATIENTS`` columns for the age in a calendar year; null where it is unknown."""
    return f"(CASE WHEN anchor_age <= 89 OR {year} >= anchor_year THEN anchor_age + {year} - anchor_year END)"
