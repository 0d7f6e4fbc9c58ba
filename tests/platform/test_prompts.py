import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from polyclinic.prompts import Phrasings, load_prompts

VALID: dict[str, Any] = {
    "version": 1,
    "modality": "report",
    "score_rule": "difference",
    "templates": ["{}", "Findings: {}."],
    "findings": {
        "edema": {"positive": ["pulmonary edema", "vascular congestion"], "negative": ["no edema"]},
        "effusion": {"positive": ["pleural effusion"], "negative": ["no effusion", "clear bases"]},
    },
}


def write_prompts(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "prompts.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def content_with(key: str, value: Any) -> dict[str, Any]:
    return {**VALID, key: value}


def finding(positive: Any, negative: Any) -> dict[str, Any]:
    return content_with("findings", {"edema": {"positive": positive, "negative": negative}})


def test_prompts_are_loaded_with_the_hash_of_their_file(tmp_path: Path) -> None:
    path = write_prompts(tmp_path, VALID)
    prompts = load_prompts(path)
    assert prompts.findings["edema"] == Phrasings(
        positive=("pulmonary edema", "vascular congestion"), negative=("no edema",)
    )
    assert (prompts.version, prompts.score_rule, list(prompts.findings)) == (1, "difference", ["edema", "effusion"])
    assert prompts.modality == "report"
    assert prompts.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_columns_index_the_sentences_of_each_finding(tmp_path: Path) -> None:
    prompts = load_prompts(write_prompts(tmp_path, VALID))
    texts, columns = prompts.texts(), prompts.columns()
    assert texts[:4] == (
        "pulmonary edema",
        "Findings: pulmonary edema.",
        "vascular congestion",
        "Findings: vascular congestion.",
    )
    assert len(texts) == 12
    assert texts[columns["edema"][1]] == ("no edema", "Findings: no edema.")
    assert texts[columns["effusion"][0]] == ("pleural effusion", "Findings: pleural effusion.")
    assert texts[columns["effusion"][1]][-1] == "Findings: clear bases."


def test_other_braces_of_a_template_are_left_unchanged(tmp_path: Path) -> None:
    prompts = load_prompts(write_prompts(tmp_path, content_with("templates", ["{x} {}"])))
    assert prompts.texts()[0] == "{x} pulmonary edema"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({key: value for key, value in VALID.items() if key != "templates"}, r"lacks \['templates'\]; set them"),
        (content_with("language", "en"), r"'language', expected"),
        (content_with("version", 2), "version 2, expected 1; set `version: 1`"),
        (content_with("version", True), "version True, expected 1"),
        (content_with("modality", ""), "modality '', expected the name .*set `modality`"),
        (content_with("modality", None), "modality None"),
        (content_with("score_rule", "argmax"), "'argmax', expected one of .*difference.*softmax.*set `score_rule`"),
        (content_with("templates", []), "templates is .*at least one text; set `templates`"),
        (content_with("templates", ["a chest X-ray"]), r"'a chest X-ray' holds '{}' 0 times.*set `templates`"),
        (content_with("templates", ["{} and {}"]), "holds '{}' 2 times"),
        (content_with("findings", {}), "set `findings`"),
        (content_with("findings", {"edema": {"positive": ["edema"]}}), r"findings.edema lacks \['negative'\]"),
        (finding(["edema"], []), "findings.edema.negative is .*set `findings.edema.negative`"),
        (finding(["edema", False], ["none"]), "findings.edema.positive is"),
        (finding("edema", ["none"]), "findings.edema.positive is 'edema'"),
        (finding(["Edema"], ["clear", " edema "]), r"findings.edema has \['edema'\] on both sides"),
        (finding(["edema", "Edema"], ["clear"]), r"holds \['edema'\] more than once"),
        (["edema"], "holds list, expected a mapping"),
    ],
)
def test_errors_name_what_to_set(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_prompts(write_prompts(tmp_path, content))


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'absent.yaml' does not exist; set `prompts`"):
        load_prompts(tmp_path / "absent.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_bytes(b"version: [1\n")
    with pytest.raises(ValueError, match=r"broken.yaml is not YAML"):
        load_prompts(broken)
