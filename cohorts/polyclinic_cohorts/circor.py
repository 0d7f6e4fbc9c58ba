"""CirCor DigiScope 1.0.3 (Oliveira et al. 2022), the heart sounds of the George B. Moody challenge 2022."""

from collections.abc import Sequence
from typing import Literal

from polyclinic.cohort.build import Built, CohortBuilder, DataRoot, Flow
from polyclinic.cohort.build.data_root import literal
from polyclinic_cohorts.file_paths import create_paths
from polyclinic_cohorts.groups import hashed_split, tabular

_TABLE, _FOLDER = "training_data.csv", "training_data"
LOCATIONS = ("AV", "PV", "TV", "MV", "Phc")
MURMUR = ("Present", "Absent", "Unknown")
_ID, _OTHER_ID = "Patient ID", "Additional ID"
_COLUMNS = dict.fromkeys(
    (
        _ID, "Age", "Sex", "Height", "Weight", "Pregnancy status", "Murmur", "Murmur locations",
        "Most audible location", "Outcome", "Campaign", _OTHER_ID,
    ),
    "VARCHAR",
)  # fmt: skip
_TABULAR = ("age_group", "sex", "height", "weight")
_AGES = ("Neonate", "Infant", "Child", "Adolescent", "Young adult", "Young Adult")
# 13918_AV.wav, or 50782_MV_1.wav for one of several recordings of a valve.
_NAME = "^([0-9]+)_(AV|PV|TV|MV|Phc)(_[0-9]+)?[.]wav$"


class CirCor(CohortBuilder):
    """CirCor DigiScope: heart sounds of children at up to five places, with murmur and outcome.

    Murmur is present or absent, or uncertain (-1) where the annotator heard no recording well enough; ``murmur_class``
    has all three. With ``unit`` set to ``recording``, a row is a recording, whose murmur is present only where the
    table lists its location; with ``patient``, a row is a patient with one recording, at the first of ``locations``.
    Patients of both campaigns have two numbers in the table, and are one patient here. The published files are the
    training set of the challenge, so that patients are assigned to splits by a hash.

    Args:
        unit: unit of a row, ``recording`` or ``patient``.
        locations: places to use, in order of preference: AV aortic, PV pulmonary, TV tricuspid, MV mitral valve, Phc
            other.
        seed: seed of the hash.
    """

    unverified = (
        "a recording at a place that Murmur locations does not list is taken to have no murmur",
        "the files were not available; the layout is that which public code reads",
    )

    def __init__(
        self,
        *,
        unit: Literal["recording", "patient"] = "recording",
        locations: Sequence[str] = LOCATIONS,
        seed: int = 0,
    ) -> None:
        if unknown := [name for name in locations if name not in LOCATIONS] or (not locations and ["none"]):
            raise ValueError(f"got location {unknown[0]!r}, expected some of {', '.join(LOCATIONS)}; set `--locations`")
        self.unit, self.locations, self.seed = unit, locations, seed

    def build(self, root: DataRoot, flow: Flow) -> Built:
        """Build one row per recording, or per patient."""
        data = root.folder(_TABLE, setting="--root")
        if not data.has(_FOLDER):
            raise ValueError(f"the folder {_FOLDER} is not beside {_TABLE}; set `--root` to the folder that holds both")
        _create_patients(data, flow)
        self._create_studies(data)
        flow.start("studies", f"recordings in {_FOLDER}")
        self._exclude(flow)
        for column in ("preference", "listed"):
            data.connection.execute(f"ALTER TABLE studies DROP {column}")
        return Built(
            table="studies",
            root=data.path,
            population="circor",
            modalities={"audio": {"path": "audio"}, **tabular(data, "studies", _TABULAR)},
            labels={
                "murmur": {"column": "murmur"},
                "murmur_class": {"column": "murmur_class", "classes": list(MURMUR)},
                "abnormal": {"column": "abnormal"},
            },
            groups=("sex", "age_group", "location", "campaign", "pregnant"),
            notes=(
                "location: AV aortic, PV pulmonary, TV tricuspid, MV mitral valve, Phc other",
                "murmur is -1, uncertain, where the table has Unknown",
                "abnormal is the outcome of the patient's clinical examination, the same for all recordings",
                "ages are given in groups, not in years",
            ),
        )

    def _create_studies(self, data: DataRoot) -> None:
        create_paths(data, "files", suffixes=(".wav",), folder=_FOLDER, setting="--root")
        order = " ".join(f"WHEN {literal(name)} THEN {place}" for place, name in enumerate(self.locations))
        heard = "CASE WHEN list_contains(murmur_places, location) THEN 1 ELSE 0 END"
        murmur = "CASE murmur_class WHEN 'Absent' THEN 0 WHEN 'Unknown' THEN -1 WHEN 'Present' THEN {0} END"
        of_recording = murmur.format(heard if self.unit == "recording" else 1)
        classes = f"CASE {of_recording} WHEN 1 THEN 'Present' WHEN 0 THEN 'Absent' WHEN -1 THEN 'Unknown' END"
        data.connection.execute(f"""
            CREATE TABLE studies AS
            WITH named AS (SELECT name, path, regexp_extract(name, '{_NAME}', 1) AS number,
                regexp_extract(name, '{_NAME}', 2) AS location FROM files)
            SELECT {"parse_filename(name, true)" if self.unit == "recording" else "number"} AS study_id,
                person AS patient_id, {hashed_split("person", seed=self.seed)} AS split, path AS audio, number,
                location,
                CASE location {order} END AS preference, patients.number IS NOT NULL AS listed,
                {of_recording} AS murmur, {classes} AS murmur_class, most_audible, abnormal, sex, age_group, height,
                weight, pregnant, campaign
            FROM named LEFT JOIN patients USING (number)
        """)

    def _exclude(self, flow: Flow) -> None:
        flow.exclude("studies", "name has no patient and place", "number = ''")
        flow.exclude("studies", f"patient is not in {_TABLE}", "NOT listed")
        flow.exclude("studies", f"place is not one of {', '.join(self.locations)}", "preference IS NULL")
        if self.unit == "patient":
            first = "SELECT first(audio ORDER BY preference, audio) FROM studies GROUP BY number"
            flow.exclude("studies", "another recording of the patient is preferred", f"audio NOT IN ({first})")
        flow.count("studies", "of unknown murmur", "murmur = -1")
        flow.count("studies", "without a murmur label", "murmur IS NULL")
        flow.count("studies", "without an outcome", "abnormal IS NULL")
        flow.count("studies", "of unknown sex", "sex IS NULL")
        flow.count("studies", "of unknown age group", "age_group IS NULL")


