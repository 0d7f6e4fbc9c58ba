"""Plugins without settings fit a cohort unlike the phantom's, and a checkpoint remembers what they took."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from cli_runs import fit, write_config
from polyclinic.cli import main
from polyclinic.training.restore import restore

MODEL = {"class_path": "Downstream", "init_args": {"size": "pico"}}
STUDIES = 24


def _cohort(folder: Path, *, tests: tuple[str, ...], rate: int, seconds: float) -> Path:
    """Write a cohort with a table of facts, a CSV file of ``tests`` and a recording for each study."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    lines = ["study,patient,split,ill,LVEF,smoker,labs,sound"]
    for study in range(STUDIES):
        split = ("train", "train", "val", "test")[study % 4]
        values = "".join(f"{name},{rng.normal(50, 5):.1f},ug/L\n" for name in tests)
        (folder / f"{study}.csv").write_text(f"name,value,unit\n{values}")
        soundfile.write(folder / f"{study}.wav", rng.uniform(-0.5, 0.5, round(rate * seconds)), rate)
        facts = f"{rng.normal(55, 5):.0f},{('never', 'former')[study % 3 % 2]}"
        lines.append(f"s{study},p{study},{split},{study // 4 % 2},{facts},{study}.csv,{study}.wav")
    (folder / "studies.csv").write_text("\n".join([*lines, ""]))
    (folder / "cohort.yaml").write_text(
        "table: studies.csv\nstudy_id: study\npatient_id: patient\nsplit: split\nlabels: [ill]\n"
        "modalities: {facts: {columns: [LVEF, smoker]}, labs: {path: labs}, sound: {path: sound}}\n"
    )
    return folder / "cohort.yaml"


@pytest.fixture
def cohort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    cohort = _cohort(tmp_path / "data", tests=("ferritin", "zinc", "copper"), rate=8000, seconds=1.9)
    plugins = {"facts": "Tabular", "labs": "Tabular", "sound": "Audio"}
    write_config(cohort, MODEL, {name: {"class_path": plugin} for name, plugin in plugins.items()})
    return cohort


def test_a_checkpoint_has_the_settings_of_its_cohort_on_any_cohort(
    cohort: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        checkpoint = fit()["checkpoint"]
    assert "facts takes `numeric` from the cohort: LVEF" in caplog.text
    assert "labs takes `numeric` from the cohort: ferritin (ug/L), zinc (ug/L), copper (ug/L)" in caplog.text
    assert "sound takes `rate` from the cohort: 8000 Hz" in caplog.text
    assert main(["evaluate", "classifier", checkpoint, "--resamples", "5"]) == 0
    other = _cohort(tmp_path / "other", tests=("zinc", "cobalt"), rate=4000, seconds=3.0)
    plugins = restore(Path(checkpoint), cohort=other).data.modalities
    facts, labs, sound = (vars(plugins[name]) for name in ("facts", "labs", "sound"))
    assert (facts["numeric"], facts["categorical"]) == (["LVEF"], {"smoker": ["former", "never"]})
    assert labs["numeric"] == ["ferritin", "zinc", "copper"]
    assert (sound["rate"], sound["seconds"]) == (8000, 2.0)
    caplog.clear()
    elsewhere = ("--data.cohort", str(other), "--allow_overlap", "true")
    with caplog.at_level("INFO"):
        assert main(["validate", "-c", "config.yaml", "--ckpt_path", checkpoint, *elsewhere]) == 0
        fit("--weights", checkpoint, *elsewhere)
    assert "from the cohort" not in caplog.text


def test_a_cohort_without_a_usable_column_is_refused_in_one_sentence(
    cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for study in range(STUDIES):
        (cohort.parent / f"{study}.csv").write_text(f"note\nfree text {study}\n")
    assert main(["fit", "-c", "config.yaml"]) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "got 1 columns of which none can be used (note: 12 distinct texts" in message
    assert "compute_fn" not in message
