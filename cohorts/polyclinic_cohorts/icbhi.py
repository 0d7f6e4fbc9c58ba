"""ICBHI 2017 respiratory sounds (Rocha et al. 2019): recordings with crackles and wheezes by breathing cycle."""

from typing import Literal

from polyclinic.cohort.build import Built, CohortBuilder, DataRoot, Flow
from polyclinic_cohorts.groups import age_band, hashed_split

DIAGNOSES = ("Healthy", "COPD", "URTI", "Bronchiectasis", "Bronchiolitis", "Pneumonia", "LRTI", "Asthma")
_FOLDER = "ICBHI_final_database"
_SPLIT = "ICBHI_challenge_train_test.txt"
_DIAGNOSIS = "ICBHI_Challenge_diagnosis.txt"
_DEMOGRAPHIC = "ICBHI_Challenge_demographic_information.txt"
_CYCLES = {"normal": (0, 0), "crackle": (1, 0), "wheeze": (0, 1), "both": (1, 1)}
_NAME = "^([0-9]+)_([^_]+)_(Tc|Al|Ar|Pl|Pr|Ll|Lr)_(sc|mc)_([^_]+)$"
_PARTS = {"location": 3, "mode": 4, "device": 5}
_TEST_SHARE = 0.4
_BOTH_SIDES = "patient_id IN (SELECT patient_id FROM recordings GROUP BY patient_id HAVING count(DISTINCT side) > 1)"
_SHARED_EXCLUSIONS = {
    "test": ("training recordings of patients who also test", f"side = 'train' AND {_BOTH_SIDES}"),
    "train": ("test recordings of patients who are also trained on", f"side = 'test' AND {_BOTH_SIDES}"),
    "exclude": ("patients of both sides", _BOTH_SIDES),
}


class ICBHI(CohortBuilder):
    """ICBHI 2017: recordings with their crackles and wheezes, the patient's diagnosis, and the split of the challenge.

    A study is a recording; crackles or wheezes are present if any of its breathing cycles has them. Two patients, 156
    and 218, are on both sides of the official split: by default their training recordings are excluded, so that the
    test split is complete and results on it are comparable with published ones. The challenge scores cycles; here,
    recordings are scored.

    Args:
        split: ``official`` for the split of the challenge, or ``patient`` for 60 % training and 40 % test patients by
            a hash.
        shared_patients: side on which patients of both sides retain their recordings, or ``exclude`` to exclude them.
        val: share of the training patients that become validation patients, by a hash.
        seed: seed of the hash.
    """

    unverified = (
        "cells of the tables without a header are separated by tabs, blanks or commas: no public source confirms which",
        "the tables may be in other folders below the root than the recordings",
    )

    def __init__(
        self,
        *,
        split: Literal["official", "patient"] = "official",
        shared_patients: Literal["test", "train", "exclude"] = "test",
        val: float = 0.1,
        seed: int = 0,
    ) -> None:
        if not 0 <= val < 1:
            raise ValueError(f"got val {val}, expected a share of at least 0 and below 1; set `--val`")
        self.split, self.shared_patients, self.val, self.seed = split, shared_patients, val, seed

    def build(self, root: DataRoot, flow: Flow) -> Built:
        """Build one row per recording."""
        data = root.folder(_FOLDER, setting="--root")
        data.names("sounds", f"{_FOLDER}/*.wav")
        _create_cycles(data)
        _create_patients(root)
        self._create_recordings(root, flow)
        _exclude_unusable(flow)
        if self.split == "official":
            flow.exclude("recordings", *_SHARED_EXCLUSIONS[self.shared_patients])
            hashed = hashed_split("patient_id", seed=self.seed, val=self.val, test=0)
            split = f"CASE WHEN side = 'test' THEN 'test' ELSE {hashed} END"
        else:
            share = self.val * (1 - _TEST_SHARE)
            split = hashed_split("patient_id", seed=self.seed, val=share, test=_TEST_SHARE)
        counted = ", ".join(f"{name}_cycles" for name in _CYCLES)
        data.connection.execute(f"""
            CREATE TABLE studies AS SELECT stem AS study_id, patient_id, {split} AS split,
                '{_FOLDER}/' || stem || '.wav' AS audio, crackles, wheezes, cycles, {counted}, diagnosis,
                sex, age, {age_band("age")} AS age_band, bmi, weight, height, device, location, mode
            FROM recordings LEFT JOIN annotated USING (stem) LEFT JOIN patients USING (patient_id)
        """)
        flow.count("recordings", "of patients without a diagnosis", _without("diagnosis"))
        flow.count("recordings", "of patients of unknown age", _without("age"))
        quantities = ("cycles", *(f"{name}_cycles" for name in _CYCLES))
        return Built(
            table="studies",
            root=data.path,
            population="icbhi",
            modalities={"audio": {"path": "audio"}},
            labels={
                "crackles": {"column": "crackles"},
                "wheezes": {"column": "wheezes"},
                "diagnosis": {"column": "diagnosis", "classes": list(DIAGNOSES)},
                **{name: {"column": name, "unit": "cycles"} for name in quantities},
            },
            groups=("sex", "age_band", "device", "location", "mode"),
            notes=(
                "location: Tc trachea; A anterior, P posterior, L lateral, each left (l) or right (r)",
                "mode: sc one channel at a time, mc several at once",
                "crackle_cycles and wheeze_cycles hold one of the two alone, both_cycles both",
                "the diagnosis is that of the patient, and the same for all recordings of a patient",
            ),
        )

    def _create_recordings(self, root: DataRoot, flow: Flow) -> None:
        """Create the table ``recordings`` from file names: those with a sound, or named in the official split."""
        connection = root.connection
        connection.execute("CREATE TABLE sides (stem VARCHAR, side VARCHAR, sides BIGINT)")
        message = f"recordings in {_FOLDER}"
        if self.split == "official":
            message = f"recordings in {_FOLDER} or named in {_SPLIT}"
            _create_lines(root, "split_lines", _SPLIT, good="len(cells) = 2 AND cells[2] IN ('train', 'test')")
            connection.execute("""
                INSERT INTO sides SELECT cells[1], min(cells[2]), count(DISTINCT cells[2]) FROM split_lines GROUP BY 1
            """)
        connection.execute(f"""
            CREATE TABLE recordings AS SELECT *, TRY_CAST(regexp_extract(stem, '{_NAME}', 1) AS BIGINT) AS patient_id,
                {", ".join(f"regexp_extract(stem, '{_NAME}', {part}) AS {name}" for name, part in _PARTS.items())}
            FROM sides FULL JOIN (SELECT parse_filename(file, true) AS stem, true AS heard FROM sounds) USING (stem)
        """)
        flow.start("recordings", message)
        flow.exclude("recordings", "sound file is missing", "heard IS NULL")
        if self.split == "official":
            flow.exclude("recordings", f"not named in {_SPLIT}", "side IS NULL")
            flow.exclude("recordings", f"on both sides of {_SPLIT}", "sides > 1")


