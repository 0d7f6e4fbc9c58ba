"""Groups that every cohort names in the same way."""


def age_band(years: str) -> str:
    """A column of years, in SQL, as bands; null where the age is not known."""
    return (
        f"CASE WHEN {years} < 18 THEN 'under 18' WHEN {years} < 40 THEN '18 to 39' WHEN {years} < 65 THEN '40 to 64' "
        f"WHEN {years} < 80 THEN '65 to 79' WHEN {years} < 90 THEN '80 to 89' WHEN {years} >= 90 THEN '90 and over' END"
    )


def hashed_split(patient: str, *, seed: int = 0, val: float = 0.1, test: float = 0.2) -> str:
    """Train, val or test by a hash of the patient, in SQL; a patient stays where they are when a data set grows.

    Args:
        patient: column.
        seed: of the hash.
        val: share of the patients that select.
        test: share of the patients that test.
    """
    # The first 32 bits of SHA-256, which every version of every database computes alike.
    place = f"(('0x' || substr(sha256('{int(seed)}:' || CAST({patient} AS VARCHAR)), 1, 8))::UBIGINT / 4294967296.0)"
    return f"CASE WHEN {place} < {test} THEN 'test' WHEN {place} < {test + val} THEN 'val' ELSE 'train' END"
