"""LUDB 1.0.1 (Kalyakulina et al. 2020): ten-second twelve-lead ECGs with the findings of cardiologists."""

from types import MappingProxyType

from polyclinic.cohort.build import Built, CohortBuilder, DataRoot, Flow
from polyclinic.cohort.build.data_root import literal
from polyclinic_cohorts.ecg_signal import exclude_unusable
from polyclinic_cohorts.groups import age_band, hashed_split, tabular

_TABLE = "ludb.csv"
_RHYTHM = "Rhythms"
_AXIS = "Electric axis of the heart"
_FINDINGS = MappingProxyType(
    {
        "hypertrophy": ("Hypertrophies", "."),
        "conduction": ("Conduction abnormalities", "."),
        "ischemia": ("Ischemia", "."),
        "repolarisation": ("Non-specific repolarization abnormalities", "."),
        "fibrillation": (_RHYTHM, "fibrillation|flutter"),
        "extrasystole": ("Extrasystolies", "."),
        "pacing": ("Cardiac pacing", "."),
    }
)
_COLUMNS = (
    "ID", "Sex", "Age", _RHYTHM, _AXIS, "Conduction abnormalities", "Extrasystolies", "Hypertrophies", "Cardiac pacing",
    "Ischemia", "Non-specific repolarization abnormalities", "Other states",
)  # fmt: skip
RHYTHMS = (
    "Sinus rhythm", "Sinus bradycardia", "Sinus tachycardia", "Sinus arrhythmia", "Irregular sinus rhythm",
    "Atrial fibrillation", "Atrial flutter, typical",
)  # fmt: skip
AXES = ("normal", "left axis deviation", "right axis deviation", "horizontal", "vertical")


class LUDB(CohortBuilder):
    """LUDB: 200 records of as many people, with findings, rhythm and heart axis as cardiologists described them.

    A finding is present if its column of ``ludb.csv`` has a text. A record without a rhythm was not described: its
    findings are unknown. There is no published split; records are assigned by a hash of their number. The descriptions
    are also available as reports.

    Args:
        seed: seed of the hash.
    """

    unverified = ("each record is taken to be of a different person, as no patient number is published",)

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed

    def build(self, root: DataRoot, flow: Flow) -> Built:
        """Build one row per record."""
        data = root.folder(_TABLE, setting="--root")
        data.view("cells", _TABLE, dict.fromkeys(_COLUMNS, "VARCHAR"))
        data.connection.execute(f"CREATE TABLE rows AS SELECT {', '.join(map(_cleaned, _COLUMNS))} FROM cells")
        data.connection.execute(f"""
            CREATE TABLE studies AS SELECT "ID" AS study_id, "ID" AS patient_id,
                {hashed_split('"ID"', seed=self.seed)} AS split, 'data/' || "ID" || '.hea' AS ecg, {_age()} AS age,
                "Age" AS age_as_typed, {age_band(_age())} AS age_band, {_sex()} AS sex, "Sex" AS sex_as_typed,
                {_first_of(RHYTHMS, f'"{_RHYTHM}"')} AS rhythm, "{_RHYTHM}" AS rhythms,
                {_first_of(AXES, _axis_texts())} AS axis, "{_AXIS}" AS axis_as_typed,
                {", ".join(_finding(name) for name in _FINDINGS)}, {_report()} AS report
            FROM rows
        """)
        flow.start("studies", f"records in {_TABLE}")
        flow.exclude("studies", "no number", "study_id IS NULL")
        flow.exclude("studies", "number is not digits", "NOT regexp_full_match(study_id, '[0-9]+')")
        repeated = "SELECT study_id FROM studies GROUP BY study_id HAVING count(*) > 1"
        flow.exclude("studies", "number occurs more than once", f"study_id IN ({repeated})")
        exclude_unusable(data, flow, "studies")
        flow.count("studies", "age is not a number of years", "age IS NULL AND age_as_typed IS NOT NULL")
        flow.count("studies", "sex is neither F nor M", "sex IS NULL AND sex_as_typed IS NOT NULL")
        flow.count("studies", "not described, without findings", "rhythms IS NULL")
        flow.count("studies", "rhythm is none of the classes", "rhythm IS NULL AND rhythms IS NOT NULL")
        flow.count("studies", "axis is none of the classes", "axis IS NULL AND axis_as_typed IS NOT NULL")
        for typed in ("age", "sex", "axis"):
            data.connection.execute(f"ALTER TABLE studies DROP {typed}_as_typed")
        return Built(
            table="studies",
            root=data.path,
            population="ludb",
            modalities={
                "ecg": {"path": "ecg"},
                "report": {"text": "report"},
                **tabular(data, "studies", ("age", "sex")),
            },
            labels={
                **{name: {"column": name} for name in _FINDINGS},
                "rhythm": {"column": "rhythm", "classes": list(RHYTHMS)},
                "axis": {"column": "axis", "classes": list(AXES)},
                "age": {"column": "age", "unit": "years"},
            },
            groups=("sex", "age_band"),
            notes=(
                "the rhythm is the first line of its cell; rhythms has all lines",
                "the age >89 is 90",
                "a model with reports as input sees the source of its findings; one with tabular sees the label age",
            ),
        )


def _cleaned(name: str) -> str:
    """Return a SQL column without the line breaks at the ends of its cells, and with one kind of line break inside."""
    lines = f"regexp_replace(\"{name}\", '\\r\\n?', chr(10), 'g')"
    return f"nullif(regexp_replace({lines}, '^\\s+|\\s+$', '', 'g'), '') AS \"{name}\""


def _age() -> str:
    return "CASE \"Age\" WHEN '>89' THEN 90 ELSE TRY_CAST(regexp_extract(\"Age\", '^[0-9]{1,3}$') AS INTEGER) END"


def _sex() -> str:
    return "CASE WHEN \"Sex\" IN ('F', 'M') THEN \"Sex\" END"


def _axis_texts() -> str:
    return f"replace(\"{_AXIS}\", '{_AXIS}: ', '')"


def _first_of(classes: tuple[str, ...], cell: str) -> str:
    """Return a SQL expression for the first line of a cell, or null if it is not a class."""
    line = f"trim(string_split({cell}, chr(10))[1])"
    return f"CASE WHEN {line} IN ({', '.join(map(literal, classes))}) THEN {line} END"


def _finding(name: str) -> str:
    column, pattern = _FINDINGS[name]
    present = f"regexp_matches(coalesce(\"{column}\", ''), {literal(pattern)}, 'i')"
    return f'CASE WHEN "{_RHYTHM}" IS NOT NULL THEN CAST({present} AS INTEGER) END AS {name}'


def _report() -> str:
    """Return a SQL expression for all descriptions, one per line."""
    return f"nullif(concat_ws(chr(10), {', '.join(f'{chr(34)}{name}{chr(34)}' for name in _COLUMNS[3:])}), '')"
