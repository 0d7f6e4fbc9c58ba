"""Without settings, the columns are those of the cohort's files, and no name of a person becomes a column."""

import logging
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from polyclinic.cli import main
from polyclinic.cohort import read_cohort
from polyclinic.cohort.cohort import adapt_modalities
from polyclinic.data import CohortDataModule
from polyclinic.modality import Identity
from polyclinic_tabular import Tabular
from polyclinic_tabular.panel import CATEGORICAL, UNITS

KEY = b"0123456789abcdef" * 2


def _long(folder: Path, count: int = 12, extra: Mapping[int, str] | None = None) -> list[Path]:
    folder.mkdir()
    paths = []
    for study in range(count):
        spelling = "Ferritin" if study % 3 else "FERRITIN"
        lines = [f"{spelling},{20 + study},ug/L", f"NYHA class,{'I' * (1 + study % 3)},", f"LVEF,{40 + study},%"]
        lines += [(extra or {}).get(study, "ward,North wing,")]
        paths.append(folder / f"{study}.csv")
        paths[-1].write_text("\n".join(["name,value,unit", *lines, ""]))
    return paths


def _wide(folder: Path, count: int = 12) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{study}.csv" for study in range(count)]
    for study, path in enumerate(paths):
        path.write_text(
            f"LVEF (%),smoker,mrn,comment\n{40 + study},{'never' if study % 2 else 'former'},4711{study},note {study}\n"
        )
    return paths


def test_columns_of_long_files_are_inferred_with_their_units(tmp_path: Path) -> None:
    tabular = Tabular()
    assert tabular.adapt(_long(tmp_path / "a")) == {}
    assert tabular.numeric == ["Ferritin", "LVEF"]
    assert tabular.categorical == {"NYHA class": ["I", "II", "III"], "ward": ["North wing"]}
    assert tabular.units == {"Ferritin": "ug/L", "LVEF": "%"}
    assert tabular.adapted() == {
        "numeric": "Ferritin (ug/L), LVEF (%)",
        "categorical": "NYHA class (I, II, III), ward (1 text)",
    }
    row = tabular.read(tmp_path / "a/3.csv")
    assert (row.values.tolist(), row.levels.tolist(), row.unused) == ([23, 43], [1, 1], ())


def test_columns_of_wide_files_are_inferred_with_the_units_in_their_header(tmp_path: Path) -> None:
    tabular = Tabular()
    left_out = tabular.adapt(_wide(tmp_path / "a"))
    assert (tabular.numeric, tabular.units) == (["LVEF"], {"LVEF": "%"})
    assert tabular.categorical == {"smoker": ["former", "never"]}
    assert left_out == {
        "mrn": "it looks like an identifier; if it is not, add it to `numeric` or `categorical`",
        "comment": "12 distinct texts in 12 studies, which are not levels; if they are, add it to `categorical`",
    }


def test_synonyms_are_one_column_unless_a_file_has_both(tmp_path: Path) -> None:
    for place, text in enumerate(
        ("crea,80\nna,140", "Creatinine,90\nna,141", "creatinine,91\nna,141", "Creatinine,95")
    ):
        (tmp_path / f"{place}.csv").write_text(f"name,value\n{text}\n")
    tabular = Tabular()
    tabular.adapt(sorted(tmp_path.glob("*.csv")))
    assert tabular.numeric == ["Creatinine", "na"]
    (tmp_path / "4.csv").write_text("name,value\nCreatinine,96\ncrea,60\n")
    tabular = Tabular()
    tabular.adapt(sorted(tmp_path.glob("*.csv")))
    assert tabular.numeric == ["creatinine", "crea", "na", "Creatinine"]
    assert tabular.read(tmp_path / "4.csv").values.tolist()[1::2] == [60, 96]


def test_columns_of_a_table_have_no_unit_of_the_phantom() -> None:
    tabular = Tabular()
    tabular.adapt([{"creatinine": f"{0.7 + study / 10}", "sex": "FM"[study % 2]} for study in range(12)])
    assert (tabular.numeric, tabular.units) == (["creatinine"], {})
    assert tabular.adapted() == {"numeric": "creatinine", "categorical": "sex (F, M)"}


def test_a_unit_that_few_files_state_is_refused_when_it_is_read(tmp_path: Path) -> None:
    paths = _long(tmp_path / "a")
    paths[5].write_text(paths[5].read_text().replace("ug/L", "mg/L"))
    tabular = Tabular()
    tabular.adapt(paths)
    with pytest.raises(ValueError, match=r"'Ferritin' is not in ug/L; convert it, or set `units`"):
        tabular.read(paths[5])


def test_files_that_cannot_be_read_are_skipped(tmp_path: Path) -> None:
    paths = _long(tmp_path / "a")
    paths[0].write_bytes(b"\0\xff")
    tabular = Tabular()
    assert tabular.adapt([*paths, tmp_path / "missing.csv"]) == {}
    assert tabular.numeric == ["Ferritin", "LVEF"]
    panel = Tabular()
    assert panel.adapt(paths[:1]) == {}
    assert (panel.numeric, panel.adapted()) == (list(UNITS), {})


