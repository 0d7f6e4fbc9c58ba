"""Insert labels into the text of a cohort file, of which everything else stays, comments as well."""

import json
from collections.abc import Sequence

import yaml
from yaml.nodes import MappingNode, Node, SequenceNode


def with_labels(text: str, labels: Sequence[str]) -> str:
    """Return the text of a cohort file with more labels, each called like its column.

    Args:
        text: text of a valid cohort file with a block mapping at its top.
        labels: names of columns that are no labels yet.
    """
    document = yaml.compose(text, Loader=yaml.CSafeLoader)
    assert isinstance(document, MappingNode), "read_spec accepts mappings only"
    found = next((value for key, value in document.value if key.value == "labels"), None)
    if not isinstance(found, MappingNode | SequenceNode):
        return _with_new_entry(text, found, labels)
    names = [json.dumps(label, ensure_ascii=False) if _needs_quotes(label) else label for label in labels]
    entries = [f"{name}: {{column: {name}}}" for name in names] if isinstance(found, MappingNode) else names
    last = _last(found)
    if found.flow_style:
        place = found.end_mark.index - 1 if last is found else last.end_mark.index
        return f"{text[:place]}{', ' if found.value else ''}{', '.join(entries)}{text[place:]}"
    lines = text.splitlines(keepends=True)
    start = lines[_first(found).start_mark.line]
    indent = start[: len(start) - len(start.lstrip())]
    bullet = "- " if isinstance(found, SequenceNode) else ""
    line = last.end_mark.line
    lines[line] = lines[line].rstrip("\r\n") + "\n"
    return "".join([*lines[: line + 1], *(f"{indent}{bullet}{entry}\n" for entry in entries), *lines[line + 1 :]])


def _with_new_entry(text: str, empty: Node | None, labels: Sequence[str]) -> str:
    """Return the text with a list of labels at its end, or as the value of a key that has none."""
    if empty is None:
        return text.rstrip("\n") + "\n" + yaml.safe_dump({"labels": list(labels)}, allow_unicode=True)
    start, end = empty.start_mark.index, empty.end_mark.index
    return f"{text[:start]} {json.dumps(list(labels), ensure_ascii=False)}{text[end:]}"


def _first(node: MappingNode | SequenceNode) -> Node:
    first = node.value[0]
    return first[0] if isinstance(node, MappingNode) else first


def _last(node: Node) -> Node:
    """Return the last scalar or flow collection of a node: a block collection ends only where the next entry begins."""
    children = node.value if isinstance(node, MappingNode | SequenceNode) else []
    if not children:
        return node
    last = children[-1][1] if isinstance(node, MappingNode) else children[-1]
    return last if isinstance(last, MappingNode | SequenceNode) and last.flow_style else _last(last)


def _needs_quotes(label: str) -> bool:
    """Return whether a name is not a plain scalar everywhere, as in a flow mapping or before a colon."""
    return not label.replace("_", "a").isalnum()
