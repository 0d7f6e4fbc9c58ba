"""Parser of the commands: one spelling of options, flags without a value, and help that fits two screens."""

import re
import textwrap
from argparse import SUPPRESS, Action, HelpFormatter
from collections.abc import Mapping, Sequence, Set
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from jsonargparse import ArgumentParser

from polyclinic.cli.narrow import fitted
from polyclinic.files.yaml_loader import load_yaml
from polyclinic.system.names import perhaps

_WIDTH = 80
_COLUMN = 22
_SHARED = ("help", "config", "print_config")
_GROUPS = ("data", "trainer", "pictures", "last", "best", "average", "optimizer", "lr_scheduler")
_TRUTH = ("true", "false", "yes", "no")
_EXAMPLE = re.compile(r":\s+(polyclinic .+)")


class Parser(ArgumentParser):
    """Parser of one command, whose options may be written with dashes or underscores.

    A flag needs no value, ``--no-NAME`` negates it, and a positional argument may also be given by its name.

    Args:
        prog: words of the command.
        text: what the command does; an example may follow the first sentence after a colon, and then paragraphs.
    """

    def __init__(self, *, prog: str | None = None, text: str = "", **settings: Any) -> None:
        # jsonargparse makes parsers of the same class, without a text, for settings that are classes.
        super().__init__(prog=prog, **(dict[str, Any](description=text, exit_on_error=False) | settings))
        if text:
            self.add_argument("--config", action="config", help="file with options of this command, in YAML")

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None, **settings: Any) -> Any:  # type: ignore[override]
        """Parse the words of a command line; see ``spelled``."""
        if {"-h", "--help"} & {*(args or ())}:
            self.print_help()  # here, as jsonargparse marks no option as required while it parses
            self.exit()
        return super().parse_args(spelled(self, args or []), namespace, **settings)

    def print_help(self, file: Any = None) -> None:
        """Print the help in the width of the terminal."""
        print(fitted(self.format_help()), end="", file=file)

    def format_help(self, formatter: HelpFormatter | None = None) -> str:
        """Return the usage, the text, the arguments and the example, in 80 columns."""
        shown = [action for action in self._actions if action.dest not in _SHARED and action.help != SUPPRESS]
        positional = [action for action in shown if not action.option_strings]
        optional = [action for action in shown if action.option_strings]
        required = [_spelling(action) for action in optional if action.required]
        others = ["[options]"] if len(optional) > len(required) else []
        usage = " ".join([self.prog, *map(_placeholder, positional), *required, *others])
        first, example, paragraphs = _parts(self.description or "")
        blocks = [f"usage: {usage}", *(textwrap.fill(each.replace("``", "`"), _WIDTH) for each in (first, *paragraphs))]
        blocks += ["\n".join(map(_entry, group)) for group in (positional, optional) if group]
        return "\n\n".join([*blocks, f"example: {example}"] if example else blocks) + "\n"


def spelled(parser: ArgumentParser, words: Sequence[str]) -> list[str]:
    """Return the words of a command line: positional arguments in order, then options as the parser spells them.

    Raises:
        ValueError: an option is unknown, lacks its value or is given twice, or there are too many or too few words.
    """
    options = _options(parser)
    positional = [action.dest for action in parser._actions if not action.option_strings]
    places: list[str] = []
    named: dict[str, str] = {}
    result: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            places.append(word)
            continue
        name, equals, value = word.partition("=")
        key = _known(plain(name), options, positional, parser.prog)
        if key not in options and _is_flag(options.get(key.removeprefix("no_"))):
            key, equals, value = key.removeprefix("no_"), "=", "false"
        if key in named and not key.endswith("+") and key != "config":
            raise ValueError(f"got option {name} twice, expected it once; remove one of the two")
        if not equals and key != "print_config":
            value = _value(name, rest, is_flag=_is_flag(options.get(key)))
        if key == "config" and Path(value).is_file():
            load_yaml(Path(value).read_bytes(), name=Path(value).name)  # jsonargparse would not name the file
        named[key] = value
        if key not in positional:
            option = options[key][0] if key in options else f"--{key}"
            result.append(option if key == "print_config" and not equals else f"{option}={value}")
    return [*_in_order(parser.prog, positional, places, named), *result]


def _known(key: str, options: Mapping[str, Any], positional: Sequence[str], prog: str) -> str:
    """Return the key of an option; nested ones are known by their first part."""
    groups = {option.partition(".")[0] for option in options} | {*positional}
    if key in options or key.partition(".")[0] in groups or _is_flag(options.get(key.removeprefix("no_"))):
        return key
    known = [_dashed(option) for option in (*options, *positional) if option not in _SHARED]
    raise ValueError(f"got option {_dashed(key)}{perhaps(_dashed(key), known)}; see {prog} --help")


def _value(name: str, rest: list[str], *, is_flag: bool) -> str:
    """Take the value of an option from the words after it; a flag needs none."""
    if is_flag:
        return rest.pop(0).lower() if rest and rest[0].lower() in _TRUTH else "true"
    if not rest or rest[0].startswith("--"):
        raise ValueError(f"got option {name} without a value; write one after it")
    return rest.pop(0)


