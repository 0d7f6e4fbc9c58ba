"""VinDr-CXR 1.0.0 (Nguyen et al. 2022): chest radiographs that radiologists labelled, three for each training image."""

from typing import Literal

from polyclinic.cohort.build import Built, CohortBuilder, DataRoot, Flow
from polyclinic_cohorts.dicom_people import read_people
from polyclinic_cohorts.file_paths import create_paths, refuse_repeated_names
from polyclinic_cohorts.groups import age_band, hashed_split

FINDINGS = (
    "Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Clavicle fracture", "Consolidation", "Edema",
    "Emphysema", "Enlarged PA", "ILD", "Infiltration", "Lung Opacity", "Lung cavity", "Lung cyst", "Mediastinal shift",
    "Nodule/Mass", "Pleural effusion", "Pleural thickening", "Pneumothorax", "Pulmonary fibrosis", "Rib fracture",
    "Other lesion", "COPD", "Lung tumor", "Pneumonia", "Tuberculosis", "Other diseases", "No finding",
)  # fmt: skip
# The table of the test set writes the singular.
_OTHER_NAMES = {"Other diseases": "Other disease"}
_TRAIN, _TEST = "annotations/image_labels_train.csv", "annotations/image_labels_test.csv"
_READERS = 3
_SUFFIXES = (".dicom", ".dcm", ".png", ".jpg", ".jpeg")
_IMAGE = f"'({'|'.join(_SUFFIXES)})$'".replace(".", "[.]")
_AGREED = {
    "majority": "CASE WHEN {known} > 0 THEN CAST(2 * {positive} > {known} AS INTEGER) END",
    "any": "CASE WHEN {known} > 0 THEN CAST({positive} > 0 AS INTEGER) END",
    "unanimous": "CASE WHEN {known} = 0 THEN NULL WHEN {positive} = {known} THEN 1 WHEN {positive} = 0 THEN 0 "
    "ELSE -1 END",
}


