"""Find the files of a data set that its tables name without their folder."""

from polyclinic.cohort.build import DataRoot
from polyclinic.cohort.build.data_root import file_pattern


def create_paths(root: DataRoot, table: str, pattern: str) -> None:
    """Create a table of the files below the root that match a pattern: ``name``, and ``path`` relative to the root.

    Hidden files and folders, such as the ``._`` files in archives from a Mac, are omitted.

    Args:
        root: base folder of the paths.
        table: name of the table.
        pattern: pattern such as ``**/*.png``, relative to the root.
    """
    relative = f"substr(file, {len(str(root.path).rstrip('/')) + 2})"
    root.connection.execute(f"""
        CREATE OR REPLACE TABLE {table} AS SELECT parse_filename(path) AS name, path
        FROM (SELECT {relative} AS path FROM glob({file_pattern(root.path, pattern)}))
        WHERE path NOT LIKE '.%' AND path NOT LIKE '%/.%'
    """)


def refuse_repeated_names(root: DataRoot, table: str, *, folder: str, setting: str) -> None:
    """Refuse files of the same name in several folders, as nothing states which of them a table means.

    Args:
        root: data root with the table.
        table: table from ``create_paths``.
        folder: description of the folder that the setting names.
        setting: setting that the error message suggests.

    Raises:
        ValueError: two files have the same name.
    """
    found = root.connection.execute(
        f"SELECT count(*) FROM (SELECT name FROM {table} GROUP BY name HAVING count(*) > 1)"
    ).fetchone()
    assert found is not None
    if found[0]:
        raise ValueError(
            f"{found[0]:,} file names occur in several folders below the root, expected one each; "
            f"set `{setting}` to {folder}"
        )


def pattern_below(folder: str, pattern: str, *, setting: str, root: DataRoot) -> str:
    """Return a pattern for files in a folder below the root, or anywhere below it if ``folder`` is empty.

    Raises:
        ValueError: the folder lies outside the root or does not exist.
    """
    if not folder:
        return pattern
    inside = (root.path / folder).resolve()
    if not inside.is_dir() or not inside.is_relative_to(root.path.resolve()):
        raise ValueError(f"`{setting}` is not a folder below the data root; set it")
    return f"{inside.relative_to(root.path.resolve()).as_posix()}/{pattern}"
