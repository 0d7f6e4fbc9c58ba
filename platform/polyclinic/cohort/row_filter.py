"""Row filters of a cohort file, such as ``where: "modality == 'X-ray' and age >= 18"``."""

import ast
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
from jaxtyping import Bool

from polyclinic.cohort.cells import read_number

_QUOTED = re.compile(r"`([^`]+)`")
_MAX_LENGTH = 10_000
_ORDERS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge
}  # fmt: skip
_EXAMPLE = "expected comparisons such as \"view in ['PA', 'AP'] and age >= 18\""


@dataclass(frozen=True)
class RowFilter:
    """A condition on the cells of a row.

    Comparisons (``==``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``in``, ``not in``) of a column with a text, a number or
    a list of them are joined by ``and``, ``or``, ``not`` and brackets. A number is compared with the number in a cell,
    and with no cell that holds none; a text is compared with the complete cell. Names of columns that are not words are
    written between backticks. The text is parsed, never executed.

    Attributes:
        text: the condition as written.
        columns: columns that it names.

    Raises:
        ValueError: the text is not such a condition.
    """

    text: str

    def __post_init__(self) -> None:
        if len(self.text) > _MAX_LENGTH:
            raise ValueError(f"got where of {len(self.text)} characters, expected at most {_MAX_LENGTH}; shorten it")
        try:
            _check(self._parsed(), self.text)
        except RecursionError:
            raise ValueError(f"got where with conditions nested too deeply; {_EXAMPLE}") from None

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in the order of the text."""
        nodes = [node for node in ast.walk(self._parsed()) if isinstance(node, ast.Name)]
        return tuple(dict.fromkeys(self._column(node) for node in sorted(nodes, key=lambda node: node.col_offset)))

    def rows(self, table: pd.DataFrame) -> Bool[np.ndarray, " N"]:
        """Return which rows of a table of texts meet the condition."""
        return self._evaluate(self._parsed(), table)

    def _quoted(self) -> list[str]:
        return _QUOTED.findall(self.text)

    def _parsed(self) -> ast.expr:
        places = iter(range(len(self.text)))
        plain = _QUOTED.sub(lambda _: f"__quoted_{next(places)}", self.text)
        try:
            return ast.parse(plain.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise ValueError(f"got where {self.text!r}, which is not a condition; {_EXAMPLE}") from None

    def _column(self, node: ast.Name) -> str:
        place = node.id.removeprefix("__quoted_")
        return self._quoted()[int(place)] if place != node.id else node.id

    def _evaluate(self, node: ast.expr, table: pd.DataFrame) -> Bool[np.ndarray, " N"]:
        if isinstance(node, ast.BoolOp):
            parts = [self._evaluate(value, table) for value in node.values]
            return np.logical_and.reduce(parts) if isinstance(node.op, ast.And) else np.logical_or.reduce(parts)
        if isinstance(node, ast.UnaryOp):
            return ~self._evaluate(node.operand, table)
        comparison = cast(ast.Compare, node)
        cells = table[self._column(cast(ast.Name, comparison.left))].to_numpy(dtype=object)
        return _compare(cells, comparison.ops[0], ast.literal_eval(comparison.comparators[0]))


def _check(node: ast.expr, text: str) -> None:
    """Refuse anything but comparisons of a column with values, joined by ``and``, ``or`` and ``not``."""
    if isinstance(node, ast.BoolOp):
        for value in node.values:
            _check(value, text)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        _check(node.operand, text)
    elif not (
        isinstance(node, ast.Compare)
        and isinstance(node.left, ast.Name)
        and len(node.ops) == 1
        and _are_values(node.comparators[0], node.ops[0])
    ):
        raise ValueError(f"got where {text!r}, which compares no column with a value; {_EXAMPLE}")


def _are_values(node: ast.expr, op: ast.cmpop) -> bool:
    if isinstance(op, ast.In | ast.NotIn):
        return isinstance(node, ast.List | ast.Tuple) and all(_is_value(value) for value in node.elts)
    return _is_value(node) and (not isinstance(op, tuple(_ORDERS)) or not _is_text(node)) and not _is_identity(op)


def _is_identity(op: ast.cmpop) -> bool:
    return isinstance(op, ast.Is | ast.IsNot)


def _is_value(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        return _is_value(node.operand) and not _is_text(node.operand)
    return isinstance(node, ast.Constant) and type(node.value) in (str, int, float)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _compare(cells: np.ndarray, op: ast.cmpop, value: Any) -> Bool[np.ndarray, " N"]:
    if isinstance(op, ast.In | ast.NotIn):
        found = np.logical_or.reduce([np.zeros(len(cells), dtype=bool), *(_equal(cells, each) for each in value)])
        return ~found if isinstance(op, ast.NotIn) else found
    if isinstance(op, ast.Eq | ast.NotEq):
        return _equal(cells, value) ^ isinstance(op, ast.NotEq)
    # Comparisons with NaN, the number of a cell without one, are false.
    return np.asarray(_ORDERS[type(op)](_numbers(cells), float(value)), dtype=bool)


def _equal(cells: np.ndarray, value: str | float) -> Bool[np.ndarray, " N"]:
    same = cells == value.strip() if isinstance(value, str) else _numbers(cells) == float(value)
    return np.asarray(same, dtype=bool)


def _numbers(cells: np.ndarray) -> np.ndarray:
    return np.array([np.nan if (number := read_number(cell)) is None else float(number) for cell in cells], dtype=float)