class VinDr(CohortBuilder):
    """VinDr-CXR: radiographs with the findings of radiologists, and the published split into training and test images.

    Three radiologists labelled each training image independently; a finding is present if most of those who labelled
    it saw it. Test images have one label, the consensus of five radiologists. Validation images are chosen among the
    training images by a hash. Sex and age are read from the headers where the images are DICOM.

    Args:
        agreement: label of a training image on which radiologists disagree: that of the ``majority``, present if
            ``any`` saw the finding, or with ``unanimous`` uncertain.
        images: folder of the images below the root; searched for if empty.
        val: share of the training images that become validation images.
        seed: seed of the hash.
    """

    unverified = (
        "each image is taken to be of a different patient, as no patient number is published",
        "the tables are taken to have 0 and 1 in 28 columns, the last but one of the test set named Other disease",
        "an age of 000Y or above 110 years in a header is taken for unknown",
    )

    def __init__(
        self,
        *,
        agreement: Literal["majority", "any", "unanimous"] = "majority",
        images: str = "",
        val: float = 0.1,
        seed: int = 0,
    ) -> None:
        if not 0 <= val < 1:
            raise ValueError(f"got val {val}, expected a share of at least 0 and below 1; set `--val`")
        self.agreement, self.images, self.val, self.seed = agreement, images, val, seed

    def build(self, root: DataRoot, flow: Flow) -> Built:
        """Build one row per image."""
        data = root.folder(_TRAIN, setting="--root")
        _create_readings(data, flow)
        self._create_labels(data)
        has_headers = self._create_files(root)
        hashed = hashed_split("image_id", seed=self.seed, val=self.val, test=0)
        root.connection.execute(f"""
            CREATE TABLE studies AS SELECT image_id AS study_id, image_id AS patient_id, path AS xray,
                CASE side WHEN 'test' THEN 'test' ELSE {hashed} END AS split, readers, readable, sides, repeated, sex,
                age, {age_band("age")} AS age_band, {", ".join(f'"{name}"' for name in FINDINGS)}
            FROM labels LEFT JOIN files ON files.name = image_id LEFT JOIN people USING (path)
        """)
        self._exclude(flow)
        for column in ("readable", "sides", "repeated"):
            root.connection.execute(f"ALTER TABLE studies DROP {column}")
        return Built(
            table="studies",
            root=root.path,
            population="vindr-cxr",
            modalities={"xray": {"path": "xray"}},
            labels={name: {"column": name} for name in FINDINGS},
            groups=("sex", "age_band") if has_headers else (),
            notes=(
                f"a finding of a training image follows the rule {self.agreement!r} over its radiologists; those of "
                "the test images are a consensus of five",
                "sex and age are those of the DICOM headers" if has_headers else
                "sex and age are unknown, as the images are not DICOM",
            ),
        )  # fmt: skip

    def _create_labels(self, data: DataRoot) -> None:
        """Create ``labels``: one row per image, with the number of tables that have it and of its radiologists."""
        votes = ", ".join(f'count("{name}") AS "known {name}", sum("{name}") AS "{name}"' for name in FINDINGS)
        rule = _AGREED[self.agreement]
        agreed = ", ".join(
            f'{rule.format(known=_quoted(f"known {name}"), positive=_quoted(name))} AS "{name}"' for name in FINDINGS
        )
        names = ", ".join(_quoted(name) for name in FINDINGS)
        data.connection.execute(f"""
            CREATE TABLE labels AS
            WITH counted AS (SELECT image_id, count(*) AS readers, {votes} FROM readings GROUP BY image_id),
                joined AS (SELECT 'train' AS side, image_id, readers, false AS repeated, {agreed} FROM counted
                    UNION ALL BY NAME SELECT 'test' AS side, image_id, NULL::BIGINT AS readers,
                        count(*) OVER (PARTITION BY image_id) > 1 AS repeated, {names} FROM test_labels)
            SELECT *, count(DISTINCT side) OVER (PARTITION BY image_id) AS sides FROM joined
        """)

    def _create_files(self, root: DataRoot) -> bool:
        """Create ``files`` and ``people``; return whether any image is DICOM."""
        create_paths(root, "found", suffixes=_SUFFIXES, folder=self.images, setting="--images")
        root.connection.execute(f"""
            CREATE TABLE files AS SELECT regexp_replace(name, {_IMAGE}, '', 'i') AS name, path FROM found
        """)
        refuse_repeated_names(root, "files", setting="--images")
        rows = root.connection.execute("""
            SELECT path FROM files WHERE name IN (SELECT image_id FROM labels)
                AND regexp_matches(path, '[.](dicom|dcm)$', 'i') ORDER BY 1
        """).fetchall()
        root.connection.register("headers", read_people(root.path, [path for (path,) in rows]))
        root.connection.execute("CREATE TABLE people AS SELECT * FROM headers")
        root.connection.unregister("headers")
        return bool(rows)

    def _exclude(self, flow: Flow) -> None:
        flow.start("studies", "images of these labels, and of the test set")
        flow.exclude("studies", "no image", "study_id IS NULL")
        flow.exclude("studies", "in training and test set", "sides > 1")
        flow.exclude("studies", "image occurs more than once in the test set", "repeated")
        flow.exclude("studies", "image is missing", "xray IS NULL")
        flow.exclude("studies", "file has no DICOM header", "NOT readable")
        flow.count("studies", f"training images without exactly {_READERS} radiologists", f"readers != {_READERS}")
        flow.count("studies", "without labels", " AND ".join(f"{_quoted(name)} IS NULL" for name in FINDINGS))
        flow.count("studies", "of unknown sex", "sex IS NULL")
        flow.count("studies", "of unknown or implausible age", "age IS NULL")


def _create_readings(data: DataRoot, flow: Flow) -> None:
    """Create ``readings`` and ``test_labels``; a cell that is neither 0 nor 1 is blank."""
    for view, name, keys in (("train_cells", _TRAIN, ("image_id", "rad_id")), ("test_cells", _TEST, ("image_id",))):
        header = data.header(name)
        found = {label: _OTHER_NAMES.get(label, label) if label not in header else label for label in FINDINGS}
        data.view(view, name, dict.fromkeys((*keys, *found.values()), "VARCHAR"))
        values = ", ".join(
            f"CASE TRY_CAST({_quoted(column)} AS DOUBLE) WHEN 0 THEN 0 WHEN 1 THEN 1 END AS {_quoted(label)}"
            for label, column in found.items()
        )
        odd = " OR ".join(
            f"({_quoted(column)} IS NOT NULL AND coalesce(TRY_CAST({_quoted(column)} AS DOUBLE) NOT IN (0, 1), true))"
            for column in found.values()
        )
        table = "readings" if view == "train_cells" else "test_labels"
        data.connection.execute(f"CREATE TABLE {table} AS SELECT {', '.join(keys)}, {values}, {odd} AS odd FROM {view}")
        flow.start(table, f"rows in {name}")
        flow.count(table, "with a cell that is neither 0 nor 1, which is unknown", "odd")
    flow.exclude("readings", "no image or radiologist", "image_id IS NULL OR rad_id IS NULL")
    repeated = "SELECT image_id, rad_id FROM readings GROUP BY ALL HAVING count(*) > 1"
    flow.exclude("readings", "radiologist labelled the image more than once", f"(image_id, rad_id) IN ({repeated})")


def _quoted(name: str) -> str:
    return f'"{name}"'
