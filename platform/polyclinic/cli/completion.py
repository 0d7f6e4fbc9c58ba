"""``polyclinic completion``: completion of commands and options in a shell."""

import re
from typing import Literal

from polyclinic.cli.commands import COMMANDS, GROUPS, help_text

_BASH = """_polyclinic() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" words=""
  case "${{COMP_WORDS[*]:1:COMP_CWORD-1}} " in
{cases}
    " ") words="{first}" ;;
  esac
  case "$current" in
    -*) ;;
    *) [ -n "$words" ] && [ "${{words#--}}" = "$words" ] || words="" ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _polyclinic polyclinic
"""
_ZSH = "autoload -U +X bashcompinit && bashcompinit\n"


def completion(shell: Literal["bash", "zsh", "fish"]) -> None:
    """Print a script that completes commands and options: polyclinic completion bash

    Read it from the file that your shell reads at its start, such as `source <(polyclinic completion bash)` in
    ~/.bashrc, or write it to ~/.config/fish/completions/polyclinic.fish.

    Args:
        shell: bash, zsh or fish.
    """
    print(_fish() if shell == "fish" else (_ZSH if shell == "zsh" else "") + _bash(), end="")  # noqa: T201


def options_of(name: str) -> list[str]:
    """Return the options in the help of a command."""
    found = re.findall(r"^  (?:-c, )?(--[\w.\[\]-]+)", help_text(name), re.MULTILINE)
    plain = [option.replace("[no-]", "") for option in found]
    return [option for option in plain if not option.endswith(".NAME")] + ["--help", "--log-level", "--quiet"]


def _first_words() -> list[str]:
    return list(dict.fromkeys(name.partition(" ")[0] for name in COMMANDS))


def _second_words(group: str) -> list[str]:
    return [name.partition(" ")[2] for name in COMMANDS if name.startswith(f"{group} ")]


def _bash() -> str:
    cases = [f'    "{name} "*) words="{" ".join(options_of(name))}" ;;' for name in COMMANDS]
    cases += [f'    "{group} ") words="{" ".join(_second_words(group))}" ;;' for group in GROUPS]
    return _BASH.format(cases="\n".join(cases), first=" ".join(_first_words()))


def _fish() -> str:
    lines = [f"complete -c polyclinic -n __fish_use_subcommand -a '{' '.join(_first_words())}'"]
    for group in GROUPS:
        words = " ".join(_second_words(group))
        unless = f"not __fish_seen_subcommand_from {words}"
        lines.append(f"complete -c polyclinic -n '__fish_seen_subcommand_from {group}; and {unless}' -a '{words}'")
    for name in COMMANDS:
        seen = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in name.split())
        lines += [f"complete -c polyclinic -n '{seen}' -l '{option[2:]}'" for option in options_of(name)]
    return "\n".join(lines) + "\n"
