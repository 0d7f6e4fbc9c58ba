"""Shell commands that are printed for the user to paste."""

import shlex
from pathlib import Path

from polyclinic.system.terminal import remark


def command_line(*words: object) -> str:
    """Join words into one shell command, quoted where needed.

    A path that looks like an option is prefixed with ``./``. Control characters, which a terminal would interpret, are
    written as bytes in the ``$'...'`` quotes of bash, ksh and zsh.
    """
    return " ".join(map(_quoted, words))


def print_next(*words: object) -> None:
    """Print the usual next command, ready to be pasted."""
    remark(f"next: {command_line(*words)}")


def _quoted(word: object) -> str:
    text = f"./{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word)
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(map(_escape, text)) + "'"


def _escape(character: str) -> str:
    if character.isprintable() and character not in "\\'":
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode(errors="surrogateescape"))
