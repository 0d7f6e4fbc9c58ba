"""CheXpert 1.0 (Irvin et al. 2019), small or full: chest radiographs with findings from reports and radiologists."""

from collections.abc import Sequence
from typing import Literal

from polyclinic.cohort.build import Built, CohortBuilder, DataRoot, Flow
from polyclinic_cohorts.findings import FINDINGS, finding_columns, finding_names
from polyclinic_cohorts.groups import age_band, hashed_split
from polyclinic_cohorts.radiographs import Unit, below, choose_radiographs, preference

_ROWS = {
    "Path": "VARCHAR", "Sex": "VARCHAR", "Age": "DOUBLE", "Frontal/Lateral": "VARCHAR", "AP/PA": "VARCHAR",
    **finding_columns(),
}  # fmt: skip
_TEST = "groundtruth.csv"
# Paths in the tables start with the name of the data set: CheXpert-v1.0-small/train/patient00001/...
_PARENT = "'^/?[^/]*/'"


class CheXpert(CohortBuilder):
    """CheXpert: frontal radiographs with fourteen findings, train and valid as published, and the test set if present.

    With ``valid`` set to ``val``, the published validation set is the validation split, and the 500 studies of the
    test set are the test split if ``groundtruth.csv`` is found up to three levels below the root, with images in
    ``test`` beside ``train``. With ``valid`` set to ``test``, as in most papers before the test set was published, the
    validation set is the test split, a tenth of the training patients, chosen by a hash, is the validation split, and
    the test set is not used. A row is a study with its preferred image (the first of ``views``, then the first by
    name), unless ``unit`` is ``image``.

    Args:
        unit: unit of a row, ``study`` or ``image``; images of a study share its findings.
        views: views to use, in order of preference: ``PA``, ``AP``, ``LL`` and ``RL`` as in the tables, ``frontal``
            where they do not specify the projection, or ``lateral``.
        valid: use of the published validation set, ``val`` or ``test``.
        seed: seed of the hash that chooses the validation patients, with ``valid`` set to ``test``.
    """

    unverified = (
        "valid.csv is taken to have the columns and codes of train.csv",
        "an age of 0 is taken for unknown, as CheXpert contains only adults",
        "images of the test set are taken to be named view1_frontal.jpg",
    )

    def __init__(
        self,
        *,
        unit: Unit = "study",
        views: Sequence[str] = ("PA", "AP", "frontal"),
        valid: Literal["val", "test"] = "val",
        seed: int = 0,
    ) -> None:
        self.unit, self.views, self.valid, self.seed = unit, views, valid, seed

    def build(self, root: DataRoot, flow: Flow) -> Built:
        """Build one row per study, or per image, with the views to use."""
        data = root.folder("valid.csv", setting="--root")
        published = [_create_rows(data, "train"), _create_rows(data, "valid")]
        if test := self.valid == "val" and bool(root.folders(_TEST)):
            published.append(_create_test(root.folder(_TEST, setting="--root")))
        rows = " UNION ALL BY NAME ".join(f"SELECT * FROM {table}" for table in published)
        data.connection.execute(f"""
            CREATE TABLE studies AS
            WITH named AS (
                SELECT *, regexp_extract(file, '(patient[0-9]+)/', 1) AS patient_id,
                    replace(regexp_replace(regexp_replace(file, {_PARENT}, ''), '[.][^.]*$', ''), '/', '_') AS image
                FROM ({rows})
            ), placed AS (SELECT *, regexp_replace(image, '_view.*$', '') AS study FROM named)
            SELECT {self.unit} AS study_id, patient_id, {self._split()} AS split, official_split, study, image,
                {below(root, data.path)} || file AS xray, view, {preference("view", self.views)} AS preference,
                nullif(sex, 'Unknown') AS sex, {age_band("nullif(age, 0)")} AS age_band, {finding_names()}
            FROM placed
        """)
        flow.start("studies", f"radiographs in train.csv, valid.csv{f' and {_TEST}' if test else ''}")
        flow.exclude("studies", "path names no patient", "patient_id = ''")
        choose_radiographs(root, flow, "studies", views=self.views, unit=self.unit)
        flow.count("studies", "frontal without AP or PA", "view = 'frontal'")
        return Built(
            table="studies",
            root=root.path,
            population="chexpert",
            modalities={"xray": {"path": "xray"}},
            labels={name: {"column": name} for name in FINDINGS},
            groups=("sex", "age_band", "view"),
            notes=self._notes(test),
        )

    def _split(self) -> str:
        if self.valid == "val":
            return "CASE official_split WHEN 'valid' THEN 'val' ELSE official_split END"
        selecting = hashed_split("patient_id", seed=self.seed, val=0.1, test=0.0)
        return f"CASE official_split WHEN 'valid' THEN 'test' ELSE {selecting} END"

    def _notes(self, test: bool) -> tuple[str, ...]:
        used = f"{_TEST} is the test split" if test else "the published test set is not used"
        return (
            f"the published validation set is used as {self.valid}; {used}",
            "findings of train.csv were extracted from reports by a labeller, those of valid.csv and the test set were "
            "labelled by radiologists",
            "in train.csv No Finding is 1 or blank, never 0: if blank cells are omitted, it has no negatives",
        )


def _create_rows(data: DataRoot, name: Literal["train", "valid"]) -> str:
    """Create a view of one table, with paths relative to its folder, and return the name of the view."""
    data.view(f"{name}_rows", f"{name}.csv", _ROWS)
    data.connection.execute(f"""
        CREATE VIEW {name}_images AS SELECT '{name}' AS official_split,
            regexp_replace("Path", {_PARENT}, '') AS file, "Sex" AS sex, "Age" AS age, {finding_names()},
            CASE "Frontal/Lateral" WHEN 'Lateral' THEN 'lateral' WHEN 'Frontal' THEN coalesce("AP/PA", 'frontal') END
                AS view
        FROM {name}_rows
    """)
    return f"{name}_images"


def _create_test(folder: DataRoot) -> str:
    """Create a view of the test set, whose table has studies without sex, age and view, and return its name."""
    folder.view("test_rows", _TEST, {"Study": "VARCHAR", **finding_columns()})
    folder.connection.execute(f"""
        CREATE VIEW test_images AS SELECT 'test' AS official_split, 'frontal' AS view, {finding_names()},
            regexp_replace(rtrim("Study", '/'), {_PARENT}, '') || '/view1_frontal.jpg' AS file
        FROM test_rows
    """)
    return "test_images"
