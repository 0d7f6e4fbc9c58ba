"""Read a table of any kind, CSV, Parquet or Excel, as text."""

import warnings
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow as pa

from polyclinic.cohort.csv_file import DAMAGED, read_csv, refuse_repeated, utf8_or_certain
from polyclinic.cohort.table import read_parquet

EXCEL = (".xlsx", ".xlsm")
_MAX_INFLATED_BYTES = 500_000_000


def read_any_table(path: Path, *, encoding: str = "") -> pd.DataFrame:
    """Read every cell as text without surrounding spaces; missing values are the empty string.

    Parquet is detected by its content and Excel, of which the first sheet is read, by its suffix; for CSV see
    ``read_csv``. CSV that is not UTF-8 is read where only one encoding gives plausible text, which is then named in
    ``attrs["encoding"]``.

    Args:
        path: table.
        encoding: encoding of CSV that is not UTF-8; unless set, it is found by its letters.

    Raises:
        ValueError: the file is not a readable table, or has two columns of the same name; the message names no cell.
    """
    found = "utf-8"
    try:
        with path.open("rb") as stream:
            is_parquet = stream.read(4) == b"PAR1"
        if is_parquet:
            table = read_parquet(path)
        elif path.suffix.lower() in EXCEL:
            table = _read_excel(path)
        else:
            found = utf8_or_certain(path, otherwise=encoding)
            table = read_csv(path, encoding=found, wanted=())
    except (pa.ArrowException, *DAMAGED) as error:
        raise ValueError(
            f"{path.name} cannot be read as a table ({type(error).__name__}), expected CSV, Parquet or Excel"
        ) from None
    table = table.astype(str).apply(lambda column: column.str.strip())
    if found not in ("utf-8", encoding):
        table.attrs["encoding"] = found
    return table


def _read_excel(path: Path) -> pd.DataFrame:
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > _MAX_INFLATED_BYTES:
        raise ValueError(f"{path.name} inflates to more than {_MAX_INFLATED_BYTES:,} bytes; save the sheet as CSV")
    try:
        with warnings.catch_warnings():
            # openpyxl warns about styles and validations that it leaves out; cells are complete.
            warnings.simplefilter("ignore")
            table = pd.read_excel(path, header=None, dtype=str, keep_default_na=False, engine="openpyxl")
    except (OSError, zipfile.BadZipFile):
        raise
    except Exception as error:  # openpyxl raises whatever the damage leads to
        raise ValueError(
            f"{path.name} cannot be read as Excel ({type(error).__name__}); save the sheet as CSV"
        ) from None
    if table.empty:
        raise ValueError(f"{path.name} is empty; expected a header and one row per study")
    header = [str(cell).strip() or f"Unnamed: {place}" for place, cell in enumerate(table.iloc[0])]
    refuse_repeated(path.name, header)
    rows = table.iloc[1:].set_axis(header, axis=1)
    return rows[(rows != "").any(axis=1)].reset_index(drop=True)  # sheets often end with rows that were cleared
