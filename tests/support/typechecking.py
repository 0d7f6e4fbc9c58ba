"""Checks every signature that names an array while the tests run; mypy checks the types of the others.

The import hook of jaxtyping wraps each function of a package: that doubled the time of small tests and added ten
seconds to the start of every test process.
"""

import ast
import dataclasses
import sys
from collections.abc import Sequence
from functools import partial
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import cache_from_source
from types import CodeType, ModuleType
from typing import Any, get_args
from unittest.mock import patch

from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray, jaxtyped

_check = jaxtyped(typechecker=beartype(conf=BeartypeConf(is_pep484_tower=True)))


def check(decorated: Any) -> Any:
    """Return a function or dataclass with checks, or unchanged if none of its annotations contains an array."""
    if isinstance(decorated, type):
        annotations = [field.type for field in dataclasses.fields(decorated)] if _is_dataclass(decorated) else []
    else:
        annotations = list(getattr(decorated, "__annotations__", {}).values())
    return _check(decorated) if any(map(_contains_array, annotations)) else decorated


def _is_dataclass(decorated: type) -> bool:
    return "__dataclass_fields__" in vars(decorated)


def _contains_array(annotation: object) -> bool:
    if isinstance(annotation, list):  # the arguments of a Callable
        return any(map(_contains_array, annotation))
    if isinstance(annotation, type) and issubclass(annotation, AbstractArray):
        return True
    return any(map(_contains_array, get_args(annotation)))


class _Checked(ast.NodeTransformer):
    """Decorates functions below their other decorators, and classes above them: dataclasses are made by then."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.decorator_list.append(_decorator(node))
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.decorator_list.insert(0, _decorator(node))
        return self.generic_visit(node)


def _decorator(node: ast.AST) -> ast.expr:
    call = ast.parse(f"__import__({__name__!r}).check", mode="eval").body
    return ast.copy_location(call, node)


class _Loader(SourceFileLoader):
    """Compiles with checks, into files of another name than those of the product."""

    def get_code(self, fullname: str) -> CodeType | None:
        names = partial(cache_from_source, optimization="checked")
        with patch("importlib._bootstrap_external.cache_from_source", names):
            return super().get_code(fullname)

    def source_to_code(self, data: Any, path: Any, *, _optimize: int = -1) -> CodeType:
        tree = ast.fix_missing_locations(_Checked().visit(ast.parse(data, path)))
        code: CodeType = compile(tree, path, "exec", dont_inherit=True, optimize=_optimize)
        return code


class _Finder(PathFinder):
    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith("polyclinic"):
            return None
        spec = super().find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


sys.meta_path.insert(0, _Finder())