def _create_patients(data: DataRoot, flow: Flow) -> None:
    """Create ``patients``: one row per number, with the person, the smaller of both numbers of a patient."""
    data.view("entries", _TABLE, _COLUMNS)
    data.connection.execute(f"""
        CREATE TABLE patients AS
        SELECT {_filled(_ID)} AS number, {_filled(_OTHER_ID)} AS other_number,
            {_one_of("Murmur", MURMUR)} AS murmur_class,
            string_split(coalesce({_filled("Murmur locations")}, ''), '+') AS murmur_places,
            {_filled("Most audible location")} AS most_audible,
            CASE {_filled("Outcome")} WHEN 'Abnormal' THEN 1 WHEN 'Normal' THEN 0 END AS abnormal,
            CASE {_filled("Sex")} WHEN 'Female' THEN 'F' WHEN 'Male' THEN 'M' END AS sex,
            {_one_of("Age", _AGES)} AS age_group,
            TRY_CAST({_filled("Height")} AS DOUBLE) AS height, TRY_CAST({_filled("Weight")} AS DOUBLE) AS weight,
            CASE lower({_filled("Pregnancy status")}) WHEN 'true' THEN 'yes' WHEN 'false' THEN 'no' END AS pregnant,
            {_filled("Campaign")} AS campaign
        FROM entries
    """)
    flow.start("patients", f"patients in {_TABLE}")
    flow.exclude("patients", "no number", "number IS NULL")
    repeated = "SELECT number FROM patients GROUP BY number HAVING count(*) > 1"
    flow.exclude("patients", "number occurs more than once", f"number IN ({repeated})")
    flow.count("patients", "with a second number, of the other campaign", "other_number IS NOT NULL")
    data.connection.execute("""
        CREATE OR REPLACE TABLE patients AS
        WITH pairs AS (SELECT number, other_number AS other FROM patients WHERE other_number IS NOT NULL
            UNION SELECT other_number, number FROM patients WHERE other_number IS NOT NULL)
        SELECT patients.*, least(number, coalesce((SELECT min(other) FROM pairs
            WHERE pairs.number = patients.number), number)) AS person
        FROM patients
    """)


def _filled(column: str) -> str:
    """Return a SQL expression for a cell, null where the table writes nan; numbers may end in .0."""
    cell = f"regexp_replace(\"{column}\", '[.]0$', '')" if column in (_ID, _OTHER_ID) else f'"{column}"'
    return f"CASE WHEN lower({cell}) != 'nan' THEN {cell} END"


def _one_of(column: str, values: Sequence[str]) -> str:
    """Return a SQL expression for a cell, null for a value that is not expected."""
    return f'CASE WHEN "{column}" IN ({", ".join(map(literal, values))}) THEN "{column}" END'
