"""Splits, percentiles and candidate sets of Symile-MIMIC (Saporta et al. 2024)."""

from collections.abc import Sequence

import duckdb

_HASH_ORDER = "sha256('{seed}:' || CAST(study_id AS VARCHAR))"


def drawn_split(connection: duckdb.DuckDBPyConnection, table: str, *, train: int, val: int, seed: int) -> None:
    """Add a column ``split`` to a table of studies.

    Studies are drawn one by one: first ``train`` studies, then ``val`` studies of patients who are not in train. The
    remaining studies of patients in neither split are the test split; all others have no split. The published draw is
    random with an unpublished seed; this one is ordered by a hash, so that it is reproducible.

    Args:
        connection: connection with the table, which has ``study_id`` and ``patient_id``.
        table: name of the table.
        train: number of training studies.
        val: number of validation studies.
        seed: seed of the draw.
    """
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE drawn AS
        WITH placed AS (SELECT study_id, patient_id,
                row_number() OVER (ORDER BY {_HASH_ORDER.format(seed=int(seed))}) AS place FROM {table}),
            train AS (SELECT * FROM placed WHERE place <= {int(train)}),
            rest AS (SELECT study_id, patient_id, row_number() OVER (ORDER BY place) AS place FROM placed
                WHERE place > {int(train)} AND patient_id NOT IN (SELECT patient_id FROM train)),
            val AS (SELECT * FROM rest WHERE place <= {int(val)})
        SELECT study_id, 'train' AS split FROM train UNION ALL SELECT study_id, 'val' FROM val
        UNION ALL SELECT study_id, 'test' FROM rest
            WHERE place > {int(val)} AND patient_id NOT IN (SELECT patient_id FROM val)
    """)
    connection.execute(f"ALTER TABLE {table} ADD COLUMN split VARCHAR")
    connection.execute(f"UPDATE {table} AS t SET split = drawn.split FROM drawn WHERE drawn.study_id = t.study_id")


def add_percentiles(connection: duckdb.DuckDBPyConnection, table: str, columns: Sequence[str]) -> None:
    """Add a column ``NAME_percentile`` to a table of studies for each given column.

    The percentile is the share of training values that are not larger, that is, the empirical distribution function.
    It is null where the value is null, and where no training study has a value.

    Args:
        connection: connection with the table, which has ``study_id`` and ``split``.
        table: name of the table.
        columns: names of numeric columns.
    """
    listed = ", ".join(f'"{column}"' for column in columns)
    # UNPIVOT needs a common type, and DuckDB may infer integers for some columns.
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE placed AS
        WITH long AS (UNPIVOT (SELECT study_id, split, {", ".join(f'CAST("{c}" AS DOUBLE) AS "{c}"' for c in columns)}
                FROM {table}) ON {listed} INTO NAME item VALUE value),
            ranked AS (SELECT study_id, item, count(*) FILTER (split = 'train') OVER (PARTITION BY item ORDER BY value
                    RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS below,
                count(*) FILTER (split = 'train') OVER (PARTITION BY item) AS known FROM long)
        SELECT study_id, item, below / nullif(known, 0) AS place FROM ranked
    """)
    places = ", ".join(f"any_value(place) FILTER (item = '{c}') AS \"{c}_percentile\"" for c in columns)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE wide AS SELECT study_id, {places} FROM placed GROUP BY study_id")
    connection.execute(f"""
        CREATE OR REPLACE TABLE {table} AS SELECT t.*, wide.* EXCLUDE (study_id)
        FROM {table} AS t LEFT JOIN wide ON wide.study_id = t.study_id
    """)


def candidate_sets(connection: duckdb.DuckDBPyConnection, table: str, *, candidates: int, seed: int) -> None:
    """Create a table ``candidates``: for each val and test study, the study itself and other studies of its split.

    The other studies are drawn without replacement and, as published, may be of the same patient.

    Args:
        connection: connection with the table, which has ``study_id`` and ``split``.
        table: name of the table.
        candidates: number of candidates per study, including the study.
        seed: seed of the draw.

    Raises:
        ValueError: a split has fewer studies than ``candidates``.
    """
    for split in ("val", "test"):
        counts = connection.execute(f"SELECT count(*) FROM {table} WHERE split = '{split}'").fetchone()
        if counts is not None and counts[0] < candidates:
            raise ValueError(
                f"got {counts[0]} {split} studies for sets of {candidates} candidates; set `--draw.candidates` or "
                "`--draw.sizes`"
            )
    place = f"sha256('{int(seed)}:' || CAST(q.study_id AS VARCHAR) || ':' || CAST(c.study_id AS VARCHAR))"
    connection.execute(f"""
        CREATE OR REPLACE TABLE candidates AS
        SELECT q.split, q.study_id AS query_study, c.study_id AS candidate_study,
            CAST(q.study_id = c.study_id AS INTEGER) AS label
        FROM {table} AS q JOIN {table} AS c ON c.split = q.split
        WHERE q.split IN ('val', 'test')
        QUALIFY row_number() OVER (PARTITION BY q.study_id ORDER BY label DESC, {place}) <= {int(candidates)}
    """)
