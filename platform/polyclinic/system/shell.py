"""Commands that are printed for the user to paste."""

import shlex
from pathlib import Path

from rich.console import Console


def command_line(*words: object) -> str:
    """The words as one line for a shell, each quoted where a shell would read it as something else.

    A path that looks like an option gets its folder. Control characters, which a terminal would obey, are written as
    bytes in the quotes of bash, ksh and zsh.
    """
    return " ".join(map(_quoted, words))


def print_next(*words: object) -> None:
    """Print the command that usually follows, ready to be pasted."""
    Console(highlight=False).print(f"next: {command_line(*words)}", soft_wrap=True, markup=False)


def _quoted(word: object) -> str:
    text = f"./{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word)
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(one if one.isprintable() and one not in "\\'" else _bytes(one) for one in text) + "'"


def _bytes(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode(errors="surrogateescape"))
