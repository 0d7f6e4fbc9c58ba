"""MIMIC-CXR-JPG 2.0.0 and 2.1.0 (Johnson et al. 2019): chest radiographs with findings and, where present, reports."""

from collections.abc import Sequence
from typing import Literal

from polyclinic.cohort.build import Built, CohortBuilder, DataRoot, Flow
from polyclinic_cohorts.findings import FINDINGS, finding_columns, finding_names
from polyclinic_cohorts.groups import age_band
from polyclinic_cohorts.mimic_patients import PATIENTS, UNKNOWN_AGE, age_in
from polyclinic_cohorts.mimic_reports import add_reports
from polyclinic_cohorts.radiographs import Unit, below, choose_radiographs, preference

# Version 2.1.0 has tables of the same names as version 2.0.0.
METADATA = "mimic-cxr-2.0.0-metadata.csv.gz"
LABELS = "mimic-cxr-2.0.0-{}.csv.gz"
METADATA_COLUMNS = {
    "dicom_id": "VARCHAR", "subject_id": "BIGINT", "study_id": "BIGINT", "ViewPosition": "VARCHAR", "Rows": "INTEGER",
    "Columns": "INTEGER", "StudyDate": "BIGINT", "StudyTime": "DOUBLE",
    "PatientOrientationCodeSequence_CodeMeaning": "VARCHAR",
}  # fmt: skip
_RADIOLOGISTS = "mimic-cxr-2.1.0-test-set-labeled.csv"


class MIMICCXR(CohortBuilder):
    """MIMIC-CXR-JPG: radiographs with the findings of a labeller, reports where present, and the official split.

    A row is a study with its preferred image (the first of ``views``, then the earliest), unless ``unit`` is ``image``.
    If found up to three levels below the root, reports come from ``mimic_cxr_sectioned.csv`` or else from files such
    as ``files/p10/p10000032/s50414267.txt``, and sex and age from ``hosp/patients.csv.gz`` of MIMIC-IV.

    Args:
        unit: unit of a row, ``study`` or ``image``; images of a study share its report and findings.
        views: views to use, in order of preference; lateral views only if listed, such as ``LATERAL``.
        labeller: source of the findings, ``chexpert`` or ``negbio``.
        radiologist_test: whether to test on the findings of radiologists (version 2.1.0); other test studies are
            excluded.
        reports: folder of the report files below the root; searched for if empty.
    """

    unverified = (
        "values of mimic-cxr-2.1.0-test-set-labeled.csv are taken to be 1, 0, -1 or blank as in the labellers' tables",
        UNKNOWN_AGE,
    )

    def __init__(
        self,
        *,
        unit: Unit = "study",
        views: Sequence[str] = ("PA", "AP"),
        labeller: Literal["chexpert", "negbio"] = "chexpert",
        radiologist_test: bool = False,
        reports: str = "",
    ) -> None:
        self.unit, self.views, self.labeller = unit, views, labeller
        self.radiologist_test, self.reports = radiologist_test, reports

    def build(self, root: DataRoot, flow: Flow) -> Built:
        """Build one row per study, or per image, with the views to use."""
        data = root.folder(METADATA, setting="--root")
        create_images(data)
        create_chexpert(data, self.labeller)
        data.view("cxr_split", "mimic-cxr-2.0.0-split.csv.gz", {"dicom_id": "VARCHAR", "split": "VARCHAR"})
        demographics_note = _create_demographics(root)
        data.connection.execute(f"""
            CREATE TABLE studies AS SELECT images.{"study_id" if self.unit == "study" else "dicom_id"} AS study_id,
                subject_id AS patient_id, replace(split, 'validate', 'val') AS split, images.study_id AS study,
                dicom_id AS image, {below(root, data.path)} || file AS xray, view, orientation, taken, sex, age_band,
                {preference("view", self.views)} AS preference, CAST(NULL AS VARCHAR) AS report, {finding_names()}
            FROM images LEFT JOIN cxr_split USING (dicom_id) LEFT JOIN labels ON labels.study_id = images.study_id
                LEFT JOIN demographics USING (dicom_id)
        """)
        flow.start("studies", f"radiographs in {METADATA}")
        flow.exclude("studies", "no split", "split IS NULL")
        choose_radiographs(root, flow, "studies", views=self.views, unit=self.unit, order="taken, image")
        notes = [_UNIT_NOTES[self.unit], _LABEL_NOTE, demographics_note]
        if self.radiologist_test:
            notes.append(_apply_radiologist_labels(data, flow))
        unlabelled = " AND ".join(f'"{name}" IS NULL' for name in FINDINGS)
        flow.count("studies", "without any finding, present, absent or uncertain", unlabelled)
        report, message = add_reports(root, flow, folder=self.reports)
        return Built(
            table="studies",
            root=root.path,
            population="mimic-iv",
            modalities={"xray": {"path": "xray"}, **({"report": {report: "report"}} if report else {})},
            labels={name: {"column": name} for name in FINDINGS},
            groups=("sex", "age_band", "view", "orientation"),
            notes=(*notes, message),
        )


