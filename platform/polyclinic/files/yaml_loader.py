"""One YAML loader for cohorts, prompts, search spaces and experiments: keys are text, and none stands twice."""

import re
from typing import Any

import jsonargparse
import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

_DEEPEST = 100
_MOST_NODES = 1_000_000
"""Values after every alias is expanded: a few lines of aliases of aliases stand for billions."""

_MERGE = ("tag:yaml.org,2002:merge", re.compile(r"^(?:<<)$"))
# YAML 1.2 numbers with an exponent, such as 1e-4, which YAML 1.1 reads as text.
_FLOAT = re.compile(
    r"^[-+]?(?:(?:\d[\d_]*\.[\d_]*|\.\d[\d_]*)(?:[eE][-+]?\d+)?|\d[\d_]*[eE][-+]?\d+"
    r"|\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)


class YamlProblem(yaml.YAMLError):
    """What is wrong with a YAML text, as the second half of a sentence: ``names 'labels' twice (lines 3 and 9)``."""


class _Loader(yaml.CSafeLoader):
    """Typed values under keys that stay as they are written."""

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        self.flatten_mapping(node)
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}


class _TextLoader(_Loader):
    """Every plain value as it is written, too: ``no``, ``1.0`` and ``null`` are text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in entries if not tag.endswith((":timestamp", ":float"))]
    for first, entries in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
_TextLoader.yaml_implicit_resolvers = {"<": [_MERGE]}


def load_yaml(content: str | bytes, *, name: str, as_text: bool = False) -> Any:
    """The content of a YAML file.

    Args:
        content: of the file.
        name: of the file, for messages.
        as_text: whether plain scalars stay text as they are written, instead of becoming numbers, booleans and None.

    Raises:
        ValueError: not one YAML document, a key that stands twice in one mapping or is not a scalar, nesting deeper
            than 100, or aliases that contain themselves or stand for more than a million values.
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
    """Have every parser of jsonargparse read YAML by the same rules."""
    jsonargparse.set_loader("yaml", _load_argument, exceptions=(yaml.YAMLError,))


def _load_argument(text: str) -> Any:
    try:
        value = _load(text, _Loader)
    except ValueError as error:
        raise YamlProblem(str(error)) from None
    # `name:` and `{a, b}` are words of a command line, not mappings without values.
    empty = isinstance(value, dict) and bool(value) and all(one is None for one in value.values())
    return text if empty and re.fullmatch(r"[^:\n]*:|\{[^:{}]*\}", text.strip()) else value


def _load(content: str | bytes, loader: type[_Loader]) -> Any:
    _refuse_deep(content)
    reading = loader(content)
    try:
        node = reading.get_single_node()
        if node is None:
            return None
        _Nodes().count(node)
        return reading.construct_document(node)
    finally:
        reading.dispose()


def _refuse_deep(content: str | bytes) -> None:
    """By events, which need no stack: libyaml ends the process on a nesting that is deep enough."""
    depth = 0
    for event in yaml.parse(content, Loader=yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            line = f" in line {event.start_mark.line + 1}" if event.start_mark else ""
            raise YamlProblem(f"is nested deeper than {_DEEPEST} levels{line}")


class _Nodes:
    """Counts the values of a document with its aliases expanded, and refuses keys that stand twice."""

    def __init__(self) -> None:
        self._counted: dict[int, int] = {}
        self._open: set[int] = set()

    def count(self, node: Node) -> int:
        """Values that a node stands for."""
        if id(node) in self._open:
            raise YamlProblem(f"has an alias in line {node.start_mark.line + 1} that contains itself")
        if id(node) not in self._counted:
            self._open.add(id(node))
            self._counted[id(node)] = total = 1 + sum(map(self.count, _children(node)))
            self._open.discard(id(node))
            if total > _MOST_NODES:
                raise YamlProblem(f"has aliases that stand for more than {_MOST_NODES:,} values")
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
            raise YamlProblem(f"names {key.value!r} twice (lines {first} and {line}); leave one of them")
        lines[_kind(key), key.value] = line
    return [value for _, value in node.value]


def _kind(key: ScalarNode) -> str:
    """Quoted, ``<<`` is a text like any other."""
    return "merge" if key.tag == _MERGE[0] else "text"
