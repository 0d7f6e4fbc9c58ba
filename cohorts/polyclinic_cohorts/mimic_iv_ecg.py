"""MIMIC-IV-ECG 1.0 (Gow et al. 2023): ten-second ECGs with the report and measurements of the cart."""

from typing import Literal

from polyclinic.cohort.build import Built, CohortBuilder, DataRoot, Flow
from polyclinic.cohort.build.data_root import MISSING
from polyclinic_cohorts.ecg_signal import exclude_unusable
from polyclinic_cohorts.groups import age_band, hashed_split
from polyclinic_cohorts.mimic_patients import PATIENTS, UNKNOWN_AGE, age_in

__all__ = ["MIMICIVECG", "create_records"]

RECORD_LIST = "record_list.csv"
_HOSPITAL = "hosp/patients.csv.gz"
_LINKS = "waveform_note_links.csv"
RECORD_COLUMNS = {"subject_id": "BIGINT", "study_id": "BIGINT", "ecg_time": "TIMESTAMP", "path": "VARCHAR"}
_REPORT = tuple(f"report_{line}" for line in range(18))
_TIMES = ("p_onset", "p_end", "qrs_onset", "qrs_end", "t_end")
_AXES = ("p_axis", "qrs_axis", "t_axis")
_MEASURED = ("rr_interval", *_TIMES, *_AXES)
_MACHINE = {
    "subject_id": "BIGINT", "study_id": "BIGINT", "cart_id": "VARCHAR", "bandwidth": "VARCHAR", "filtering": "VARCHAR",
    **dict.fromkeys(_REPORT, "VARCHAR"), **dict.fromkeys(_MEASURED, "DOUBLE"),
}  # fmt: skip
# Codes that the cart writes for values that it could not measure; times, axes and beat intervals differ in theirs.
_NOT_MEASURED = "(29999, 32767, -32768, 65535)"
_INTERVALS = {
    "p_duration": ("p_onset", "p_end"),
    "pr_interval": ("p_onset", "qrs_onset"),
    "qrs_duration": ("qrs_onset", "qrs_end"),
    "qt_interval": ("qrs_onset", "t_end"),
}
_DURATION_MS = 10_000
_FULL_TURN_DEGREES = 360
_IS_REPEATED = "study_id IN (SELECT study_id FROM {0} GROUP BY study_id HAVING count(*) > 1)"


def create_records(data: DataRoot) -> None:
    """Create the table ``records``: subject_id, study_id, taken and file of every ECG.

    ``file`` is the header, relative to the folder of MIMIC-IV-ECG; the list names files without an extension.

    Args:
        data: folder with ``record_list.csv``.

    Raises:
        ValueError: the list or one of its columns is missing.
    """
    data.view("record_list", RECORD_LIST, RECORD_COLUMNS)
    data.connection.execute("""
        CREATE OR REPLACE TABLE records AS
        SELECT subject_id, study_id, ecg_time AS taken, path || '.hea' AS file FROM record_list
    """)


class MIMICIVECG(CohortBuilder):
    """MIMIC-IV-ECG: records with the machine report, intervals and axes from the cart.

    Machine reports and measurements are joined by the id of the study. Intervals are differences of the measured times;
    they are blank where a time was not measured or the interval is not positive. Patients are assigned to splits by a
    hash, as there is no official split.

    Args:
        check_signals: whether to read the samples of every record, and exclude those that contain NaN, are all zero,
            do not match their checksum or cannot be read; otherwise only the header must exist.
        flat_leads: whether to ``keep`` or ``exclude`` a record in which some leads are constantly zero.
        patients: table of MIMIC-IV with sex and age, relative to a folder below the root; blank to use none. The
            default is optional; any other table must exist.
        seed: seed of the hash.
    """

    unverified = (
        "waveform_note_links.csv has study_id, note_id and note_seq, according to a secondary source",
        UNKNOWN_AGE,
        "the codes for values that were not measured are from a secondary source; each is applied to every column",
    )

    def __init__(
        self,
        *,
        check_signals: bool = True,
        flat_leads: Literal["keep", "exclude"] = "keep",
        patients: str = _HOSPITAL,
        seed: int = 0,
    ) -> None:
        self.check_signals, self.flat_leads = check_signals, flat_leads
        self.patients, self.seed = patients, seed

    def build(self, root: DataRoot, flow: Flow) -> Built:
        """Build one row per record."""
        data = root.folder(RECORD_LIST, setting="--root")
        create_records(data)
        _create_measurements(data, flow)
        groups = self._create_patients(root)
        _create_links(data)
        data.connection.execute(f"""
            CREATE TABLE studies AS SELECT records.study_id, records.subject_id AS patient_id,
                {hashed_split("records.subject_id", seed=self.seed)} AS split, taken, file AS ecg, report,
                cart_id, bandwidth, filtering, {", ".join(_MEASURED)}, note_ids, gender AS sex,
                {age_in("year(taken)")} AS age, {age_band("age")} AS age_band
            FROM records LEFT JOIN measurements USING (study_id, subject_id) LEFT JOIN patients USING (subject_id)
            LEFT JOIN links USING (study_id)
        """)
        flow.start("studies", f"electrocardiograms in {RECORD_LIST}")
        flow.exclude("studies", "no study, patient or file", "study_id IS NULL OR patient_id IS NULL OR ecg IS NULL")
        flow.exclude("studies", "study id occurs more than once", _IS_REPEATED.format("studies"))
        self._exclude_unusable(data, flow)
        _blank_unmeasured(data, flow)
        flow.count("studies", "without a machine report", "report IS NULL")
        units = {"rr_interval": "ms", **dict.fromkeys(_INTERVALS, "ms"), **dict.fromkeys(_AXES, "degrees")}
        return Built(
            table="cohort",
            root=data.path,
            population="mimic-iv",
            modalities={"ecg": {"path": "ecg"}, "report": {"text": "report"}},
            labels={name: {"column": name, "unit": unit} for name, unit in units.items()},
            groups=groups,
            notes=(
                "reports are the lines that the cart printed, not a physician's reading, each ended with a full stop",
                "the file order of leads is I, II, III, aVR, aVF, aVL, V1 to V6; leads are found by name",
                f"age is unknown in the years before anchor_year where anchor_age is above 89; sex and age are "
                f"{'those of MIMIC-IV' if groups else 'unknown, as MIMIC-IV was not found'}",
            ),
        )

    def _create_patients(self, root: DataRoot) -> tuple[str, ...]:
        """Create the table ``patients``, empty if it is not found, and return the groups that it provides."""
        if self.patients and (self.patients != _HOSPITAL or root.folders(self.patients)):
            root.folder(self.patients, setting="--patients").view("patients", self.patients, PATIENTS)
            return ("sex", "age_band")
        columns = ", ".join(f"{name} {kind}" for name, kind in PATIENTS.items())
        root.connection.execute(f"CREATE TABLE patients ({columns})")
        return ()

    def _exclude_unusable(self, data: DataRoot, flow: Flow) -> None:
        if self.check_signals:
            exclude_unusable(data, flow, "studies", flat_leads=self.flat_leads)
            return
        verdicts = data.checked("studies", "ecg")
        flow.exclude(
            "studies", "header is missing", f"ecg IN (SELECT file FROM {verdicts} WHERE verdict = '{MISSING}')"
        )


