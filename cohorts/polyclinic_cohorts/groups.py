"""Age bands, hashed splits and tabular columns, shared by all builders."""

from collections.abc import Sequence

from polyclinic.cohort.build import DataRoot


def age_band(years: str) -> str:
    """Return a SQL expression for the age band of a column of years; null where the age is unknown."""
    return (
        f"CASE WHEN {years} < 18 THEN 'under 18' WHEN {years} < 40 THEN '18 to 39' WHEN {years} < 65 THEN '40 to 64' "
        f"WHEN {years} < 80 THEN '65 to 79' WHEN {years} < 90 THEN '80 to 89' WHEN {years} >= 90 THEN '90 and over' END"
    )


def hashed_split(patient: str, *, seed: int = 0, val: float = 0.1, test: float = 0.2) -> str:
    """Return a SQL expression for the split by a hash of the patient, which is stable when a data set grows.

    Args:
        patient: column of patient ids.
        seed: seed of the hash.
        val: share of validation patients.
        test: share of test patients.
    """
    # The first 32 bits of SHA-256 are the same in every version of DuckDB, unlike its hash().
    place = f"(('0x' || substr(sha256('{int(seed)}:' || CAST({patient} AS VARCHAR)), 1, 8))::UBIGINT / 4294967296.0)"
    return f"CASE WHEN {place} < {test} THEN 'test' WHEN {place} < {test + val} THEN 'val' ELSE 'train' END"


def tabular(data: DataRoot, table: str, columns: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """Return the entry ``tabular`` of the modalities, or none if no row has a value, as in part of a data set."""
    filled = " OR ".join(f"{name} IS NOT NULL" for name in columns)
    found = data.connection.execute(f"SELECT count(*) FROM {table} WHERE {filled}").fetchone()
    assert found is not None
    return {"tabular": {"columns": list(columns)}} if found[0] else {}