def _in_order(prog: str, positional: Sequence[str], places: list[str], named: Mapping[str, str]) -> list[str]:
    """Return the values of the positional arguments, those given by name at their places."""
    ordered = [named.get(name) or (places.pop(0) if places else "") for name in positional]
    missing = [name for name, value in zip(positional, ordered, strict=True) if not value]
    if missing and "config" not in named and "print_config" not in named:
        raise ValueError(f"got no {missing[0].upper()}, expected it after {prog}; see {prog} --help")
    if places:
        expected = f"options after {' '.join(map(str.upper, positional))}" if positional else "options only"
        raise ValueError(f"got {places[0]!r}, expected {expected}; see {prog} --help")
    return [value for value in ordered if value]


def with_underscores(words: Sequence[str], parser: ArgumentParser) -> list[str]:
    """Return words whose options are those of a parser of dotted settings: with underscores, and a value for each flag.

    Raises:
        ValueError: an option is unknown, or is given twice.
    """
    options = _options(parser)
    result = []
    given: set[str] = set()
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if word.startswith("--") and plain(name) not in ("print_config", "help"):
            key = _setting(plain(name), options, parser.prog)
            if key in given and key != "config" and not _is_list(key, given):
                raise ValueError(f"got option --{key} twice, expected it once; remove one of the two")
            given.add(key)
            if not equals and _is_flag(options.get(key)) and following.lower() not in _TRUTH:
                equals, value = "=", "true"
            word = f"--{key}{equals}{value}"
        result.append(word)
    return result


def _is_list(key: str, given: Set[str]) -> bool:
    """Return whether an option adds to a list, or sets an entry of one that was added before."""
    return key.endswith("+") or any(key.startswith(f"{option[:-1]}.") for option in given if option.endswith("+"))


def _setting(key: str, options: Mapping[str, Any], prog: str) -> str:
    """Return the key of a dotted setting; the parts below a setting that is itself an option are not checked."""
    parts = key.removesuffix("+").split(".")
    above = {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
    if key.endswith(".help") or any(option in above for option in options if option not in _GROUPS):
        return key
    raise ValueError(
        f"got option --{key}{perhaps(f'--{key}', [f'--{option}' for option in options])}; see {prog} --help"
    )


def _options(parser: ArgumentParser) -> dict[str, tuple[str, Action]]:
    """Return the options of a parser as it spells them, with their actions, by name without dashes."""
    return {plain(name): (name, action) for action in parser._actions for name in action.option_strings}


def plain(option: str) -> str:
    """Return the name of an option without its dashes: ``--allow-overlap`` is ``allow_overlap``."""
    return option.lstrip("-").replace("-", "_")


def _is_flag(option: tuple[str, Action] | None) -> bool:
    return option is not None and getattr(option[1], "_typehint", None) is bool


def _dashed(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def summary(text: str) -> str:
    """Return the first sentence of the text of a command, without its example."""
    return _parts(text)[0]


def _parts(text: str) -> tuple[str, str, list[str]]:
    """Return the summary, the example and the further paragraphs of the text of a command."""
    first, *paragraphs = [" ".join(block.split()) for block in text.strip().split("\n\n")]
    example = _EXAMPLE.search(first)
    if example is None:
        return first, "", paragraphs
    return f"{first[: example.start()]}.", example[1], paragraphs


def _placeholder(action: Action) -> str:
    if not action.option_strings:
        return action.dest.upper()
    if action.choices:
        return "|".join(map(str, action.choices))
    kind = getattr(action, "_typehint", None)
    if get_origin(kind) is Literal:
        return "|".join(get_args(kind))
    kinds = {bool: "", int: "N", float: "X", Path: "PATH", str: action.dest.rpartition("_")[2].upper()}
    return next((word for each, word in kinds.items() if kind in (each, each | None)), "LIST")


def _spelling(action: Action) -> str:
    """Return an argument as the help shows it: ``--resamples N``, ``--strict`` or ``--[no-]baseline``."""
    if not action.option_strings:
        return _placeholder(action)
    name = plain(action.option_strings[0]).replace("_", "-")
    is_flag = _is_flag(("", action))
    return f"--[no-]{name}" if is_flag and action.default is True else f"--{name} {_placeholder(action)}".strip()


def _entry(action: Action) -> str:
    """Return the lines of the help on an argument, with its default."""
    text = (action.help or "").removesuffix(".").removeprefix("whether to ").replace("``", "`")
    default = list(action.default) if isinstance(action.default, tuple) else action.default
    if action.option_strings and default not in (None, False, True, SUPPRESS, "", []):
        text += f" (default: {default})"
    return entry(_spelling(action), text)


def entry(name: str, text: str) -> str:
    """Return the lines of a help on a name: the text in the second column, from the next line on after a long name."""
    lines = textwrap.wrap(text, _WIDTH - _COLUMN - 2) or [""]
    if len(name) > _COLUMN - 1:
        lines = ["", *lines]
    return "\n".join(f"  {each:<{_COLUMN}}{line}".rstrip() for each, line in zip_longest([name], lines, fillvalue=""))
