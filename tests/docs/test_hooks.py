"""The parts of pages that the build generates."""

import base64
import runpy
from pathlib import Path

HOOKS = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "hooks.py"))


def test_a_notebook_becomes_a_page_with_its_texts_and_pictures() -> None:
    picture = base64.b64encode(b"picture").decode()
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "words"]},
        {
            "cell_type": "code",
            "source": ["print(1)"],
            "outputs": [
                {"output_type": "stream", "text": ["1\n", "2\n"]},
                {"output_type": "display_data", "data": {"image/png": picture, "text/plain": "<Figure>"}},
                {"output_type": "execute_result", "data": {"text/plain": ["5"]}},
            ],
        },
        {"cell_type": "code", "source": [], "outputs": []},
    ]
    text, pictures = HOOKS["notebook_page"]({"cells": cells})
    assert text.startswith("# Title\nwords\n\n[Download this notebook](notebook.ipynb)\n\n```python\nprint(1)\n```")
    assert "```text\n1\n2\n```" in text
    assert "```text\n5\n```" in text
    assert "<Figure>" not in text
    assert pictures == {"notebook-1.png": b"picture"}
    assert "](notebook-1.png)" in text


def test_links_of_a_readme_lead_to_pages_or_name_a_file() -> None:
    page = HOOKS["experiment_page"]("[a](../phantom/README.md#results), [b](../../platform/b.py)")
    assert page == "[a](phantom.md#results), `platform/b.py`"


def test_a_schema_becomes_tables() -> None:
    schema = {
        "description": "A thing.\n\nAttributes:\n    name: name of it,\n        in words.\n    parts: its ``Part``.",
        "required": ["name"],
        "properties": {"name": {"type": "string"}, "parts": {"type": "array", "items": {"$ref": "#/$defs/Part"}}},
        "$defs": {
            "Part": {
                "description": "A part.",
                "properties": {"size": {"anyOf": [{"type": "number"}, {"type": "null"}]}},
            }
        },
    }
    text = HOOKS["schema_text"](schema)
    assert "| `name` | string | name of it, in words. **Required.** |" in text
    assert "| `parts` | list of [Part](#part) | its `Part`. |" in text
    assert "## Part\n\nA part." in text
    assert "| `size` | number or null |" in text
