"""OpenI, chest radiographs of Indiana University (Demner-Fushman et al. 2016) with English reports."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from polyclinic.cohort.build import Built, CohortBuilder, DataRoot, Flow
from polyclinic.cohort.build.data_root import literal
from polyclinic_cohorts.findings import FINDINGS, finding_names
from polyclinic_cohorts.groups import hashed_split
from polyclinic_cohorts.openi_xml import read_reports
from polyclinic_cohorts.radiographs import Unit, below, choose_radiographs, named_folder, preference

_XML = "ecgen-radiology"
_TABLE = "indiana_reports.csv"
_PROJECTIONS = "indiana_projections.csv"
_METADATA = "nlmcxr_dicom_metadata.csv.gz"
_CONTENT_VIEWS = "nlmcxr_tsne_pa.csv.gz"
_NO_IMAGES = "none"
_MAX_TRIED_FILES = 5
_VIEW_TABLES = {_METADATA: "header", _CONTENT_VIEWS: "content", _PROJECTIONS: "projected"}
# Common key of image names: CXR1_1_IM-0001-3001 in the reports is 1_IM-0001-3001.dcm.png elsewhere.
_KEY = "regexp_extract({0}, '^(CXR)?([0-9]+)', 2) || '_' || regexp_extract({0}, '(IM-.*?)([.]dcm)?([.]png)?$', 1)"
TERMS: Mapping[str, tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        "Atelectasis": (("pulmonary atelectasis", ""), ("atelectasis", "")),
        "Cardiomegaly": (("cardiomegaly", ""), ("cardiac shadow", "enlarged")),
        "Consolidation": (("consolidation", ""),),
        "Edema": (("pulmonary edema", ""),),
        "Enlarged Cardiomediastinum": (("mediastinum", "enlarged"),),
        "Fracture": (("fractures, bone", ""),),
        "Lung Lesion": (("nodule", "lung"), ("mass", "lung")),
        "Lung Opacity": (("opacity", "lung"), ("airspace disease", ""), ("infiltrate", "")),
        "No Finding": (("normal", ""),),
        "Pleural Effusion": (("pleural effusion", ""),),
        "Pleural Other": (("thickening", "pleura"),),
        "Pneumonia": (("pneumonia", ""),),
        "Pneumothorax": (("pneumothorax", ""),),
        "Support Devices": (
            ("medical device", ""), ("implanted medical device", ""), ("catheters, indwelling", ""),
            ("tube, inserted", ""),
        ),
    }
)  # fmt: skip
"""Headings that indicate each finding, in lower case, each with a required qualifier or an empty text."""
_REPORT = "nullif(concat_ws(chr(10) || chr(10), 'FINDINGS: ' || findings, 'IMPRESSION: ' || impression), '')"
_NOTES = (
    "XXXX in reports marks text that was removed for de-identification, and is kept",
    "findings are headings that were manually assigned to the reports: a model with reports as input sees the source "
    "of its labels; borderline means uncertain, a missing heading means absent",
)
_UNINDEXED = ("no indexing", "technical quality of image unsatisfactory")


class OpenI(CohortBuilder):
    """OpenI: radiographs with findings and impression of their reports, and findings from manually assigned headings.

    The builder reads ``ecgen-radiology/*.xml`` with the images of NLMCXR_png, or else ``indiana_reports.csv`` and
    ``indiana_projections.csv`` with ``images/images_normalized``. The view of an image is that in
    ``indiana_projections.csv``, else in ``nlmcxr_tsne_pa.csv.gz``, which was derived from the images, else in
    ``nlmcxr_dicom_metadata.csv.gz``, if found up to three levels below the root; otherwise it is ``unknown``. Reports
    are split into train, val and test (0.7, 0.1,
    0.2) by a hash of their number. A row is a report with its preferred image (the first of ``views``, then the first
    by name), unless ``unit`` is ``image``.

    Args:
        unit: unit of a row, ``study`` or ``image``; images of a report share its text and findings.
        views: views to use, in order of preference, as in the tables, or ``unknown``.
        images: folder of the images below the root; searched for if empty. ``none`` builds a cohort of reports alone.
        seed: seed of the hash that splits the reports.
    """

    unverified = (
        "the mapping from headings to findings is a choice of this builder; see polyclinic_cohorts.openi.TERMS",
        "each report is taken to be of a different patient, as no patient number is published",
        "file names of indiana_projections.csv are taken to be 1_IM-0001-3001.dcm.png for CXR1_1_IM-0001-3001",
    )

    def __init__(
        self,
        *,
        unit: Unit = "study",
        views: Sequence[str] = ("PA", "AP", "Frontal", "unknown"),
        images: str = "",
        seed: int = 0,
    ) -> None:
        self.unit, self.views, self.images, self.seed = unit, views, images, seed

    def build(self, root: DataRoot, flow: Flow) -> Built:
        """Build one row per report, or per image, with the views to use."""
        connection = root.connection
        source = _create_reports(root, flow)
        if self.images == _NO_IMAGES:
            return self._of_reports(root, flow, source)
        flow.exclude("reports", "has no image", "uid NOT IN (SELECT uid FROM images)")
        views_note = _create_views(root)
        _create_labels(root)
        folder = self._image_folder(root)
        connection.execute(f"""
            CREATE TABLE studies AS SELECT {"'CXR' || uid" if self.unit == "study" else "image"} AS study_id,
                uid AS patient_id, {hashed_split("uid", seed=self.seed)} AS split, 'CXR' || uid AS study, image,
                {below(root, folder)} || images.file AS xray, coalesce(view, 'unknown') AS view,
                {preference("coalesce(view, 'unknown')", self.views)} AS preference, findings, impression,
                {_REPORT} AS report, {finding_names("labels")}
            FROM reports JOIN images USING (uid) LEFT JOIN views USING (image) LEFT JOIN labels USING (uid)
        """)
        flow.start("studies", "images of these reports")
        choose_radiographs(root, flow, "studies", views=self.views, unit=self.unit)
        flow.count("studies", "of unknown view", "view = 'unknown'")
        flow.count("studies", "without findings and impression", "report IS NULL")
        flow.count("studies", "that were not indexed, without labels", '"No Finding" IS NULL')
        return Built(
            table="studies",
            root=root.path,
            population="openi",
            modalities={"xray": {"path": "xray"}, "report": {"text": "report"}},
            labels={name: {"column": name} for name in FINDINGS},
            groups=("view",),
            notes=(f"reports are those of {source}; {views_note}", *_NOTES),
        )

    def _of_reports(self, root: DataRoot, flow: Flow, source: str) -> Built:
        _create_labels(root)
        flow.exclude("reports", "has neither findings nor impression", "findings IS NULL AND impression IS NULL")
        root.connection.execute(f"""
            CREATE TABLE studies AS SELECT 'CXR' || uid AS study_id, uid AS patient_id,
                {hashed_split("uid", seed=self.seed)} AS split, findings, impression, {_REPORT} AS report,
                {finding_names("labels")}
            FROM reports LEFT JOIN labels USING (uid)
        """)
        return Built(
            table="studies",
            root=root.path,
            population="openi",
            modalities={"report": {"text": "report"}},
            labels={name: {"column": name} for name in FINDINGS},
            notes=(f"reports are those of {source}; without images", *_NOTES),
        )

    def _image_folder(self, root: DataRoot) -> Path:
        if self.images:
            return named_folder(root, self.images, setting="--images")
        names = root.connection.execute(
            f"SELECT file FROM images ORDER BY uid, file LIMIT {_MAX_TRIED_FILES}"
        ).fetchall()
        if not names:
            raise ValueError("no report with an image is in the data root; set `--root` to the folder that holds them")
        for (name,) in names:
            if root.folders(name):
                return root.folder(name, setting="--images").path
        raise ValueError("the images of the first reports are not in the data root; set `--images` to their folder")


def _create_reports(root: DataRoot, flow: Flow) -> str:
    """Create ``reports`` and ``images`` from the form of the data set that is present, and return its name."""
    if root.folders(_XML):
        folder = root.folder(_XML, setting="--root").path / _XML
        root.connection.register("parsed", read_reports(folder))
        root.connection.execute("CREATE TABLE reports AS SELECT * FROM parsed")
        root.connection.unregister("parsed")
        flow.start("reports", f"reports in {_XML}")
        kinds = root.connection.execute("SELECT DISTINCT verdict FROM reports WHERE verdict != '' ORDER BY 1")
        for (verdict,) in kinds.fetchall():
            flow.exclude("reports", verdict, f"verdict = {literal(verdict)}")
        first = "SELECT first(name ORDER BY length(name), name) FROM reports GROUP BY uid"
        flow.exclude("reports", "repeats the number of another report", f"name NOT IN ({first})")
        root.connection.execute("""
            CREATE TABLE images AS SELECT DISTINCT uid, image, image || '.png' AS file
            FROM (SELECT uid, unnest(images) AS image FROM reports)
        """)
        source = _XML
    elif root.folders(_TABLE):
        source = _TABLE
        _create_from_tables(root.folder(_TABLE, setting="--root"), flow)
    else:
        raise ValueError(f"neither {_XML} nor {_TABLE} is in the data root; set `--root` to the folder that holds one")
    return source


def _create_from_tables(data: DataRoot, flow: Flow) -> None:
    data.view(
        "report_rows", _TABLE, {"uid": "BIGINT", "MeSH": "VARCHAR", "findings": "VARCHAR", "impression": "VARCHAR"}
    )
    data.view("image_rows", _PROJECTIONS, {"uid": "BIGINT", "filename": "VARCHAR"})
    data.connection.execute("""
        CREATE TABLE reports AS SELECT uid, findings, impression, string_split("MeSH", ';') AS terms FROM report_rows
    """)
    flow.start("reports", f"reports in {_TABLE}")
    data.connection.execute("""
        CREATE TABLE images AS SELECT uid, regexp_replace(filename, '([.]dcm)?[.]png$', '') AS image, filename AS file
        FROM image_rows WHERE uid IS NOT NULL AND filename IS NOT NULL
    """)


def _create_views(root: DataRoot) -> str:
    """Create ``views``: image and view, from the tables that are present; return a note on them.

    The projections were assigned by people, and the next table was derived from the images, while headers call lateral
    images PA. A header therefore only refines the view of frontal images that another table lists.
    """
    tables = []
    for name, column, view in (
        (_METADATA, "imageid", "View Position"),
        (_CONTENT_VIEWS, "imageid", "tsne-view"),
        (_PROJECTIONS, "filename", "projection"),
    ):
        table = _VIEW_TABLES[name]
        if root.folders(name):
            root.folder(name, setting="--root").view(f"{table}_rows", name, {column: "VARCHAR", view: "VARCHAR"})
            rows = f'SELECT {_KEY.format(column)} AS key, "{view}" AS view FROM {table}_rows'
            tables.append(name)
        else:
            rows = "SELECT NULL::VARCHAR AS key, NULL::VARCHAR AS view"
        root.connection.execute(f"CREATE TABLE {table} AS SELECT key, min(view) AS view FROM ({rows}) GROUP BY key")
    root.connection.execute(f"""
        CREATE TABLE views AS
        WITH known AS (SELECT image, header.view AS header, coalesce(projected.view,
                CASE content.view WHEN 'L' THEN 'Lateral' WHEN 'PA' THEN 'Frontal' END) AS published
            FROM (SELECT DISTINCT image, {_KEY.format("image")} AS key FROM images)
                LEFT JOIN header USING (key) LEFT JOIN content USING (key) LEFT JOIN projected USING (key))
        SELECT image, CASE WHEN lower(published) = 'frontal' AND upper(header) IN ('PA', 'AP') THEN header
            ELSE coalesce(published, header) END AS view
        FROM known
    """)
    if not tables:
        return (
            f"views are unknown, as {_METADATA}, {_CONTENT_VIEWS} and {_PROJECTIONS} are not in the data root: "
            "laterals may be used"
        )
    return f"views are those of {' and '.join(tables)}"


def _create_labels(root: DataRoot) -> None:
    """Create ``labels``: uid, and each finding as 1, 0, -1 for borderline, or null for a report that is not indexed."""
    unindexed = f"head IN ({', '.join(map(literal, _UNINDEXED))})"
    root.connection.execute(f"""
        CREATE TABLE labels AS
        WITH given AS (SELECT uid, unnest(terms) AS term FROM reports),
            terms AS (SELECT uid, trim(regexp_replace(lower(term), '\\s*/\\s*', '/', 'g')) AS term FROM given),
            headings AS (SELECT uid, string_split(term, '/')[1] AS head, string_split(term, '/')[2:] AS qualifiers
                FROM terms WHERE term != '')
        SELECT uid, {", ".join(_finding(name, unindexed) for name in FINDINGS)} FROM headings GROUP BY uid
    """)


def _finding(name: str, unindexed: str) -> str:
    same = " OR ".join(
        f"(head = {literal(head)}{f' AND list_contains(qualifiers, {literal(needed)})' if needed else ''})"
        for head, needed in TERMS[name]
    )
    return (
        f"CASE WHEN bool_or(({same}) AND NOT list_contains(qualifiers, 'borderline')) THEN 1 "
        f'WHEN bool_or({same}) THEN -1 WHEN bool_or({unindexed}) THEN NULL ELSE 0 END AS "{name}"'
    )