def _create_measurements(data: DataRoot, flow: Flow) -> None:
    """Create the table ``measurements``: report and measurements by study, without blank lines of the report."""
    data.view("machine", "machine_measurements.csv", _MACHINE)
    lines = ", ".join(f"rtrim({line}, '. ') || '.'" for line in _REPORT)
    data.connection.execute(f"""
        CREATE TABLE measurements AS SELECT study_id, subject_id, cart_id, bandwidth, filtering,
            nullif(concat_ws(' ', {lines}), '') AS report, {", ".join(_MEASURED)}
        FROM machine
    """)
    flow.start("measurements", "rows in machine_measurements.csv")
    flow.exclude("measurements", "study id occurs more than once", _IS_REPEATED.format("measurements"))
    flow.exclude(
        "measurements",
        f"no record of that study and patient in {RECORD_LIST}",
        "NOT EXISTS (SELECT 1 FROM records WHERE records.study_id = measurements.study_id "
        "AND records.subject_id = measurements.subject_id)",
    )


def _create_links(data: DataRoot) -> None:
    """Create the table ``links`` with the ids of cardiologists' notes, empty if the file of links is missing."""
    data.connection.execute("CREATE TABLE links (study_id BIGINT, note_ids VARCHAR)")
    if data.has(_LINKS):
        data.view("linked", _LINKS, {"study_id": "BIGINT", "note_id": "VARCHAR", "note_seq": "BIGINT"})
        ids = "string_agg(note_id, ' ' ORDER BY note_seq, note_id)"
        data.connection.execute(f"INSERT INTO links SELECT study_id, {ids} FROM linked GROUP BY study_id")


def _blank_unmeasured(data: DataRoot, flow: Flow) -> None:
    """Create the table ``cohort``, with intervals, and without codes for missing values and implausible values."""
    for column in _MEASURED:
        flow.count("studies", f"{column} was not measured", f"{column} IN {_NOT_MEASURED}")
    measured = ", ".join(f"{name} = CASE WHEN {name} NOT IN {_NOT_MEASURED} THEN {name} END" for name in _MEASURED)
    data.connection.execute(f"UPDATE studies SET {measured}")
    plausible = {"rr_interval": f"rr_interval > 0 AND rr_interval <= {_DURATION_MS}"}
    plausible |= {axis: f"abs({axis}) <= {_FULL_TURN_DEGREES}" for axis in _AXES}
    flow.count("studies", "rr_interval is not within the ten seconds", f"NOT ({plausible['rr_interval']})")
    for axis in _AXES:
        flow.count("studies", f"{axis} is more than a turn", f"NOT ({plausible[axis]})")
    for name, (start, end) in _INTERVALS.items():
        flow.count("studies", f"{name} begins at or after its end", f"{start} >= {end}")
    cleaned = ", ".join(f"CASE WHEN {condition} THEN {name} END AS {name}" for name, condition in plausible.items())
    intervals = ", ".join(
        f"CASE WHEN {start} < {end} THEN {end} - {start} END AS {name}" for name, (start, end) in _INTERVALS.items()
    )
    data.connection.execute(f"CREATE TABLE cohort AS SELECT * REPLACE ({cleaned}), {intervals} FROM studies")