def test_files_without_a_usable_column_are_refused_with_the_reasons(tmp_path: Path) -> None:
    for place in range(30):
        (tmp_path / f"{place}.csv").write_text(f"note\nfree text {place}\n")
    with pytest.raises(
        ValueError, match=r"got 1 columns of which none can be used \(note: 30 distinct texts"
    ) as report:
        Tabular().adapt(sorted(tmp_path.glob("*.csv")))
    assert "expected at least one; set `numeric` or `categorical`" in str(report.value)


def test_names_of_persons_become_no_column_and_are_not_written(tmp_path: Path) -> None:
    extra = {
        0: "Jane Roe,4711,Roe",
        1: "DOE^JOHN,1,",
        2: "patient_name,Mary Major,",
        3: "0815,7,",
        4: "sodium,140,mmol/L",
    }
    paths = _long(tmp_path / "a", extra=extra)
    tabular = Tabular()
    left_out = tabular.adapt(paths)
    assert tabular.numeric == ["sodium", "Ferritin", "LVEF"]
    assert set(left_out) == {"Jane Roe", "patient_name", "0815", "1 name"}
    assert left_out["Jane Roe"].startswith("only 1 of 12 training files have it")
    identity = Identity(key=KEY, patient="1", names=())
    for place, path in enumerate(paths[:4]):
        cleaned = tabular.deidentify(path, tmp_path / f"clean{place}", identity, suspects=False)
        written = f"{cleaned.removed}{(tmp_path / f'clean{place}.csv').read_text()}"
        assert "LVEF,4" in written
        assert not [name for name in ("Roe", "DOE", "Major", "North", "0815") if name in written]
        assert cleaned.removed["column whose name may name a person: it is not read"] == 1
        assert cleaned.removed["column 'ward': its levels may name a person; list them in `categorical`"] == 1


def test_levels_that_are_labelled_as_names_become_no_column_of_files(tmp_path: Path) -> None:
    paths = _long(tmp_path / "a", extra={study: f"physician,Dr {('Doe', 'Roe')[study % 2]}," for study in range(12)})
    tabular = Tabular()
    left_out = tabular.adapt(paths)
    assert left_out == {"physician": "its levels may name a person; if they do not, list them in `categorical`"}
    assert list(tabular.categorical) == ["NYHA class"]


@pytest.mark.parametrize("write", [_long, _wide])
def test_what_was_inferred_is_restored_from_the_state(tmp_path: Path, write: object) -> None:
    assert callable(write)
    paths = write(tmp_path / "a")
    tabular, restored = Tabular(), Tabular()
    tabular.adapt(paths)
    tabular.fit(map(tabular.read, paths))
    restored.load_state(tabular.state())
    for path in paths:
        first, second = (plugin.prepare(plugin.read(path)) for plugin in (tabular, restored))
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_phantom_cohort_has_the_panel(phantom_cohort: Path) -> None:
    tabular = Tabular()
    messages = adapt_modalities(read_cohort(phantom_cohort), {"tabular": tabular})
    assert (tabular.numeric, tabular.units) == (list(UNITS), dict(UNITS))
    assert tabular.categorical == {name: list(levels) for name, levels in CATEGORICAL.items()}
    assert messages[0].startswith("tabular takes `numeric` from the cohort: age (years), bnp (ng/L), ")
    assert messages[1:] == ["tabular takes `categorical` from the cohort: sex (F, M)"]


def test_every_command_that_reads_a_cohort_takes_its_columns(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    _long(tmp_path / "labs", 20)
    splits = ["train"] * 12 + ["val"] * 4 + ["test"] * 4
    lines = [f"s{study},p{study},{split},labs/{study}.csv,{study % 2}" for study, split in enumerate(splits)]
    Path("studies.csv").write_text("\n".join(["study,patient,split,file,ill", *lines, ""]))
    Path("cohort.yaml").write_text(
        "table: studies.csv\nstudy_id: study\npatient_id: patient\nsplit: split\nlabels: [ill]\n"
        "modalities: {tabular: {path: file}}\n"
    )
    shown = "tabular takes `numeric` from the cohort: Ferritin (ug/L), LVEF (%)"
    assert main(["cohort", "check", "cohort.yaml", "--workers", "0"]) == 0
    assert f"note: {shown}" in capsys.readouterr().out
    Path("key").write_bytes(KEY)
    Path("key").chmod(0o600)
    assert main(["deidentify", "cohort.yaml", "outside", "--key", "key", "--workers", "0"]) == 0
    assert f"note: {shown}" in capsys.readouterr().out
    (written,) = [file for file in Path("outside/tabular").iterdir() if "LVEF,43,%" in file.read_text()]
    assert written.read_text() == "name,value,unit\nFerritin,23,ug/L\nLVEF,43,%\nNYHA class,I,\n"
    data = CohortDataModule(cohort="cohort.yaml", modalities={"tabular": Tabular()}, prepared=None)
    with caplog.at_level(logging.INFO):
        data.setup("predict")
    assert shown in caplog.text
    assert next(iter(data.test_dataloader())).inputs["tabular"]["values"].shape == (4, 2)
