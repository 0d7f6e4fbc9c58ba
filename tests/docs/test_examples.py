"""The Python of the README and of the page on extensions runs."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from polyclinic.cohort import default_modalities, write_phantom_cohort
from polyclinic.cohort.build import build_cohort

ROOT = Path(__file__).parents[2]
RELEASE = ROOT / "tests" / "golden" / "release_0_2"


def _blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def extensions() -> dict[str, Any]:
    """Run the blocks of the page on extensions one after another, and return the names that they define."""
    names: dict[str, Any] = {"__name__": "extensions"}
    for block in _blocks("docs/develop/extend.md"):
        exec(compile(block, "extend.md", "exec"), names)
    return names


def test_the_python_of_the_readme_scores_a_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = _blocks("README.md")
    assert len(block.splitlines()) <= 10
    modalities = {name: plugin for name, plugin in default_modalities().items() if name in ("report", "tabular")}
    write_phantom_cohort(tmp_path / "cohort", studies=60, seed=3, modalities=modalities, workers=1)
    (tmp_path / "bundle").symlink_to(RELEASE / "bundle")
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    exec(compile(block, "README.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert printed
    assert all(line.split()[-1] in ("present", "absent", "None") for line in printed)


def test_the_encoder_of_the_page_does_not_mix_studies(extensions: dict[str, Any]) -> None:
    encoder = extensions["WordAverage"](width=8)
    tokens = torch.randint(0, 9999, (3, 5))
    padding = torch.zeros(3, 5, dtype=torch.bool)
    padding[0, 3:] = True
    together = encoder({"tokens": tokens, "padding": padding}).pooled
    alone = encoder({"tokens": tokens[:1, :3], "padding": padding[:1, :3]}).pooled
    assert together.shape == (3, 8)
    torch.testing.assert_close(together[:1], alone)


def test_the_objective_of_the_page_is_its_formula(extensions: dict[str, Any]) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(2, 4, 6, dtype=torch.float64)
    objective = extensions["Hinge"](margin=0.3)
    cosines = torch.nn.functional.normalize(x, dim=-1) @ torch.nn.functional.normalize(y, dim=-1).T
    expected = (
        sum(max(0.0, 0.3 + float(cosines[i, j]) - float(cosines[i, i])) for i in range(4) for j in range(4) if i != j)
        / 4
    )
    assert float(objective({"a": x, "b": y})) == pytest.approx(expected)
    torch.testing.assert_close(objective.score({"a": x}, y), cosines)


def test_the_fusion_of_the_page_ignores_missing_modalities(extensions: dict[str, Any]) -> None:
    fusion = extensions["MeanFusion"]({"a": 3, "b": 2}, 4)
    features = {"a": torch.randn(2, 3), "b": torch.randn(2, 2)}
    present = {"a": torch.tensor([True, True]), "b": torch.tensor([True, False])}
    before = fusion(features, present).outputs
    features["b"][1] = 1e6
    torch.testing.assert_close(fusion(features, present).outputs, before)
    torch.testing.assert_close(before[1], fusion.heads["a"](features["a"])[1])


def test_the_builder_of_the_page_builds_a_cohort(extensions: dict[str, Any], tmp_path: Path) -> None:
    root = tmp_path / "clinic"
    root.mkdir()
    (root / "visits.csv").write_text(
        "visit,patient,year,curve,copd\n1,a,2020,1.txt,0\n2,a,2024,1.txt,1\n3,b,2021,1.txt,1\n4,c,2021,,0\n"
    )
    (root / "1.txt").write_text("1 2 3")
    _, cohort, flow = build_cohort(
        extensions["Spirometry"](), name="spirometry", root=root, out=tmp_path / "out", workers=1
    )
    assert {study.study_id: study.split for study in cohort.studies} == {"1": "test", "2": "test", "3": "train"}
    assert flow.as_json()[0]["events"][0]["rows"] == 1


def test_the_features_and_the_order_of_the_page(extensions: dict[str, Any]) -> None:
    class Plugin(extensions["VitalsMixin"]):  # type: ignore[misc]
        pass

    vitals = torch.tensor([[72.0, 37.1]])
    assert Plugin().fixed_features()({"vitals": vitals}) is vitals
    assert Plugin().baseline().learn([])([(72.0, 37.1)]).shape == (1, 2)
    order = extensions["Newest"]().draw(range(4), global_batch_size=2, rng=np.random.default_rng(0))
    assert order.studies.tolist() == [3, 2, 1, 0]
