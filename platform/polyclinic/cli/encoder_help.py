"""The encoders that `polyclinic fit --help` lists: the default one of each installed plugin, and its alternatives."""

import ast
import inspect
import re
import textwrap
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from jsonargparse import DefaultHelpFormatter

from polyclinic.modality import Modality
from polyclinic.models.class_table import declared_encoders
from polyclinic.nn import SIZES, TransformerEncoder

_EXAMPLE = """    model:
      init_args:
        encoders:
          xray: {class_path: polyclinic_xray.timm_encoder.TimmEncoder, init_args: {name: resnet50}}"""
_ANY = f"{TransformerEncoder.__module__}.{TransformerEncoder.__qualname__}"


class EncoderHelpFormatter(DefaultHelpFormatter):
    """Formatter of help texts that keeps the lines of the one on encoders."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith("encoders:") else super()._fill_text(text, width, indent)


def encoder_help(plugins: Mapping[str, type[Modality]]) -> str:
    """Return a text on the encoders of installed plugins, by the name of the modality, and on how to set them."""
    lines = [
        "encoders:",
        f"  A modality has its default encoder in the size `model.init_args.size` ({', '.join(SIZES)}), unless another",
        "  one is set by its full path, for the name of the modality in `data.modalities`:",
        "",
        _EXAMPLE,
        "",
    ]
    for name, plugin in plugins.items():
        described = re.split(r"[;\n]", inspect.getdoc(plugin.default_encoder) or "")[0]
        default = described.removeprefix("Build ").rstrip(".")
        lines.append(f"  {name}: by default {default or 'that of the plugin'}")
        lines += [_entry(path) for path in declared_encoders(plugin)]
    lines += ["  any modality:", _entry(_ANY)]
    return "\n".join(lines)


def _entry(path: str) -> str:
    return textwrap.fill(f"{path}: {_summary(path)}", 118, initial_indent="    ", subsequent_indent="      ")


def _summary(path: str) -> str:
    """Return the first paragraph of the docstring of a class, from its source: importing it may take seconds."""
    module, _, name = path.rpartition(".")
    try:
        spec = find_spec(module)
        tree = ast.parse(Path((spec and spec.origin) or "").read_text(encoding="utf-8"))
    except (ImportError, OSError, SyntaxError, ValueError):
        return "cannot be read; see `polyclinic doctor`"
    text = next((ast.get_docstring(n) for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name), None)
    return " ".join((text or "").partition("\n\n")[0].split())
