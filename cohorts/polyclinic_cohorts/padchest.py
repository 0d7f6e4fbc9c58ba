"""PadChest (Bustos et al. 2020): chest radiographs with Spanish reports and their terms."""

from collections.abc import Sequence
from pathlib import Path

from polyclinic.cohort.build import Built, CohortBuilder, DataRoot, Flow
from polyclinic.cohort.build.data_root import literal
from polyclinic_cohorts.file_paths import create_paths, refuse_repeated_names, table_folder
from polyclinic_cohorts.groups import age_band, hashed_split
from polyclinic_cohorts.padchest_terms import BROKEN, TERMS, UNSURE, finding
from polyclinic_cohorts.radiographs import Unit, choose_radiographs, preference

_TABLES = (
    "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv", "PADCHEST_chest_x_ray_images_labels_160K.csv",
)  # fmt: skip
_COLUMNS = dict.fromkeys(
    (
        "ImageID", "StudyDate_DICOM", "StudyID", "PatientID", "PatientBirth", "PatientSex_DICOM",
        "Projection", "Manufacturer_DICOM", "Report", "MethodLabel", "Labels",
    ),
    "VARCHAR",
)  # fmt: skip
_CUT = "image is not a complete PNG file"
_MAX_AGE = 110
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
# The table writes nan and None for empty cells.
_FILLED = "CASE WHEN lower({0}) NOT IN ('nan', 'none') THEN {0} END"


