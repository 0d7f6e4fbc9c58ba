"""Which radiographs of a study a cohort has, for sets with several views and folders."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from polyclinic.cohort.build import DataRoot, Flow
from polyclinic.cohort.build.data_root import literal

Unit = Literal["study", "image"]


def below(root: DataRoot, path: Path) -> str:
    """What leads from the root to a file of a folder below it, in SQL."""
    folder = path.relative_to(root.path).as_posix()
    return literal("" if folder == "." else f"{folder}/")


def named_folder(root: DataRoot, name: str, *, setting: str, holding: str = "") -> Path:
    """A folder below the root that a user named.

    Raises:
        ValueError: it lies elsewhere, or is no folder that holds what it should.
    """
    folder = root.path / name
    if Path(name).is_absolute() or ".." in Path(name).parts or not (folder / holding).is_dir():
        raise ValueError(
            f"`{setting}` is no folder below the data root{f' that holds {holding}' if holding else ''}; set it"
        )
    return folder


def preference(view: str, views: Sequence[str]) -> str:
    """A column of views as the place in a list, in SQL; null for a view that is not in it.

    Raises:
        ValueError: the list is empty.
    """
    if not views:
        raise ValueError("got no views, expected at least one; set `--views`")
    cases = " ".join(f"WHEN {literal(one)} THEN {place}" for place, one in enumerate(views))
    return f"CASE {view} {cases} END"


def choose_radiographs(
    root: DataRoot, flow: Flow, table: str, *, views: Sequence[str], unit: Unit, order: str = "image"
) -> None:
    """Leave out views that are not wanted, files that are missing and, with one row per study, all but the first.

    Args:
        root: that ``xray`` starts from.
        flow: of the table.
        table: with ``xray``, ``image``, its id; ``study``; ``view``; and ``preference``, null for an unwanted view.
        views: that ``preference`` was made with.
        unit: what a row shall be.
        order: of the images of a study that are of the same view, in SQL.
    """
    flow.exclude(table, f"view is not one of {', '.join(views)}", "preference IS NULL")
    verdicts = root.checked(table, "xray")
    flow.exclude(table, "image is missing", f"xray IN (SELECT file FROM {verdicts} WHERE verdict != '')")
    if unit == "study":
        first = f"SELECT first(image ORDER BY preference, {order}) FROM {table} GROUP BY study"
        flow.exclude(table, "another image of the study is preferred", f"image NOT IN ({first})")
    root.connection.execute(f"ALTER TABLE {table} DROP preference")
