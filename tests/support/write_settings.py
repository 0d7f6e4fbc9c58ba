"""Write the page of all settings of ``polyclinic fit`` from its parser, whose libraries take seconds to import.

python tests/support/write_settings.py
"""

import re
from argparse import SUPPRESS, Action
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

from lightning.pytorch.cli import LightningArgumentParser

from polyclinic.cli.fit import main
from polyclinic.modality import installed_modalities

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"
_HEAD = """# Settings of fit

Every setting of `polyclinic fit`, `validate` and `test`: a key of a configuration file, or an option of the command
line. `polyclinic fit --help` shows those that matter first; `polyclinic fit --help-all` ends with the encoders of each
modality. `polyclinic fit --print_config=comments` prints a complete configuration, and `polyclinic new` writes one for
your cohort.

```yaml
model:
  class_path: Downstream
  init_args: {lr: 3.0e-4}
data:
  cohort: cohort.yaml
  modalities: {ecg: {class_path: ECG}, tabular: {class_path: Tabular}}
```

This page is written by `tests/support/write_settings.py`.
"""
_PART = "Path to a configuration file."
"""Help of an option that stands for a complete part of the configuration."""
_TASKS = """## The task: model.init_args

::: polyclinic.tasks.ContrastivePretraining

::: polyclinic.tasks.MaskedPretraining

::: polyclinic.tasks.Downstream

The objectives of `ContrastivePretraining` are in the [Python interface](python.md#objectives).
"""
_MODALITIES = """## The modalities: data.modalities.NAME.init_args

`polyclinic modalities` lists the installed plugins. These are those of Polyclinic.
"""


def settings_page() -> str:
    """Return the page, in Markdown."""
    sections = [_section(title, rows) for title, rows in _groups(_fit_parser())]
    plugins = [f"::: {plugin.__module__.partition('.')[0]}.{plugin.__name__}" for plugin in _own_plugins()]
    return "\n".join([_HEAD, *sections, _TASKS, _MODALITIES, "\n\n".join(plugins), ""])


def _fit_parser() -> LightningArgumentParser:
    """Return the parser of ``fit``, which builds it when it prints its help."""
    parsers: list[LightningArgumentParser] = []
    keep = patch.object(LightningArgumentParser, "print_help", lambda parser, *_: parsers.append(parser))
    with keep, suppress(SystemExit):
        main(["fit", "--help-all"])
    return parsers[-1]


def _own_plugins() -> list[type[Any]]:
    return [plugin for plugin in installed_modalities().values() if plugin.__module__.startswith("polyclinic_")]


def _groups(parser: LightningArgumentParser) -> Iterator[tuple[str, list[str]]]:
    """Yield the part of the configuration and a row for each of its settings."""
    rows: dict[str, list[str]] = {}
    for action in parser._actions:
        names = [option for option in action.option_strings if option.startswith("--")]
        if names and action.help not in (SUPPRESS, _PART) and not names[0].endswith(("help", "+")):
            key = names[0].removeprefix("--")
            part = key.partition(".")[0] if "." in key else ""
            rows.setdefault(part, []).append(_row(key, action))
    yield from sorted(rows.items())


def _section(part: str, rows: list[str]) -> str:
    title = f"## {part}" if part else "## The run"
    return "\n".join([title, "", "| setting | default | meaning |", "|---|---|---|", *rows, ""])


def _row(key: str, action: Action) -> str:
    text = re.sub(r"\s+", " ", (action.help or "").replace("``", "`")).replace("|", "\\|").strip()
    return f"| `{key}` | {_default(action)} | {text.removeprefix('whether to ')} |"


def _default(action: Action) -> str:
    if action.default is None or action.default == SUPPRESS or isinstance(action.default, dict):
        return ""
    return f"`{action.default}`"


if __name__ == "__main__":
    PAGE.write_text(settings_page(), encoding="utf-8")
