"""Read the table of a cohort, CSV or Parquet, as text."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from polyclinic.cohort.cells import read_number
from polyclinic.cohort.csv_file import DAMAGED, read_csv, refuse_repeated
from polyclinic.cohort.schema import CohortSpec, wanted_columns
from polyclinic.system.names import expected_name


def read_table(spec: CohortSpec) -> pd.DataFrame:
    """Read every cell as text without surrounding spaces; missing values are the empty string.

    A Parquet file is detected by its content, not its name; a named index becomes a column. For CSV see ``read_csv``.

    Raises:
        ValueError: the file is not a readable table, has no rows, or none that meet ``where``, or has two columns with
            the same name.
    """
    name = spec.table.name
    if not spec.table.is_file():
        raise ValueError(f"table {name!r} does not exist; set `table` in the cohort file")
    try:
        with spec.table.open("rb") as stream:
            is_parquet = stream.read(4) == b"PAR1"
        if is_parquet:
            table = read_parquet(spec.table)
        else:
            wanted = {column for columns in wanted_columns(spec).values() for column in columns}
            table = read_csv(spec.table, encoding=spec.encoding, wanted=wanted)
    except (pa.ArrowException, *DAMAGED) as error:
        raise ValueError(
            f"{name} cannot be read as a table ({type(error).__name__}); set `table` to a complete CSV or Parquet file"
        ) from None
    if table.empty:
        raise ValueError(f"{name} has no rows; set `table` to a table with one row per study")
    table = table.astype(str).apply(lambda column: column.str.strip())
    return _filtered(spec, table.mask(_missing(spec, table), ""))


def _filtered(spec: CohortSpec, table: pd.DataFrame) -> pd.DataFrame:
    if spec.where is None:
        return table
    if unknown := [column for column in spec.where.columns if column not in table.columns]:
        raise ValueError(
            f"`where` names column {unknown[0]!r}, which {spec.table.name} does not have, "
            f"{expected_name(unknown[0], table.columns)}; correct it in the cohort file"
        )
    rows = spec.where.rows(table)
    if not rows.any():
        raise ValueError(
            f"none of the {len(table)} rows of {spec.table.name} meets `where: {spec.where.text}`; change it"
        )
    return table[rows]


def read_parquet(path: Path) -> pd.DataFrame:
    """Read a Parquet file with every cell as text; a named index becomes a column.

    Raises:
        ValueError: two columns have the same name.
        pa.ArrowException: the file is damaged.
    """
    refuse_repeated(path.name, [column.name.strip() for column in pq.read_schema(path)])
    # Arrow types, as pandas types turn the integers of a column with missing values into floats.
    table = pd.read_parquet(path, dtype_backend="pyarrow")
    levels = [str(level) for level in table.index.names if level is not None]
    table = table.reset_index(names=levels) if levels and len(levels) == table.index.nlevels else table
    table.columns = pd.Index([str(column).strip() for column in table.columns])
    blank = table.isna()
    for column in table.columns:
        if pd.api.types.is_float_dtype(table[column].dtype):
            blank[column] |= np.isnan(table[column].to_numpy(dtype=float, na_value=np.nan))
    return table.astype(object).where(~blank, "").astype(str)


def _missing(spec: CohortSpec, table: pd.DataFrame) -> pd.DataFrame:
    """Mask the cells that `missing` lists: by text everywhere, and by number in columns of values, but not of ids."""
    missing = table.isin(spec.missing)
    numbers = {number for text in spec.missing if (number := read_number(text)) is not None}
    values = {column for source in spec.modalities.values() for column in source.get("columns", ())}
    values |= {label["column"] for label in spec.labels.values()} | set(spec.groups)
    for column in values & set(table.columns) if numbers else ():
        same = [cell for cell in table[column].unique() if read_number(cell) in numbers]
        missing[column] |= table[column].isin(same)
    return missing
