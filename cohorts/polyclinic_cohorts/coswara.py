"""Coswara (Bhattacharya et al. 2023): coughs, breaths and voices of participants, with their COVID-19 status."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from polyclinic.cohort.build import Built, CohortBuilder, DataRoot, Flow
from polyclinic.cohort.build.data_root import literal
from polyclinic_cohorts.coswara_answers import create_entries
from polyclinic_cohorts.file_paths import create_paths
from polyclinic_cohorts.groups import age_band, hashed_split, tabular

RECORDINGS = (
    "breathing-deep", "breathing-shallow", "cough-heavy", "cough-shallow", "counting-fast", "counting-normal",
    "vowel-a", "vowel-e", "vowel-o",
)  # fmt: skip
STATUSES = (
    "healthy", "positive_mild", "positive_moderate", "positive_asymp", "no_resp_illness_exposed",
    "resp_illness_not_identified", "recovered_full", "under_validation",
)  # fmt: skip
HISTORY: Mapping[str, str] = MappingProxyType(
    {
        "asthma": "asthma", "bd": "breathing_difficulty", "cld": "chronic_lung_disease", "cold": "cold",
        "cough": "cough", "diabetes": "diabetes", "diarrhoea": "diarrhoea", "fever": "fever", "ftg": "fatigue",
        "ht": "hypertension", "ihd": "ischemic_heart_disease", "loss_of_smell": "loss_of_smell", "mp": "muscle_pain",
        "pneumonia": "pneumonia", "smoker": "smoker", "st": "sore_throat",
    }
)  # fmt: skip
"""Symptoms and conditions, under the names of the table and of the cohort; older tables lack some."""
_MAX_AGE = 110
_MIN_BYTES = 45  # a header of 44 bytes, and a sample
_EMPTY = "sound file has no samples"


class Coswara(CohortBuilder):
    """Coswara: a recording of each participant, by default the heavy cough, with COVID-19 status, symptoms and age.

    The recordings are those that ``extract_data.py`` of the set unpacks, in a folder per day and participant; the
    answers are those of ``combined_data.csv``, or else of ``metadata.json`` beside the recordings. ``covid`` is present
    for a positive status, absent for ``healthy``, and uncertain (-1) for participants who were exposed, ill without a
    diagnosis, recovered, or still being validated. Participants are assigned to splits by a hash, as there is no
    published split.

    Args:
        recordings: recordings to use; with more than one, each is a row of its participant.
        min_quality: lowest quality to use where the recording was annotated: 0 bad, 1 fair, 2 good.
        seed: seed of the hash.
    """

    unverified = (
        "each id is taken to be of a different participant, though some returned",
        "a blank symptom or condition is taken for unknown, as the form records those that were ticked",
        "the recordings were not available; tables and annotations were read in the published repository",
        "metadata.json, used where combined_data.csv is absent, is taken to have the names of its columns as keys",
    )

    def __init__(self, *, recordings: Sequence[str] = ("cough-heavy",), min_quality: int = 1, seed: int = 0) -> None:
        if unknown := [name for name in recordings if name not in RECORDINGS] or (not recordings and ["none"]):
            raise ValueError(
                f"got recording {unknown[0]!r}, expected some of {', '.join(RECORDINGS)}; set `--recordings`"
            )
        self.recordings, self.min_quality, self.seed = recordings, min_quality, seed

    def build(self, root: DataRoot, flow: Flow) -> Built:
        """Build one row per participant and recording."""
        data, file, history = _create_participants(root, flow)
        annotated = self._create_quality(data)
        self._create_studies(data, history)
        flow.start("studies", f"recordings ({', '.join(self.recordings)}) below the root")
        self._exclude(data, flow, file)
        data.connection.execute("ALTER TABLE studies DROP known")
        return Built(
            table="studies",
            root=data.path,
            population="coswara",
            modalities={"audio": {"path": "audio"}, **tabular(data, "studies", ("age", "sex", *history))},
            labels={
                "covid": {"column": "covid"},
                "test_positive": {"column": "test_positive"},
                "status": {"column": "status", "classes": list(STATUSES)},
            },
            groups=("sex", "age_band", "country", "recording"),
            notes=(
                "covid is -1, uncertain, for " + ", ".join(STATUSES[4:]),
                f"recordings annotated with a quality below {self.min_quality} are excluded, others kept"
                if annotated else "the quality of the recordings is unknown, as annotations were not found",
                "symptoms, test and status were reported by the participants",
            ),
        )  # fmt: skip

    def _create_quality(self, data: DataRoot) -> bool:
        """Create ``qualities`` from the annotations that are present, and return whether there are any."""
        data.connection.execute("CREATE TABLE qualities (annotated VARCHAR, quality BIGINT)")
        names = [
            name
            for recording in dict.fromkeys(self.recordings)
            if data.has(name := f"annotations/{recording}_labels.csv")
        ]
        for name in names:
            data.view("annotations", name, {"FILENAME": "VARCHAR", "QUALITY": "VARCHAR"})
            data.connection.execute("""
                INSERT INTO qualities SELECT "FILENAME", min(TRY_CAST("QUALITY" AS BIGINT)) FROM annotations GROUP BY 1
            """)
        return bool(names)

    def _create_studies(self, data: DataRoot, history: Sequence[str]) -> None:
        create_paths(data, "files", suffixes=(".wav",))
        several = len(set(self.recordings)) > 1
        data.connection.execute(f"""
            CREATE TABLE studies AS
            WITH heard AS (SELECT parse_filename(name, true) AS recording, path,
                regexp_extract(path, '([^/]+)/[^/]+$', 1) AS folder FROM files)
            SELECT {"folder || '_' || recording" if several else "folder"} AS study_id, folder AS patient_id,
                {hashed_split("folder", seed=self.seed)} AS split, path AS audio, recording, quality,
                participants.id IS NOT NULL AS known, status, covid, test_positive, sex, age,
                {age_band("age")} AS age_band, country{"".join(f", {name}" for name in history)}
            FROM heard LEFT JOIN participants ON participants.id = folder
                LEFT JOIN qualities ON annotated = folder || '_' || recording
            WHERE recording IN ({", ".join(map(literal, self.recordings))})
        """)

    def _exclude(self, data: DataRoot, flow: Flow, file: str) -> None:
        flow.exclude("studies", f"folder is not of a participant in {file}", "NOT known")
        first = "SELECT first(audio ORDER BY audio) FROM studies GROUP BY study_id"
        flow.exclude("studies", "a copy in another folder", f"audio NOT IN ({first})")
        verdicts = data.checked("studies", "audio", check=has_samples)
        flow.exclude("studies", _EMPTY, f"audio IN (SELECT file FROM {verdicts} WHERE verdict != '')")
        flow.exclude("studies", f"annotated with a quality below {self.min_quality}", f"quality < {self.min_quality}")
        flow.count("studies", "of a quality that was not annotated", "quality IS NULL")
        flow.count("studies", "of uncertain status", "covid = -1")
        flow.count("studies", "of unknown status", "status IS NULL")
        flow.count("studies", "of unknown or implausible age", "age IS NULL")
        flow.count("studies", "of unknown sex", "sex IS NULL")


def has_samples(path: Path) -> str:
    """Return why a file is not a RIFF WAVE file with samples, by its start and size, or an empty text."""
    with path.open("rb") as stream:
        head = stream.read(12)
    riff = head[:4] == b"RIFF" and head[8:] == b"WAVE"
    return "" if riff and path.stat().st_size >= _MIN_BYTES else _EMPTY


def _create_participants(root: DataRoot, flow: Flow) -> tuple[DataRoot, str, tuple[str, ...]]:
    """Create ``participants``, one row per id; return folder and file of the answers, and the conditions they have."""
    data, file, columns = create_entries(root, ("a", "covid_status", "g", "l_c"), ("test_status", *HISTORY))
    found = {column: HISTORY[column] for column in columns if column in HISTORY}
    ticked = "".join(
        f", CASE lower(\"{column}\") WHEN 'true' THEN 'yes' WHEN 'y' THEN 'yes' WHEN 'false' THEN 'no' "
        f"WHEN 'n' THEN 'no' END AS {name}"
        for column, name in found.items()
    )
    test = "CASE test_status WHEN 'p' THEN 1 WHEN 'n' THEN 0 END" if "test_status" in columns else "NULL::INTEGER"
    age = "TRY_CAST(a AS DOUBLE)"
    data.connection.execute(f"""
        CREATE TABLE participants AS SELECT id, l_c AS country,
            CASE WHEN covid_status IN ({", ".join(map(literal, STATUSES))}) THEN covid_status END AS status,
            CASE WHEN covid_status LIKE 'positive%' THEN 1 WHEN covid_status = 'healthy' THEN 0
                WHEN covid_status IN ({", ".join(map(literal, STATUSES[4:]))}) THEN -1 END AS covid,
            {test} AS test_positive,
            CASE lower(g) WHEN 'male' THEN 'M' WHEN 'female' THEN 'F' WHEN 'other' THEN 'other' END AS sex,
            CASE WHEN {age} > 0 AND {age} <= {_MAX_AGE} THEN {age} END AS age{ticked}
        FROM entries
    """)
    flow.start("participants", f"participants in {file}")
    repeated = "SELECT id FROM participants GROUP BY id HAVING count(*) > 1"
    flow.exclude("participants", "no id", "id IS NULL")
    flow.exclude("participants", "id occurs more than once", f"id IN ({repeated})")
    return data, file, tuple(found.values())
