"""Select the radiographs of a study by view, for data sets with several views and folders."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from polyclinic.cohort.build import DataRoot, Flow
from polyclinic.cohort.build.data_root import literal

Unit = Literal["study", "image"]


def below(root: DataRoot, path: Path) -> str:
    """Return a SQL literal with the path prefix from the root to a folder below it."""
    folder = path.relative_to(root.path).as_posix()
    return literal("" if folder == "." else f"{folder}/")


def named_folder(root: DataRoot, name: str, *, setting: str, holding: str = "") -> Path:
    """Return a folder below the root that a setting names.

    Raises:
        ValueError: the folder lies outside the root, does not exist, or does not contain ``holding``.
    """
    folder = root.path / name
    if Path(name).is_absolute() or ".." in Path(name).parts or not (folder / holding).is_dir():
        raise ValueError(
            f"`{setting}` is not a folder below the data root{f' that holds {holding}' if holding else ''}; set it"
        )
    return folder


def preference(view: str, views: Sequence[str]) -> str:
    """Return a SQL expression for the index of a view in ``views``; null for a view that is not listed.

    Raises:
        ValueError: ``views`` is empty.
    """
    if not views:
        raise ValueError("got no views, expected at least one; set `--views`")
    cases = " ".join(f"WHEN {literal(name)} THEN {index}" for index, name in enumerate(views))
    return f"CASE {view} {cases} END"


def choose_radiographs(
    root: DataRoot, flow: Flow, table: str, *, views: Sequence[str], unit: Unit, order: str = "image"
) -> None:
    """Exclude other views, missing files and, with one row per study, all but the preferred image.

    Args:
        root: base folder of the paths in ``xray``.
        flow: flow of the table.
        table: table with the columns ``xray`` (null if missing), ``image`` (id), ``study``, ``view``, and
            ``preference``, which is null for a view that is not used.
        views: views to use, from which ``preference`` was made.
        unit: unit of a row, a study or an image.
        order: SQL order of the images of a study with the same view.
    """
    flow.exclude(table, f"view is not one of {', '.join(views)}", "preference IS NULL")
    verdicts = root.checked(table, "xray")
    flow.exclude(
        table, "image is missing", f"xray IS NULL OR xray IN (SELECT file FROM {verdicts} WHERE verdict != '')"
    )
    if unit == "study":
        first = f"SELECT first(image ORDER BY preference, {order}) FROM {table} GROUP BY study"
        flow.exclude(table, "another image of the study is preferred", f"image NOT IN ({first})")
    root.connection.execute(f"ALTER TABLE {table} DROP preference")
