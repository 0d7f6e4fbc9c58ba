"""The tutorials and the notebook of the documentation, run as a reader runs them."""

import json
import re
from pathlib import Path

import nbformat
import pytest

from tutorial_pages import made_pictures, read_blocks, run_notebook, run_page

DOCS = Path(__file__).parents[2] / "docs"
TUTORIALS = DOCS / "tutorials"
NOTEBOOK = TUTORIALS / "notebook.ipynb"
NOTEBOOK_PAGE = "hospital-page"
PAGES = sorted(path.stem for path in TUTORIALS.glob("*.md"))
SERVICE_PICTURES = {"service.png", "service-phone.png"}
MAX_NOTEBOOK_BYTES = 60_000


def test_every_tutorial_is_tested() -> None:
    assert PAGES == ["hospital-page", "masked-transfer-probe", "own-cohort", "own-modality", "symile-and-clip"]


def test_only_the_service_and_its_client_are_not_run() -> None:
    count = {name: (TUTORIALS / f"{name}.md").read_text().count("<!-- not run") for name in PAGES}
    assert count == {**dict.fromkeys(PAGES, 0), NOTEBOOK_PAGE: 2}


@pytest.mark.parametrize("name", PAGES)
def test_a_tutorial_runs(name: str, tmp_path: Path) -> None:
    page, folder = TUTORIALS / f"{name}.md", tmp_path / "folder"
    run_page(page, folder)
    shown = set(re.findall(r"\.\./images/([\w-]+\.png)", page.read_text()))
    assert set(made_pictures(page, folder)) == shown - SERVICE_PICTURES
    if name == NOTEBOOK_PAGE:
        run_notebook(NOTEBOOK, folder)


@pytest.mark.parametrize("name", PAGES)
def test_the_pictures_of_a_tutorial_are_in_the_documentation(name: str) -> None:
    for picture in re.findall(r"\]\((\.\./images/[^)]+)\)", (TUTORIALS / f"{name}.md").read_text()):
        assert (TUTORIALS / picture).is_file(), picture


def test_the_notebook_is_small_and_has_outputs_without_errors() -> None:
    assert NOTEBOOK.stat().st_size < MAX_NOTEBOOK_BYTES
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output.output_type in ("error", "stream")]
    assert "/tmp/" not in json.dumps(notebook)


PAGE = """
```yaml title="a.yaml"
key: value
```
```sh
export NAME="two words"
test "$NAME" = "two words"
```
<!-- not run: it fails -->
```sh
false
```
```text
output
```
```python
from pathlib import Path

assert Path("a.yaml").read_text() == "key: value\\n"
Path("b.txt").touch()
```
"""


def test_blocks_are_written_and_run_in_order(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    run_page(page, tmp_path / "folder")
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == ["a.yaml", "b.txt"]


@pytest.mark.parametrize(
    ("block", "line", "output"),
    [
        ("```sh\npolyclinic evaluat\n```", "polyclinic evaluat", "expected perhaps evaluate"),
        ("```sh\ntrue\nls absent\n```", "ls absent", "No such file"),
        ("```python\nprint('before')\nraise SystemExit('the reason')\n```", "raise SystemExit", "the reason"),
    ],
)
def test_a_block_that_fails_is_reported_with_its_output(tmp_path: Path, block: str, line: str, output: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"Text.\n\n{block}\n")
    with pytest.raises(AssertionError) as failure:
        run_page(page, tmp_path / "folder")
    assert line in str(failure.value)
    assert output in str(failure.value).partition("--- output")[2]
    assert "page.md, line 4" in str(failure.value)


@pytest.mark.parametrize("fence", ["```bash", "  ```sh", "```yaml", "```"])
def test_a_block_of_another_form_is_refused(tmp_path: Path, fence: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{fence}\nkey: value\n```\n")
    with pytest.raises(ValueError, match=r"page\.md, line"):
        read_blocks(page)
