"""Parts of pages that the build generates from the code, so that they cannot be stale.

A page marks the place of a part by a comment, such as ``<!-- generated: commands -->``. The READMEs of the experiments
and the notebook become pages.
"""

import ast
import base64
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from polyclinic import MODULE_OF
from polyclinic.cli.commands import COMMANDS, GROUPS, help_text

_ROOT = Path(__file__).parent.parent
_PLATFORM = _ROOT / "platform" / "polyclinic"
_SCHEMAS = {
    "cohort schema": _PLATFORM / "cohort" / "cohort.schema.json",
    "bundle schema": _PLATFORM / "deploy" / "bundle" / "bundle.schema.json",
}
_MARK = re.compile(r"<!-- generated: ([a-z ]+) -->")
_EXPERIMENT = re.compile(r"\]\((?:\.\./)+experiments/(\w+)/README\.md")
_NOTEBOOK = "tutorials/notebook"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the experiments before the last part of the navigation."""
    pages = [f"experiments/{readme.parent.name}.md" for readme in _experiments()]
    config.nav.insert(-1, {"Experiments": pages})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the experiments and the notebook as pages, the schemas for editors, and the icon of the service."""
    icon = _PLATFORM / "deploy" / "page" / "icon.svg"
    files.append(File.generated(config, "images/icon.svg", content=icon.read_text(encoding="utf-8")))
    for readme in _experiments():
        text = experiment_page(readme.read_text(encoding="utf-8"))
        files.append(File.generated(config, f"experiments/{readme.parent.name}.md", content=text))
    for path in _SCHEMAS.values():
        files.append(File.generated(config, f"reference/{path.name}", content=path.read_text(encoding="utf-8")))
    notebook = json.loads((Path(config.docs_dir) / f"{_NOTEBOOK}.ipynb").read_text(encoding="utf-8"))
    text, pictures = notebook_page(notebook)
    files.append(File.generated(config, f"{_NOTEBOOK}.md", content=text))
    for name, content in pictures.items():
        files.append(File.generated(config, f"tutorials/{name}", content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Fill in the generated parts of a page, and link the experiments as pages of the site."""
    up = "../" * page.file.src_uri.count("/")
    markdown = _EXPERIMENT.sub(rf"]({up}experiments/\1.md", markdown)
    return _MARK.sub(lambda match: _part(match[1]), markdown)


def _experiments() -> list[Path]:
    return sorted((_ROOT / "experiments").glob("*/README.md"))


def experiment_page(readme: str) -> str:
    """Return a README as a page: links to other experiments lead to their pages, those to the code are its paths."""
    linked = re.sub(r"\]\(\.\./(\w+)/README\.md", r"](\1.md", readme)
    return re.sub(r"\[([^]]+)\]\((?:\.\./)+([\w/.-]+)\)", r"`\2`", linked)


def _part(name: str) -> str:
    if name in _SCHEMAS:
        return schema_text(json.loads(_SCHEMAS[name].read_text(encoding="utf-8")))
    return {"commands": commands_text, "interface": interface_text, "layers": layers_text}[name]()


def commands_text() -> str:
    """Return a section for each command with its help, below a heading for each group."""
    sections: list[str] = []
    for name in COMMANDS:
        group = name.partition(" ")[0]
        heading = f"## {group}\n\nCommands that {GROUPS[group]}." if group in GROUPS else ""
        if heading and heading not in sections:
            sections.append(heading)
        level = "###" if group in GROUPS else "##"
        sections.append(f"{level} polyclinic {name}\n\n```text\n{help_text(name)}```")
    return "\n\n".join(sections)


def interface_text() -> str:
    """Return the mkdocstrings directive of each public name, below a heading for each module."""
    sections: list[str] = []
    for name, module in MODULE_OF.items():
        heading = f"## {module.replace('.', ' ').capitalize()}"
        if heading not in sections:
            sections.append(heading)
        sections.append(f"::: polyclinic.{module}.{name}")
    return "\n\n".join(sections)


def schema_text(schema: Mapping[str, Any]) -> str:
    """Return a table of the properties of a JSON Schema, and one for each object that it defines."""
    tables = [_table(schema)]
    for name, part in schema.get("$defs", {}).items():
        if "properties" in part:
            tables.append(f"## {name}\n\n{_summary(part)}\n\n{_table(part)}")
    return "\n\n".join(tables)


def _table(part: Mapping[str, Any]) -> str:
    described = _attributes(part.get("description", ""))
    rows = ["| key | type | meaning |", "|---|---|---|"]
    for name, entry in part["properties"].items():
        meaning = described.get(name, entry.get("description", ""))
        need = " **Required.**" if name in part.get("required", ()) else ""
        rows.append(f"| `{name}` | {_type(entry)} | {_code(meaning)}{need} |".replace("\n", " "))
    return "\n".join(rows)


def _summary(part: Mapping[str, Any]) -> str:
    return _code(part.get("description", "").partition("\n\nAttributes:")[0])


def _attributes(description: str) -> dict[str, str]:
    """Return the texts of the section ``Attributes`` of a docstring, by name."""
    section = description.partition("Attributes:\n")[2]
    entries = re.findall(r"^    (\w+): (.*(?:\n {6,}.*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def _code(text: str) -> str:
    return text.replace("``", "`")


def _type(entry: Mapping[str, Any]) -> str:
    """Return the type of a property in words, with links to the objects that the schema defines."""
    if "$ref" in entry:
        name = entry["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})" if name[0].isupper() else name.replace("_", " ")
    if "enum" in entry:
        return ", ".join(f"`{value}`" for value in entry["enum"])
    if kinds := entry.get("anyOf") or entry.get("oneOf"):
        return " or ".join(dict.fromkeys(_type(kind) for kind in kinds))
    if entry.get("type") == "array" and "items" in entry:
        return f"list of {_type(entry['items'])}"
    if "$ref" in (values := entry.get("additionalProperties") or {}):
        return f"mapping to {_type(values)}"
    kind = entry.get("type", "any")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def notebook_page(notebook: Mapping[str, Any]) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as Markdown, and its pictures by file name."""
    blocks: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook["cells"]:
        source = "".join(cell["source"]).strip()
        if cell["cell_type"] == "markdown":
            blocks.append(source)
        elif cell["cell_type"] == "code" and source:
            blocks.append(f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                name = f"notebook-{len(pictures) + 1}.png"
                pictures[name] = base64.b64decode("".join(data["image/png"]))
                blocks.append(f"![Output of the cell above]({name})")
            elif text := "".join(output.get("text", data.get("text/plain", []))).rstrip():
                blocks.append(f"```text\n{text}\n```")
    first, *rest = blocks
    return "\n\n".join([first, "[Download this notebook](notebook.ipynb)", *rest]) + "\n", pictures


def layers_text() -> str:
    """Return the layers of the import contract as a picture, and each part with the first line of its docstring."""
    settings = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = settings["tool"]["importlinter"]["contracts"][0]
    layers = [re.split(r"\s*\|\s*", layer) for layer in contract["layers"] if layer != "__main__"]
    rows = ["| part | what it holds |", "|---|---|"]
    rows += [f"| `{name}` | {_docstring(name)} |" for layer in layers for name in layer]
    return f"{layers_picture(layers)}\n\n" + "\n".join(rows)


def layers_picture(layers: list[list[str]]) -> str:
    """Draw the layers from top to bottom as SVG; the parts of one layer stand side by side."""
    width, height, gap = 640, 28, 6
    boxes = []
    for row, names in enumerate(layers):
        wide = (width - gap * (len(names) - 1)) / len(names)
        for column, name in enumerate(names):
            x, y = column * (wide + gap), row * (height + gap)
            boxes.append(f'<rect x="{x:.0f}" y="{y}" width="{wide:.0f}" height="{height}" rx="5"/>')
            boxes.append(f'<text x="{x + wide / 2:.0f}" y="{y + height / 2 + 5:.0f}">{name}</text>')
    tall = len(layers) * (height + gap)
    label = "The layers of the platform, from " + " to ".join((" and ".join(layers[0]), " and ".join(layers[-1])))
    return (
        f'<figure class="layers"><svg viewBox="0 0 {width} {tall}" role="img" aria-label="{label}">'
        f"{''.join(boxes)}</svg><figcaption>A part imports only from the rows below it.</figcaption></figure>"
    )


def _docstring(name: str) -> str:
    package, module = _PLATFORM / name / "__init__.py", _PLATFORM / f"{name}.py"
    text = ast.get_docstring(ast.parse((package if package.is_file() else module).read_text(encoding="utf-8")))
    return _code((text or "").partition("\n")[0])
