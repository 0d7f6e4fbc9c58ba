"""Conditions on the rows of a table: what they select, what they are compared with, and what is not a condition."""

import pandas as pd
import pytest

from polyclinic.cohort.row_filter import RowFilter

TABLE = pd.DataFrame(
    {
        "view": ["PA", "AP", "L", ""],
        "age": ["17", "18.0", "", ">89"],
        "Heart axis": ["left", "right", "left", "left"],
    }
)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("view == 'PA'", [1, 0, 0, 0]),
        ("view != 'PA'", [0, 1, 1, 1]),
        ("view in ['PA', 'AP'] and age >= 18", [0, 1, 0, 0]),
        ("view not in ('PA', 'AP')", [0, 0, 1, 1]),
        ("not (view == 'PA' or view == 'L')", [0, 1, 0, 1]),
        ("age == 18", [0, 1, 0, 0]),
        ("age == '18'", [0, 0, 0, 0]),  # a text is compared with the complete cell
        ("age != 18", [1, 0, 1, 1]),
        ("age < 1000", [1, 1, 0, 0]),  # no number in the cell: no comparison holds
        ("age > -1", [1, 1, 0, 0]),
        ("`Heart axis` == 'left' and view == ''", [0, 0, 0, 1]),
        (" view == ' PA ' ", [1, 0, 0, 0]),
        ("view in []", [0, 0, 0, 0]),
    ],
)
def test_rows_that_meet_the_condition(text: str, rows: list[int]) -> None:
    assert RowFilter(text).rows(TABLE).tolist() == [bool(row) for row in rows]


def test_the_columns_that_a_condition_names() -> None:
    assert RowFilter("`Heart axis` == 'left' or age < 3 or `Heart axis` == 'right'").columns == ("Heart axis", "age")


@pytest.mark.parametrize(
    "text",
    [
        "view", "view ==", "view = 'PA'", "'PA' == view", "1 < age < 3", "view == age", "view is 'PA'", "view < 'PA'",
        "view in 'PA'", "view in [age]", "len(view) == 2", "view.str == 'PA'", "view == f'{age}'", "view == None",
        "age == True", "age == 1j", "__import__('os').system('true') == 0", "lambda: 0", "view == 'PA'; age == 3",
        "(view := 'PA') == 'PA'", "`` == 'left'", "-view == 3", "not " * 3000 + "age == 3", "(" * 3000, "age == -'1'",
    ],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="got where"):
        RowFilter(text)


def test_a_condition_longer_than_a_page_is_refused() -> None:
    with pytest.raises(ValueError, match="of 10008 characters"):
        RowFilter("age == 1" + " " * 10_000)
