"""PhysioNet/CinC challenges 2020 and 2021 (Perez Alday et al. 2020, Reyna et al. 2021): ECGs of eight sources."""

from collections.abc import Sequence
from typing import Literal

from polyclinic.cohort.build import Built, CohortBuilder, DataRoot, Flow
from polyclinic.cohort.build.data_root import literal
from polyclinic_cohorts.challenge_codes import DIAGNOSES, SOURCES, diagnosis_columns, source_of
from polyclinic_cohorts.challenge_headers import CUT_SIGNAL, NO_HEADER, NO_SIGNAL, OUTSIDE, read_headers
from polyclinic_cohorts.ecg_signal import exclude_unusable
from polyclinic_cohorts.file_paths import create_paths
from polyclinic_cohorts.groups import age_band, hashed_split, tabular

_PTBXL = "ptbxl_database.csv"
_ODD_AGE = 110


class ECGChallenge(CohortBuilder):
    """ECG challenges 2020 and 2021: records of CPSC, INCART, PTB, PTB-XL, Georgia, Chapman-Shaoxing and Ningbo.

    Every ``.hea`` file below the root is a record, in any of the published folders (``training/georgia/g1``,
    ``WFDB_Ga``, ``WFDBRecords/01/010``); its source is known by its name. The labels are the 26 diagnoses that the
    challenge 2021 scores, with its four pairs of equivalent codes as one diagnosis each; a record without any code has
    blank labels. There is no published split that is open: records are assigned by a hash. Headers name no patient, so
    that each record counts as a patient, except those of PTB-XL where ``ptbxl_database.csv`` lies below the root: they
    have its patients, and its folds as splits.

    Args:
        check_signals: whether to read the samples of every record, and exclude those that contain NaN, are all zero, do
            not match their checksum or cannot be read; otherwise only header and size of the signal file are checked.
        sources: sources to use, by their folder names in the challenge 2021.
        unused: labels of a diagnosis that no record of a source has: ``absent`` as the challenge scores it, or
            ``unknown``, as the source may not have looked for it.
        seed: seed of the hash.
    """

    unverified = (
        "the source of a record is taken from its name: A CPSC, Q CPSC extra, I INCART, S PTB, HR PTB-XL, E Georgia, "
        "JS Chapman-Shaoxing up to 10646 and Ningbo above",
        "HR00001 is taken to be ecg_id 1 of PTB-XL where ptbxl_database.csv is found",
        "PTB and INCART have several records of some patients, which the headers do not name: such patients may be in "
        "several splits",
    )

    def __init__(
        self,
        *,
        check_signals: bool = True,
        sources: Sequence[str] = tuple(SOURCES),
        unused: Literal["absent", "unknown"] = "absent",
        seed: int = 0,
    ) -> None:
        if unknown := sorted(set(sources) - set(SOURCES)):
            raise ValueError(f"got source {unknown[0]!r}, expected one of {', '.join(SOURCES)}; set `--sources`")
        if not sources:
            raise ValueError("got no source, expected at least one; set `--sources`")
        self.check_signals, self.sources, self.unused, self.seed = check_signals, sources, unused, seed

    def build(self, root: DataRoot, flow: Flow) -> Built:
        """Build one row per record."""
        _create_records(root, flow)
        self._exclude_unusable(flow)
        if self.check_signals:
            exclude_unusable(root, flow, "records")
        _count(flow)
        joined = self._create_patients(root, flow)
        root.connection.execute(f"""
            CREATE TABLE studies AS SELECT record AS study_id, patient_id, split, ecg, source, rate, leads,
                array_to_string(codes, ' ') AS codes, CASE WHEN age >= 90 THEN 90 ELSE age END AS age,
                {age_band("age")} AS age_band, sex, {diagnosis_columns("codes")}
            FROM records JOIN patients USING (record)
        """)
        flow.start("studies", "records of these sources")
        names = [f'"{name}"' for name in DIAGNOSES]
        flow.count("studies", "without a diagnosis", f"{names[0]} IS NULL")
        flow.count("studies", "with diagnoses that are not scored, all labels absent", f"0 = {' + '.join(names)}")
        if self.unused == "unknown":
            self._blank_unused(root)
        return Built(
            table="studies",
            root=root.path,
            population="ecg-challenge",
            modalities={"ecg": {"path": "ecg"}, **tabular(root, "studies", ("age", "sex"))},
            labels={name: {"column": name} for name in DIAGNOSES},
            groups=("sex", "age_band", "source"),
            notes=(
                "diagnoses under the abbreviations of the challenge; LBBB, RBBB, PAC and PVC join two codes each",
                f"a diagnosis that no record of a source has is {self.unused} there",
                "patients and folds of PTB-XL are those of ptbxl_database.csv" if joined else
                "each record counts as a patient: those with several records may be in several splits",
                "Chapman-Shaoxing and Ningbo of the challenge and of the set ecg-arrhythmia are the same records",
            ),
        )  # fmt: skip

    def _exclude_unusable(self, flow: Flow) -> None:
        for verdict in (NO_HEADER, OUTSIDE, NO_SIGNAL, CUT_SIGNAL):
            flow.exclude("records", verdict, f"verdict = {literal(verdict)}")
        flow.exclude("records", "name is not of a known source", "source IS NULL")
        flow.exclude(
            "records", "source is not used", f"source NOT IN ({', '.join(literal(name) for name in self.sources)})"
        )
        first = "SELECT first(ecg ORDER BY length(ecg), ecg) FROM records GROUP BY record"
        flow.exclude("records", "a copy in another folder", f"ecg NOT IN ({first})")

    def _create_patients(self, root: DataRoot, flow: Flow) -> bool:
        """Create ``patients``: record, patient and split; return whether those of PTB-XL are known."""
        joined = "ptb-xl" in self.sources and bool(root.folders(_PTBXL))
        if joined:
            data = root.folder(_PTBXL, setting="--root")
            data.view("ptbxl", _PTBXL, {"ecg_id": "BIGINT", "patient_id": "DOUBLE", "strat_fold": "INTEGER"})
            flow.exclude(
                "records", f"a record of PTB-XL that is not in {_PTBXL}",
                "source = 'ptb-xl' AND CAST(substr(record, 3) AS BIGINT) NOT IN "
                "(SELECT ecg_id FROM ptbxl WHERE patient_id IS NOT NULL AND strat_fold IS NOT NULL)",
            )  # fmt: skip
        else:
            root.connection.execute("CREATE TABLE ptbxl (ecg_id BIGINT, patient_id DOUBLE, strat_fold INTEGER)")
        root.connection.execute(f"""
            CREATE TABLE patients AS SELECT record,
                coalesce('ptb-xl ' || CAST(CAST(ptbxl.patient_id AS BIGINT) AS VARCHAR), record) AS patient_id,
                CASE WHEN strat_fold <= 8 THEN 'train' WHEN strat_fold = 9 THEN 'val' WHEN strat_fold > 9 THEN 'test'
                    ELSE {hashed_split("record", seed=self.seed)} END AS split
            FROM records LEFT JOIN ptbxl
                ON source = 'ptb-xl' AND ecg_id = TRY_CAST(regexp_extract(record, '[0-9]+$') AS BIGINT)
        """)
        return joined

    def _blank_unused(self, root: DataRoot) -> None:
        """Blank the diagnoses that no record of a source has."""
        for name in DIAGNOSES:
            root.connection.execute(f"""
                UPDATE studies SET "{name}" = NULL WHERE source NOT IN (SELECT source FROM studies WHERE "{name}" = 1)
            """)


