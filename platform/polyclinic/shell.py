"""Commands that are printed for the user to paste."""

import shlex

from rich.console import Console


def command_line(*words: object) -> str:
    """The words as one line for a POSIX shell, each quoted where a shell would read it as something else."""
    return shlex.join(map(str, words))


def print_next(*words: object) -> None:
    """Print the command that usually follows, ready to be pasted."""
    Console(highlight=False).print(f"next: {command_line(*words)}", soft_wrap=True, markup=False)
