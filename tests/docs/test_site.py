"""The documentation site: it builds without a warning, loads nothing from the network, and its links hold."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from filelock import FileLock
from selenium.webdriver.remote.webelement import WebElement

from browser import chrome, every, one, wait
from polyclinic.cli import COMMANDS
from polyclinic.cli.commands import GROUPS, help_text

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
MAX_README_WORDS = 600

_LOADED = {
    "audio": ("src",), "iframe": ("src",), "img": ("src", "srcset"), "link": ("href",), "object": ("data",),
    "script": ("src",), "source": ("src", "srcset"), "use": ("href",), "video": ("src", "poster"),
}  # fmt: skip
_STYLE_LOADS = re.compile(r"""(?:@import\s+|url\(\s*)["']?((?:https?:)?//[^"')\s]+)""")


class Page(HTMLParser):
    """The addresses that a page loads, those that it links, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        self.loads += [values[name] for name in _LOADED.get(tag, ()) if values.get(name)]
        self.loads += _STYLE_LOADS.findall(values.get("style", ""))
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        self.anchors |= {values[name] for name in ("id", "name") if name in values}


def remote_loads(path: Path) -> list[str]:
    """Return the addresses on other machines that a file of the site loads."""
    text = path.read_text(encoding="utf-8")
    found = Page(text).loads + _STYLE_LOADS.findall(text) if path.suffix == ".html" else _STYLE_LOADS.findall(text)
    return [address for address in found if urlsplit(address).netloc]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Build the site once for all workers."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "site"
    with FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
            environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
            built = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
            assert built.returncode == 0, built.stdout + built.stderr
    return folder


@cache
def _page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def _pages(site: Path) -> Iterator[tuple[Path, Page]]:
    for path in sorted(site.rglob("*.html")):
        if path.name != "404.html":  # for servers, from the root of the site
            yield path, _page(path)


def test_every_page_of_the_sources_is_built(site: Path) -> None:
    sources = {path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md")}
    built = {path.relative_to(site) for path in site.rglob("*.html")}
    assert sources <= built
    assert {Path("experiments") / f"{path.parent.name}.html" for path in ROOT.glob("experiments/*/README.md")} <= built
    assert not [path for path in site.rglob("*.html") if "<!-- generated:" in path.read_text(encoding="utf-8")]


def test_no_page_loads_anything_from_the_network(site: Path) -> None:
    files = [path for path in site.rglob("*") if path.suffix in (".html", ".css")]
    assert len(files) > 30
    assert not {path.name: found for path in files if (found := remote_loads(path))}
    # The script of the theme fetches a library where a page has a diagram of this class.
    assert not [path for path in site.rglob("*.html") if 'class="mermaid"' in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.html", '<script src="https://cdn.example/a.js"></script>'),
        ("a.html", '<link rel="preconnect" href="//fonts.example">'),
        ("a.html", '<p style="background: url(https://cdn.example/a.png)">'),
        ("a.html", "<style>@import 'https://fonts.example/a.css';</style>"),
        ("a.css", '@import url("https://fonts.example/a.css");'),
        ("a.css", "@font-face { src: url(//fonts.example/a.woff2) }"),
    ],
)
def test_a_remote_load_is_found(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert remote_loads(tmp_path / name)


def test_internal_links_and_loads_hold(site: Path) -> None:
    broken = []
    for path, page in _pages(site):
        for address in (*page.links, *page.loads):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            anchor = unquote(parts.fragment)
            if not target.is_file():
                broken.append(f"{path.relative_to(site)}: {address}")
            elif anchor and target.suffix == ".html" and anchor not in _page(target).anchors:
                broken.append(f"{path.relative_to(site)}: {address} has no such anchor")
    assert not broken, "\n".join(broken)


def test_a_browser_searches_the_folder_and_asks_no_other_machine(site: Path, tmp_path: Path) -> None:
    with chrome(tmp_path) as browser:
        browser.get((site / "index.html").as_uri())
        field = one(browser, ".md-search__input")
        field.click()
        field.send_keys("conformal")
        wait(lambda: [entry for entry in every(browser, ".md-search-result__link") if "calibration" in _target(entry)])
        names = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
        assert not [name for name in names if urlsplit(name).scheme not in ("file", "data", "blob")]
        assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def _target(link: WebElement) -> str:
    return link.get_attribute("href") or ""


def test_every_command_has_a_section_with_its_help(site: Path) -> None:
    page = site / "reference" / "commands.html"
    anchors = _page(page).anchors
    text = re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8"))
    for name in COMMANDS:
        assert f"polyclinic-{name.replace(' ', '-')}" in anchors, name
        assert help_text(name).splitlines()[0] in text, name


def test_the_keys_of_the_schemas_are_listed(site: Path) -> None:
    for name in ("cohort", "bundle"):
        schema = json.loads((site / "reference" / f"{name}.schema.json").read_text(encoding="utf-8"))
        page = (site / "reference" / f"{name}-{'yaml' if name == 'cohort' else 'json'}.html").read_text(
            encoding="utf-8"
        )
        assert all(f"<td><code>{key}</code></td>" in page for key in schema["properties"]), name


def test_every_layer_is_drawn(site: Path) -> None:
    page = (site / "develop" / "architecture.html").read_text(encoding="utf-8")
    parts = [path for path in (ROOT / "platform" / "polyclinic").iterdir() if path.suffix in ("", ".py")]
    for name in {path.stem for path in parts} - {"__init__", "__main__", "__pycache__"}:
        assert f">{name}</text>" in page, name


def test_the_readme_is_short_and_names_the_documentation() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= MAX_README_WORDS
    for part in ("docs/index.md", "CITATION.cff", "docs/images/service.png", "not a medical device", "make demo"):
        assert part in text


def test_pages_name_only_existing_commands() -> None:
    first = {name.partition(" ")[0] for name in COMMANDS}
    for path in (ROOT / "README.md", *DOCS.rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"\bpolyclinic ([a-z]+)", text)) - {"in"} <= first, path.name
        for group in GROUPS:
            named = set(re.findall(rf"^(?: {{4}})?polyclinic {group} (\w+)", text, re.MULTILINE))
            assert {f"{group} {name}" for name in named} <= set(COMMANDS), path.name
