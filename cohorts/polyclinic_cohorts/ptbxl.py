"""PTB-XL 1.0.3 (Wagner et al. 2020): twelve-lead electrocardiograms with diagnostic statements."""

from typing import Literal

from polyclinic.cohort.build import Built, CohortBuilder, DataRoot, Flow
from polyclinic_cohorts.groups import age_band

SUPERCLASSES = ("NORM", "MI", "STTC", "CD", "HYP")
_RECORDS = {
    "ecg_id": "BIGINT", "patient_id": "DOUBLE", "age": "DOUBLE", "sex": "VARCHAR", "site": "DOUBLE",
    "device": "VARCHAR", "report": "VARCHAR", "scp_codes": "VARCHAR", "strat_fold": "INTEGER",
    "filename_lr": "VARCHAR", "filename_hr": "VARCHAR",
}  # fmt: skip
_STATEMENTS = {"diagnostic": "DOUBLE", "diagnostic_class": "VARCHAR"}
# A dictionary as Python prints it: {'NORM': 100.0, 'SR': 0.0}
_CODES = "regexp_extract_all(scp_codes, '''([^'']+)''\\s*:', 1)"


class PTBXL(CohortBuilder):
    """PTB-XL: records with reports, diagnostic superclasses and the recommended folds.

    Folds 1 to 8 are for training, 9 for validation and 10 for testing (Wagner et al. 2020). A superclass is present
    if any diagnostic statement of the record belongs to it, at any likelihood, as in the benchmark of Strodthoff et al.
    2021; a record without diagnostic statements has blank labels.

    Args:
        rate: sampling rate of the files to use, in Hz; the higher one that is present unless set.
    """

    unverified = (
        "ages above 89 are reportedly stored as 300; the first 500 records have 90 and 91 instead; any of 90 or more "
        "counts as 90",
    )

    def __init__(self, *, rate: Literal[100, 500] | None = None) -> None:
        self.rate = rate

    def build(self, root: DataRoot, flow: Flow) -> Built:
        """Build one row per record."""
        data = root.folder("ptbxl_database.csv", setting="--root")
        data.view("records", "ptbxl_database.csv", _RECORDS)
        data.view("statements", "scp_statements.csv", _STATEMENTS, index="code")
        rate = self.rate or (500 if (data.path / "records500").is_dir() else 100)
        file = "filename_lr" if rate == 100 else "filename_hr"
        data.connection.execute(f"""
            CREATE TABLE studies AS SELECT ecg_id AS study_id, CAST(patient_id AS BIGINT) AS patient_id,
                CASE WHEN strat_fold <= 8 THEN 'train' WHEN strat_fold = 9 THEN 'val' ELSE 'test' END AS split,
                strat_fold, {file} || '.hea' AS ecg, report,
                CASE WHEN age < 90 THEN age WHEN age >= 90 THEN 90 END AS age,
                CASE CAST(CAST(sex AS DOUBLE) AS BIGINT) WHEN 0 THEN 'M' WHEN 1 THEN 'F' END AS sex,
                {age_band("age")} AS age_band,
                CAST(CAST(site AS BIGINT) AS VARCHAR) AS site, device, {_superclasses()}
            FROM records
        """)
        flow.start("studies", "ECG records in ptbxl_database.csv")
        flow.exclude("studies", "no recommended fold", "strat_fold IS NULL")
        verdicts = data.checked("studies", "ecg")
        flow.exclude("studies", "header is missing", f"ecg IN (SELECT file FROM {verdicts} WHERE verdict != '')")
        flow.count("studies", "without a diagnostic statement", f'"{SUPERCLASSES[0]}" IS NULL')
        return Built(
            table="studies",
            root=data.path,
            population="ptb-xl",
            modalities={"ecg": {"path": "ecg"}, "report": {"text": "report"}, "tabular": {"columns": ["age", "sex"]}},
            labels={name: {"column": name} for name in SUPERCLASSES},
            groups=("sex", "age_band", "site", "device"),
            notes=(
                f"files of {rate} Hz",
                "reports are in German",
                "leads are found by name; the files write AVR, AVL and AVF in capitals",
                "sex 0 is male and 1 female: of the first 500 patients those with 1 are 13 cm shorter on average",
            ),
        )


def _superclasses() -> str:
    """Return SQL columns of the superclasses: 1, 0, or null for a record without diagnostic statements."""
    classes = f"""(SELECT list(DISTINCT diagnostic_class) FROM statements
        WHERE diagnostic = 1 AND list_contains({_CODES}, code))"""
    return ", ".join(f"CAST(list_contains({classes}, '{name}') AS INTEGER) AS \"{name}\"" for name in SUPERCLASSES)
