"""NIH ChestX-ray14 (Wang et al. 2017): frontal chest radiographs with findings mined from reports."""

from polyclinic.cohort.build import Built, CohortBuilder, DataRoot, Flow
from polyclinic.cohort.build.data_root import literal
from polyclinic_cohorts.file_paths import create_paths, refuse_repeated_names, table_folder
from polyclinic_cohorts.groups import age_band, hashed_split

FINDINGS = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis", "Hernia",
    "Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax",
)  # fmt: skip
_NO_FINDING = "No Finding"
_TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
_SEXES = ("Patient Gender", "Patient Sex")
_TRAIN, _TEST = "train_val_list.txt", "test_list.txt"
_MAX_AGE = 110


class NIH(CohortBuilder):
    """NIH ChestX-ray14: radiographs with fourteen findings and the published split into training and test patients.

    A row is an image, PA or AP. The images may lie in ``images`` or in ``images_001/images`` and so on. Validation
    patients are chosen among those of ``train_val_list.txt`` by a hash. The findings were extracted from reports by a
    program, which the set's authors expect to be right in more than nine of ten cases.

    Args:
        images: folder of the images below the root; searched for if empty.
        val: share of the training patients that become validation patients.
        seed: seed of the hash.
    """

    unverified = (
        "an age above 110 is taken for a mistake, as in the first release, which has 414",
        "the lists of the published split were not available; they are taken to have one file name per line",
    )

    def __init__(self, *, images: str = "", val: float = 0.1, seed: int = 0) -> None:
        if not 0 <= val < 1:
            raise ValueError(f"got val {val}, expected a share of at least 0 and below 1; set `--val`")
        self.images, self.val, self.seed = images, val, seed

    def build(self, root: DataRoot, flow: Flow) -> Built:
        """Build one row per image."""
        data, table = table_folder(root, _TABLES)
        _create_rows(data, table)
        _create_sides(root)
        create_paths(root, "files", suffixes=(".png",), folder=self.images, setting="--images")
        refuse_repeated_names(root, "files", setting="--images")
        hashed = hashed_split("patient_id", seed=self.seed, val=self.val, test=0)
        root.connection.execute(f"""
            CREATE TABLE studies AS SELECT image AS study_id, patient_id, path AS xray, view, follow_up,
                CASE side WHEN 'test' THEN 'test' WHEN 'train' THEN {hashed} END AS split, sides, verdict,
                sex, age, age_as_typed, {age_band("age")} AS age_band, {_labels()}
            FROM rows LEFT JOIN sides USING (image) LEFT JOIN files ON files.name = image
        """)
        flow.start("studies", f"images in {table}")
        self._exclude(flow)
        for column in ("verdict", "sides", "age_as_typed"):
            root.connection.execute(f"ALTER TABLE studies DROP {column}")
        return Built(
            table="studies",
            root=root.path,
            population="nih-chest",
            modalities={"xray": {"path": "xray"}},
            labels={name: {"column": name} for name in (*FINDINGS, _NO_FINDING)},
            groups=("sex", "age_band", "view"),
            notes=(
                "findings were extracted from reports by a program; a finding that it did not name counts as absent",
                f"{_NO_FINDING} is 1 where none of the fourteen findings was named, and not a statement of health",
                f"the test split is {_TEST}; validation patients are {self.val:.0%} of those in {_TRAIN}, by a hash",
            ),
        )

    def _exclude(self, flow: Flow) -> None:
        repeated = "SELECT study_id FROM studies GROUP BY study_id HAVING count(*) > 1"
        flow.exclude("studies", "no image or patient", "study_id IS NULL OR patient_id IS NULL")
        flow.exclude("studies", "image occurs more than once", f"study_id IN ({repeated})")
        flow.exclude("studies", "in both lists of the published split", "sides > 1")
        flow.exclude("studies", f"neither in {_TRAIN} nor in {_TEST}", "split IS NULL")
        flow.exclude("studies", "image is missing", "xray IS NULL")
        flow.exclude("studies", "a finding is not one of the fourteen", "verdict = 'unknown'")
        flow.count("studies", "without findings, all labels unknown", "verdict = 'blank'")
        flow.count("studies", "No Finding beside a finding, all labels unknown", "verdict = 'contradictory'")
        flow.count("studies", "age is not plausible", "age IS NULL AND age_as_typed IS NOT NULL")
        flow.count("studies", "sex is neither F nor M", "sex IS NULL")


def _create_rows(data: DataRoot, table: str) -> None:
    """Create ``rows`` with one row per image; ``verdict`` is the reason why its findings cannot be used."""
    header = data.header(table)
    sex = next((name for name in _SEXES if name in header), _SEXES[0])
    columns = dict.fromkeys(
        ("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", sex, "View Position"), "VARCHAR"
    )
    data.view("entries", table, columns)
    known = ", ".join(map(literal, (*FINDINGS, _NO_FINDING)))
    # 058Y, 010M and 003D in the first release: years, months and days.
    age = "regexp_extract(\"Patient Age\", '^0*([0-9]{1,3})([YMD]?)$', 1)"
    unit = "regexp_extract(\"Patient Age\", '^0*([0-9]{1,3})([YMD]?)$', 2)"
    years = (
        f"CASE {unit} WHEN 'M' THEN TRY_CAST({age} AS INTEGER) // 12 WHEN 'D' THEN TRY_CAST({age} AS INTEGER) // 365 "
        f"ELSE TRY_CAST({age} AS INTEGER) END"
    )
    data.connection.execute(f"""
        CREATE TABLE rows AS
        WITH split_findings AS (SELECT *,
            string_split_regex(coalesce("Finding Labels", ''), '\\s*[|]\\s*') AS findings
            FROM entries)
        SELECT "Image Index" AS image, regexp_replace("Patient ID", '^0+([0-9])', '\\1') AS patient_id,
            "Follow-up #" AS follow_up, upper("View Position") AS view, findings,
            CASE WHEN {years} <= {_MAX_AGE} THEN {years} END AS age, "Patient Age" AS age_as_typed,
            CASE WHEN upper("{sex}") IN ('F', 'M') THEN upper("{sex}") END AS sex,
            CASE WHEN "Finding Labels" IS NULL THEN 'blank'
                WHEN NOT list_has_all([{known}], findings) THEN 'unknown'
                WHEN len(findings) > 1 AND list_contains(findings, '{_NO_FINDING}') THEN 'contradictory' ELSE '' END
                AS verdict
        FROM split_findings
    """)


def _create_sides(root: DataRoot) -> None:
    """Create ``sides``: side of the published split by image, and on how many sides the lists have it."""
    for view, name in (("train_lines", _TRAIN), ("test_lines", _TEST)):
        root.folder(name, setting="--root").lines(view, name)
    root.connection.execute("""
        CREATE TABLE sides AS SELECT image, min(side) AS side, count(DISTINCT side) AS sides FROM (
            SELECT line AS image, 'train' AS side FROM train_lines
            UNION ALL SELECT line AS image, 'test' AS side FROM test_lines)
        GROUP BY image
    """)


def _labels() -> str:
    """Return SQL columns of the findings: 1, 0, or null where they are blank or contradictory."""
    return ", ".join(
        f"CASE WHEN verdict = '' THEN CAST(list_contains(findings, '{name}') AS INTEGER) END AS \"{name}\""
        for name in (*FINDINGS, _NO_FINDING)
    )