class PadChest(CohortBuilder):
    """PadChest: radiographs with thirty findings from the terms of their report, and the report in Spanish.

    The terms were assigned by physicians to 39,053 images, and by a recurrent network to the others. A row is a study
    with its preferred image (the first of ``views``, then the first by name), unless ``unit`` is ``image``. There is no
    published split; patients are assigned by a hash. The images may lie in the numbered folders of the archives or in
    one folder. Known broken images are excluded.

    Args:
        unit: unit of a row, ``study`` or ``image``; images of a study share its report and findings.
        views: projections to use, in order of preference: ``PA``, ``AP``, ``AP_horizontal``, ``L``, ``COSTAL``, ``UNK``
            or ``EXCLUDE``.
        physicians: whether to use only images whose terms a physician assigned.
        images: folder of the images below the root; searched for if empty.
        seed: seed of the hash.
    """

    unverified = (
        "which terms belong to a finding is a choice of this builder; see polyclinic_cohorts.padchest_terms.TERMS",
        "the list of broken files is that of users of torchxrayvision; other cut files are found by their end",
        "the images were not available; they are found by name in any folder",
    )

    def __init__(
        self,
        *,
        unit: Unit = "study",
        views: Sequence[str] = ("PA", "AP", "AP_horizontal"),
        physicians: bool = False,
        images: str = "",
        seed: int = 0,
    ) -> None:
        self.unit, self.views, self.physicians, self.images, self.seed = unit, views, physicians, images, seed

    def build(self, root: DataRoot, flow: Flow) -> Built:
        """Build one row per study, or per image, with the views to use."""
        data, table = table_folder(root, _TABLES)
        data.view("entries", table, _COLUMNS)
        create_paths(root, "files", suffixes=(".png",), folder=self.images, setting="--images")
        refuse_repeated_names(root, "files", setting="--images")
        self._create_studies(root)
        flow.start("studies", f"images in {table}")
        self._exclude(root, flow)
        _count(flow)
        for column in ("terms", "birth"):
            root.connection.execute(f"ALTER TABLE studies DROP {column}")
        return Built(
            table="studies",
            root=root.path,
            population="padchest",
            modalities={"xray": {"path": "xray"}, "report": {"text": "report"}},
            labels={name: {"column": name} for name in TERMS},
            groups=("sex", "age_band", "view", "labelled_by"),
            notes=(
                "reports are in Spanish, without capitals, accents and endings of words, as published",
                "findings are terms of the reports: a model with reports as input sees the source of its labels",
                f"where the terms include {', '.join(UNSURE)}, findings that they do not name are unknown",
                "age is the year of the study less the year of birth",
            ),
        )

    def _create_studies(self, root: DataRoot) -> None:
        terms = "regexp_extract_all(coalesce(\"Labels\", ''), '''\\s*([^'']*?)\\s*''', 1)"
        report = _FILLED.format('"Report"')
        years = 'TRY_CAST("StudyDate_DICOM" AS BIGINT) // 10000 - CAST(TRY_CAST("PatientBirth" AS DOUBLE) AS BIGINT)'
        root.connection.execute(f"""
            CREATE TABLE studies AS
            WITH named AS (
                SELECT *, [lower(term) FOR term IN {terms} IF term != ''] AS terms, {years} AS years FROM entries
            )
            SELECT "{"StudyID" if self.unit == "study" else "ImageID"}" AS study_id, "PatientID" AS patient_id,
                {hashed_split('"PatientID"', seed=self.seed)} AS split, "StudyID" AS study, "ImageID" AS image,
                path AS xray, "Projection" AS view,
                {preference('"Projection"', self.views)} AS preference, "MethodLabel" AS labelled_by,
                "Manufacturer_DICOM" AS manufacturer,
                CASE WHEN "PatientSex_DICOM" IN ('F', 'M') THEN "PatientSex_DICOM" END AS sex,
                CASE WHEN years BETWEEN 0 AND {_MAX_AGE} THEN years END AS age,
                {_FILLED.format('"PatientBirth"')} AS birth,
                {age_band(f"CASE WHEN years BETWEEN 0 AND {_MAX_AGE} THEN years END")} AS age_band,
                CASE WHEN NOT regexp_full_match({report}, '[\\s.]*') THEN trim({report}) END AS report,
                terms, {", ".join(finding(name) for name in TERMS)}
            FROM named LEFT JOIN files ON files.name = "ImageID"
        """)

    def _exclude(self, root: DataRoot, flow: Flow) -> None:
        repeated = "SELECT image FROM studies GROUP BY image HAVING count(*) > 1"
        flow.exclude("studies", "no image, study or patient", "image IS NULL OR study IS NULL OR patient_id IS NULL")
        flow.exclude("studies", "image occurs more than once", f"image IN ({repeated})")
        flow.exclude("studies", "image is known to be broken", f"image IN ({', '.join(map(literal, BROKEN))})")
        if self.physicians:
            flow.exclude("studies", "terms are not of a physician", "labelled_by IS DISTINCT FROM 'Physician'")
        people = "SELECT study FROM studies GROUP BY study HAVING count(DISTINCT patient_id) > 1"
        flow.exclude("studies", "study of several patients", f"study IN ({people})")
        verdicts = root.checked("studies", "xray", check=complete_png)
        flow.exclude("studies", _CUT, f"xray IN (SELECT file FROM {verdicts} WHERE verdict = {literal(_CUT)})")
        choose_radiographs(root, flow, "studies", views=self.views, unit=self.unit)


def complete_png(path: Path) -> str:
    """Return why a file is not a whole PNG file, by its first and last bytes, or an empty text."""
    with path.open("rb") as stream:
        start = stream.read(len(_PNG_START))
        stream.seek(-min(path.stat().st_size, 64), 2)
        end = stream.read()
    return "" if start == _PNG_START and _PNG_END in end else _CUT


def _count(flow: Flow) -> None:
    flow.count("studies", "without terms, all findings unknown", "len(terms) = 0")
    flow.count("studies", "with terms that leave other findings unknown", f"list_has_any(terms, {list(UNSURE)!r})")
    flow.count("studies", "without a report", "report IS NULL")
    flow.count("studies", "of unknown sex", "sex IS NULL")
    flow.count("studies", "of unknown age", "age IS NULL AND birth IS NULL")
    flow.count("studies", "of an implausible age", "age IS NULL AND birth IS NOT NULL")
