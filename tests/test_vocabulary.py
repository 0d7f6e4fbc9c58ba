"""The words of docs/develop/vocabulary.md: phrases that make a reader stumble are refused in the whole tree."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
REFUSED = {
    # Reports of patients keep "was told at 2.5 h".
    r"(?<!was )\btold\b|\btells\b": "report, record, state or show",
    r"\bgoes on\b|\bgo on\b": "continue or resume",
    r"\bsays so\b": "name what is recorded",
    r"\bof (?:its|their) own\b(?! \w)|\bby (?:itself|themselves)\b": "separate, own, alone",
    r"\bof either\b": "of both",
    r"\bspeaks\b|\bmay speak\b": "input modality",
    r"\bwhoever\b": "name the person",
    r"\bis no (?!longer\b|more\b|way\b|need\b|evidence\b)[a-z]+ (?:but|of|that|as|it)\b": "is not a",
}
# Texts of earlier releases, and words of patients' reports.
_LEFT_OUT = ("CHANGELOG.md", "docs/develop/vocabulary.md", "tests/test_vocabulary.py", "tests/golden/")
_SUFFIXES = {".py", ".md", ".yaml", ".js", ".html", ".css", ".sh", ".toml"}


def _tracked() -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [
        Path(name)
        for name in names.split("\0")
        if Path(name).suffix in _SUFFIXES and not name.startswith(_LEFT_OUT) and (ROOT / name).is_file()
    ]


@pytest.mark.parametrize(("phrase", "better"), REFUSED.items())
def test_no_file_uses_a_refused_phrase(phrase: str, better: str) -> None:
    files, pattern = _tracked(), re.compile(phrase)
    assert len(files) > 500
    lines = [
        f"{file}:{number}: {line.strip()}"
        for file in files
        for number, line in enumerate((ROOT / file).read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(line)
    ]
    assert not lines, "\n".join([f"write {better} instead of", *lines])


@pytest.mark.parametrize("phrase", ["The run goes on", "its header tells", "is no box of it", "nobody told us"])
def test_refused_phrases_are_matched(phrase: str) -> None:
    assert any(re.search(refused, phrase) for refused in REFUSED)
