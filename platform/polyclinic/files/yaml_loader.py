"""YAML loader for cohorts, prompts, search spaces and experiments: text keys, without duplicates."""

import re
from typing import Any

import jsonargparse
import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

_MAX_DEPTH = 100
_MAX_NODES = 1_000_000
"""Limit on values after alias expansion: a few lines of nested aliases can expand to billions ("billion laughs")."""

_MERGE = ("tag:yaml.org,2002:merge", re.compile(r"^(?:<<)$"))
# YAML 1.2 numbers with an exponent, such as 1e-4, which YAML 1.1 reads as text.
_FLOAT = re.compile(
    r"^[-+]?(?:(?:\d[\d_]*\.[\d_]*|\.\d[\d_]*)(?:[eE][-+]?\d+)?|\d[\d_]*[eE][-+]?\d+"
    r"|\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)


class YamlProblem(yaml.YAMLError):
    """A fault of a YAML text, worded to follow the file name: ``names 'labels' twice (lines 3 and 9)``."""


class _Loader(yaml.CSafeLoader):
    """Loader with typed values and text keys: ``1:`` and ``no:`` stay text."""

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        self.flatten_mapping(node)
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}


class _TextLoader(_Loader):
    """Loader that keeps plain values as text, too: ``no``, ``1.0`` and ``null``."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in entries if not tag.endswith((":timestamp", ":float"))]
    for first, entries in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
_TextLoader.yaml_implicit_resolvers = {"<": [_MERGE]}


def load_yaml(content: str | bytes, *, name: str, as_text: bool = False) -> Any:
    """Parse one YAML document.

    Args:
        content: text or bytes of the file.
        name: file name, for messages.
        as_text: whether plain scalars stay text instead of becoming numbers, booleans and None.

    Raises:
        ValueError: the content is not one YAML document, a key occurs twice in one mapping or is not a scalar, nesting
            exceeds 100 levels, or aliases are recursive or expand to more than a million values.
    """
    try:
        return _load(content, _TextLoader if as_text else _Loader)
    except YamlProblem as problem:
        raise ValueError(f"{name} {problem}") from None
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(f"{name} is not YAML: {error.problem}{line}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{name} is not YAML: {' '.join(str(error).split())}") from None


def register_loader() -> None:
    """Make every jsonargparse parser read YAML by the same rules."""
    jsonargparse.set_loader("yaml", _load_argument, exceptions=(yaml.YAMLError,))


def _load_argument(text: str) -> Any:
    try:
        value = _load(text, _Loader)
    except ValueError as error:
        raise YamlProblem(str(error)) from None
    # On a command line, `name:` and `{a, b}` are words, not mappings without values.
    empty = isinstance(value, dict) and bool(value) and all(entry is None for entry in value.values())
    return text if empty and re.fullmatch(r"[^:\n]*:|\{[^:{}]*\}", text.strip()) else value


def _load(content: str | bytes, loader: type[_Loader]) -> Any:
    try:
        _refuse_deep(content)
    except yaml.MarkedYAMLError as error:
        _refuse_tab(content, error)
        raise
    reading = loader(content)
    try:
        node = reading.get_single_node()
        if node is None:
            return None
        _Nodes().count(node)
        return reading.construct_document(node)
    finally:
        reading.dispose()


def _refuse_tab(content: str | bytes, error: yaml.MarkedYAMLError) -> None:
    """Name a tab as the cause of an error: libyaml reports a character that cannot start a token."""
    lines = (content.decode(errors="replace") if isinstance(content, bytes) else content).splitlines()
    mark = error.problem_mark
    if mark is not None and mark.line < len(lines) and "\t" in lines[mark.line][: mark.column + 1]:
        raise YamlProblem(f"has a tab in line {mark.line + 1}, expected spaces; indent with spaces") from None


def _refuse_deep(content: str | bytes) -> None:
    """Check the depth on the event stream, which does not recurse: libyaml crashes on very deep nesting."""
    depth = 0
    for event in yaml.parse(content, Loader=yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            line = f" in line {event.start_mark.line + 1}" if event.start_mark else ""
            raise YamlProblem(f"is nested deeper than {_MAX_DEPTH} levels{line}")


class _Nodes:
    """Count the values of a document after alias expansion, and refuse duplicate keys."""

    def __init__(self) -> None:
        self._counted: dict[int, int] = {}
        self._open: set[int] = set()

    def count(self, node: Node) -> int:
        """Return the number of values that a node expands to."""
        if id(node) in self._open:
            raise YamlProblem(f"has an alias in line {node.start_mark.line + 1} that contains itself")
        if id(node) not in self._counted:
            self._open.add(id(node))
            self._counted[id(node)] = total = 1 + sum(map(self.count, _children(node)))
            self._open.discard(id(node))
            if total > _MAX_NODES:
                raise YamlProblem(f"has aliases that expand to more than {_MAX_NODES:,} values")
        return self._counted[id(node)]


def _children(node: Node) -> list[Node]:
    if isinstance(node, SequenceNode):
        return list(node.value)
    if not isinstance(node, MappingNode):
        return []
    lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, ScalarNode):
            raise YamlProblem(f"has a list or a mapping as a key in line {line}, expected a text")
        if (first := lines.get((_kind(key), key.value))) is not None:
            raise YamlProblem(f"names {key.value!r} twice (lines {first} and {line}); keep one of them")
        lines[_kind(key), key.value] = line
    return [value for _, value in node.value]


def _kind(key: ScalarNode) -> str:
    """Distinguish merge keys from text keys: a quoted ``<<`` is text."""
    return "merge" if key.tag == _MERGE[0] else "text"