def _create_records(root: DataRoot, flow: Flow) -> None:
    """Create ``records`` from every header below the root."""
    create_paths(root, "headers", suffixes=(".hea",))
    paths = [path for (path,) in root.connection.execute("SELECT path FROM headers ORDER BY path").fetchall()]
    if not paths:
        raise ValueError("no header (.hea) is in the data root; set `--root` to the folder that holds the records")
    root.connection.register("parsed", read_headers(root.path, paths))
    age = "TRY_CAST(age_as_typed AS DOUBLE)"
    root.connection.execute(f"""
        CREATE TABLE records AS SELECT *, {source_of("record")} AS source,
            CASE WHEN {age} >= 0 AND ({age} <= {_ODD_AGE} OR {age} = 300) THEN {age} END AS age,
            CASE WHEN lower(sex_as_typed) IN ('male', 'm') THEN 'M'
                WHEN lower(sex_as_typed) IN ('female', 'f') THEN 'F' END AS sex
        FROM parsed
    """)
    root.connection.unregister("parsed")
    flow.start("records", "headers (.hea) below the root")


def _is_blank(column: str) -> str:
    return f"lower(coalesce({column}, '')) IN ('', 'nan', 'unknown', 'n/a')"


def _count(flow: Flow) -> None:
    flow.count("records", "age is not given", f"age_as_typed IS NULL OR {_is_blank('age_as_typed')}")
    flow.count("records", "age is not a number of years", f"age IS NULL AND NOT {_is_blank('age_as_typed')}")
    flow.count("records", "sex is neither male nor female", "sex IS NULL")