def _exclude_unusable(flow: Flow) -> None:
    flow.exclude("recordings", "name lacks patient, location, mode or device", "patient_id IS NULL")
    flow.exclude("recordings", "no annotated cycle", "stem NOT IN (SELECT stem FROM annotated)")
    flow.exclude(
        "recordings",
        "a line of the annotation is not onset, a later offset, and 0 or 1 twice",
        "stem IN (SELECT stem FROM annotated WHERE wrong > 0)",
    )


def _create_cycles(data: DataRoot) -> None:
    """Create the table ``annotated``: number of cycles of each kind, and of invalid lines, by recording."""
    data.lines("cycle_lines", f"{_FOLDER}/*.txt")
    kinds = ", ".join(
        f"count(*) FILTER (crackle = {crackle} AND wheeze = {wheeze}) AS {name}_cycles"
        for name, (crackle, wheeze) in _CYCLES.items()
    )
    data.connection.execute(f"""
        CREATE TABLE annotated AS SELECT stem, max(crackle) AS crackles, max(wheeze) AS wheezes, count(*) AS cycles,
            {kinds}, count(*) FILTER (good IS NOT true) AS wrong
        FROM (SELECT *, cells = 4 AND onset < "offset" AND crackle IN (0, 1) AND wheeze IN (0, 1) AS good FROM (
            SELECT parse_filename(file, true) AS stem, len(cells) AS cells, TRY_CAST(cells[1] AS DOUBLE) AS onset,
                TRY_CAST(cells[2] AS DOUBLE) AS "offset", TRY_CAST(cells[3] AS INTEGER) AS crackle,
                TRY_CAST(cells[4] AS INTEGER) AS wheeze
            FROM (SELECT file, {_cells()} AS cells FROM cycle_lines)))
        GROUP BY stem
    """)


def _create_patients(root: DataRoot) -> None:
    """Create the table ``patients``: diagnosis and demographics; values on which two lines disagree are blank."""
    _create_lines(root, "diagnosis_lines", _DIAGNOSIS, good="len(cells) = 2")
    _create_lines(root, "demographic_lines", _DEMOGRAPHIC, good="len(cells) = 6")
    columns = {"age": 2, "sex": 3, "bmi": 4, "weight": 5, "height": 6}
    numbers = ", ".join(
        _agreed(f"CAST({_not_na(place)} AS {'VARCHAR' if name == 'sex' else 'DOUBLE'})", name)
        for name, place in columns.items()
    )
    root.connection.execute(f"""
        CREATE TABLE patients AS SELECT * FROM
            (SELECT CAST(cells[1] AS BIGINT) AS patient_id, {_agreed(_not_na(2), "diagnosis")}
                FROM diagnosis_lines GROUP BY 1)
            FULL JOIN (SELECT CAST(cells[1] AS BIGINT) AS patient_id, {numbers} FROM demographic_lines GROUP BY 1)
            USING (patient_id)
    """)


def _create_lines(root: DataRoot, table: str, name: str, *, good: str) -> None:
    """Create a table of the cells of every line of a file below the root."""
    root.folder(name, setting="--root").lines(f"{table}_read", name)
    connection = root.connection
    connection.execute(f"CREATE TABLE {table} AS SELECT {_cells()} AS cells FROM {table}_read")
    wrong = connection.execute(f"SELECT count(*) FROM {table} WHERE NOT ({good})").fetchone()
    if wrong != (0,):
        assert wrong is not None
        raise ValueError(
            f"{name} has {wrong[0]} lines that do not match its layout; is this another version of the data?"
        )


def _cells() -> str:
    return "string_split_regex(line, '[\\s,]+')"


def _not_na(place: int) -> str:
    return f"nullif(nullif(cells[{place}], 'NA'), '')"


def _agreed(value: str, name: str) -> str:
    return f"CASE WHEN count(DISTINCT {value}) = 1 THEN min({value}) END AS {name}"


def _without(column: str) -> str:
    return f"patient_id NOT IN (SELECT patient_id FROM patients WHERE {column} IS NOT NULL)"