_UNIT_NOTES = {
    "study": "a row is a study with one of its images",
    "image": "a row is an image; images of a study share its report and findings",
}
_LABEL_NOTE = "findings were extracted from the reports: a model with reports as input sees the source of its labels"


def create_images(data: DataRoot) -> None:
    """Create the table ``images``: one row per radiograph, with the time of its study and its file.

    Columns are subject_id, study_id, dicom_id, view, taken, orientation, rows, columns (pixels) and file, which is
    relative to the folder of MIMIC-CXR-JPG. ``taken`` is null where date or time are blank or invalid.

    Args:
        data: folder with the tables of MIMIC-CXR-JPG.

    Raises:
        ValueError: the metadata or one of its columns is missing.
    """
    data.view("cxr_metadata", METADATA, METADATA_COLUMNS)
    # A time such as 93012.5 means 09:30:12.5.
    data.connection.execute("""
        CREATE OR REPLACE TABLE images AS SELECT subject_id, study_id, dicom_id, "ViewPosition" AS view,
            try_strptime(format('{:08d}{:06d}', "StudyDate", CAST(floor("StudyTime") AS BIGINT)), '%Y%m%d%H%M%S')
                AS taken,
            "PatientOrientationCodeSequence_CodeMeaning" AS orientation, "Rows" AS rows, "Columns" AS columns,
            'files/p' || left(subject_id::VARCHAR, 2) || '/p' || subject_id || '/s' || study_id || '/' || dicom_id
                || '.jpg' AS file
        FROM cxr_metadata
    """)


def create_chexpert(data: DataRoot, labeller: Literal["chexpert", "negbio"] = "chexpert") -> None:
    """Create the table ``labels``: study_id and the findings that a labeller extracted from the report.

    Args:
        data: folder with the tables of MIMIC-CXR-JPG.
        labeller: labeller that extracted the findings.

    Raises:
        ValueError: the table or one of its columns is missing.
    """
    data.view("cxr_labels", LABELS.format(labeller), {"study_id": "BIGINT", **finding_columns()})
    data.connection.execute(f"CREATE OR REPLACE TABLE labels AS SELECT study_id, {finding_names()} FROM cxr_labels")


def _create_demographics(root: DataRoot) -> str:
    """Create the table ``demographics``: dicom_id, sex and age_band, null without MIMIC-IV; return a note on them."""
    if not root.folders("hosp/patients.csv.gz"):
        root.connection.execute("""
            CREATE TABLE demographics AS SELECT dicom_id, NULL::VARCHAR AS sex, NULL::VARCHAR AS age_band FROM images
        """)
        return "sex and age are unknown, as hosp/patients.csv.gz of MIMIC-IV is not in the data root"
    hospital = root.folder("hosp/patients.csv.gz", setting="--root")
    hospital.view("patients", "hosp/patients.csv.gz", PATIENTS)
    age = age_in('"StudyDate" // 10000')
    root.connection.execute(f"""
        CREATE TABLE demographics AS SELECT dicom_id, gender AS sex, {age_band(age)} AS age_band
        FROM cxr_metadata LEFT JOIN patients USING (subject_id)
    """)
    return "sex and age, at the time of the image, are those of hosp/patients.csv.gz of MIMIC-IV"


def _apply_radiologist_labels(data: DataRoot, flow: Flow) -> str:
    """Replace the findings of test studies by those of radiologists, exclude the others, and return a note."""
    columns = {"Airspace Opacity" if name == "Lung Opacity" else name: kind for name, kind in finding_columns().items()}
    data.view("radiologists", _RADIOLOGISTS, {"study_id": "BIGINT", **columns})
    flow.exclude(
        "studies",
        "test study that no radiologist labelled",
        "split = 'test' AND study NOT IN (SELECT study_id FROM radiologists WHERE study_id IS NOT NULL)",
    )
    assignments = ", ".join(
        f'"{name}" = radiologists."{column}"' for name, column in zip(finding_columns(), columns, strict=True)
    )
    data.connection.execute(
        f"UPDATE studies SET {assignments} FROM radiologists WHERE split = 'test' AND study = radiologists.study_id"
    )
    flow.count("studies", "with the findings of radiologists", "split = 'test'")
    return "findings of the test split were labelled by radiologists, in reports; Airspace Opacity is Lung Opacity"
