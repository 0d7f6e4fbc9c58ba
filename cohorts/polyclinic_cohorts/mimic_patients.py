"""Patients of MIMIC-IV: columns, and age in a year."""

PATIENTS = {"subject_id": "BIGINT", "gender": "VARCHAR", "anchor_age": "INTEGER", "anchor_year": "INTEGER"}

UNKNOWN_AGE = "an anchor_age above 89 stands for any such age; before the anchor year the age is then not known"


def age_in(year: str) -> str:
    """Age in a calendar year, in SQL, beside the columns of ``PATIENTS``; null where it is not known."""
    return f"(CASE WHEN anchor_age <= 89 OR {year} >= anchor_year THEN anchor_age + {year} - anchor_year END)"
