"""MIMIC-IV with MIMIC-CXR-JPG and MIMIC-IV-ECG: measurements in time windows around an event of a hospital stay."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from polyclinic.cohort import Window
from polyclinic.cohort.build import Built, CohortBuilder, DataRoot, Flow
from polyclinic.cohort.build.data_root import literal
from polyclinic_cohorts.ecg_signal import FLAT_LEAD, usable_signal
from polyclinic_cohorts.findings import FINDINGS, finding_columns
from polyclinic_cohorts.groups import age_band, hashed_split
from polyclinic_cohorts.labs import SYMILE_LABS
from polyclinic_cohorts.mimic_cxr import LABELS, METADATA, METADATA_COLUMNS, create_chexpert, create_images
from polyclinic_cohorts.mimic_iv_ecg import RECORD_COLUMNS, RECORD_LIST, create_records
from polyclinic_cohorts.mimic_linking import (
    IMAGES,
    NOTES,
    RECORDS,
    RESULTS,
    availability,
    exclude_distant,
    keep_linked,
    keep_results,
)
from polyclinic_cohorts.mimic_parts import Part, refuse_missing
from polyclinic_cohorts.mimic_patients import PATIENTS, UNKNOWN_AGE, age_in
from polyclinic_cohorts.mimic_reports import add_reports
from polyclinic_cohorts.radiographs import below
from polyclinic_cohorts.symile_mimic import add_percentiles, candidate_sets, drawn_split

Anchor = Literal["admission", "discharge", "emergency", "xray", "ecg"]
Kind = Literal["xray", "labels", "ecg", "tabular", "report"]

_ADMISSIONS = {
    "subject_id": "BIGINT", "hadm_id": "BIGINT", "admittime": "TIMESTAMP", "dischtime": "TIMESTAMP",
    "edregtime": "TIMESTAMP", "admission_type": "VARCHAR", "race": "VARCHAR",
}  # fmt: skip
_LABS = {
    "labevent_id": "BIGINT", "subject_id": "BIGINT", "itemid": "BIGINT", "charttime": "TIMESTAMP",
    "storetime": "TIMESTAMP", "valuenum": "DOUBLE",
}  # fmt: skip
_NOTES = {
    "note_id": "VARCHAR", "subject_id": "BIGINT", "charttime": "TIMESTAMP", "storetime": "TIMESTAMP", "text": "VARCHAR",
}  # fmt: skip
_TIMES = {"admission": "admittime", "discharge": "dischtime", "emergency": "edregtime"}
_DAY = Window(lower=-24, upper=24)

SYMILE_MIMIC: dict[str, Any] = {
    "anchor": "admission",
    "xray": Window(lower=24, upper=72, after_lower=True),
    "ecg": _DAY,
    "labs": _DAY,
    "notes": None,
    "views": ("AP", "PA"),
    "lab_items": tuple(SYMILE_LABS),
    "strict": False,
    "require": ("xray", "labels", "ecg", "tabular"),
    "check_signals": True,
}
"""Settings of Symile-MIMIC (Saporta et al. 2024), except those of the random draw."""


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Random choices of a cohort.

    Args:
        sizes: numbers of training and validation studies, drawn one by one as published; unless set, patients are
            split by a hash according to ``val`` and ``test``.
        candidates: number of candidates per study in ``candidates.parquet``, which is not written if 0.
        val: share of validation patients.
        test: share of test patients.
        seed: seed of every draw.
    """

    sizes: tuple[int, int] | None = None
    candidates: int = 0
    val: float = 0.1
    test: float = 0.2
    seed: int = 0


_DRAW = Draw()


class MIMIC(CohortBuilder):
    """MIMIC: chest X-rays, ECGs, laboratory results and reports in time windows around an event, from the raw tables.

    The folders of MIMIC-IV, MIMIC-CXR-JPG and MIMIC-IV-ECG, and of MIMIC-IV-Note for notes, are found up to three
    levels below the root. Joins run in DuckDB, out of core.

    Args:
        preset: published settings, which fix everything except the draw; a setting that it fixes must not be given.
        anchor: event of a study: an admission, its discharge, its arrival in the emergency department, an X-ray or an
            ECG.
        xray: time window of X-rays in hours around the anchor; null links none.
        ecg: time window of ECGs; null links none.
        labs: time window of laboratory results, one per item, so ``pick`` must not be ``all``; null links none.
        notes: time window of radiology notes of MIMIC-IV-Note; with null, the report of a study is the text file of
            its X-ray in MIMIC-CXR, if there is one.
        views: views of X-rays to link.
        lab_items: laboratory items that become columns; the fifty of Symile-MIMIC unless set.
        strict: whether to omit results and notes that were stored after the anchor.
        require: what a study must have, modalities and the CheXpert ``labels`` of its X-ray; at least one modality
            unless set.
        check_signals: whether to read every linked ECG, and exclude those that contain NaN or only zeros.
        draw: random choices: splits, and sets of candidates.

    Raises:
        ValueError: a preset is combined with other settings, or the window of ``labs`` picks all.
    """

    unverified = (
        UNKNOWN_AGE,
        "tables are those of MIMIC-IV 2.2; the changes in version 3 were not examined",
        "of several images or records at the same time, the published script takes one by its sort order; here the one "
        "with the smallest id is used",
    )

    def __init__(
        self,
        *,
        preset: Literal["symile-mimic"] | None = None,
        anchor: Anchor = "admission",
        xray: Window | None = _DAY,
        ecg: Window | None = _DAY,
        labs: Window | None = _DAY,
        notes: Window | None = None,
        views: Sequence[str] = ("AP", "PA"),
        lab_items: Sequence[int] = tuple(SYMILE_LABS),
        strict: bool = False,
        require: Sequence[Kind] = (),
        check_signals: bool = True,
        draw: Draw = _DRAW,
    ) -> None:
        self.preset = preset
        self.anchor, self.xray, self.ecg, self.labs, self.notes = anchor, xray, ecg, labs, notes
        self.views, self.lab_items, self.strict, self.require = tuple(views), tuple(lab_items), strict, tuple(require)
        self.check_signals, self.draw = check_signals, draw
        if labs is not None and labs.pick == "all":
            raise ValueError("got labs.pick 'all', expected earliest or latest: a column holds one value; set it")
        if preset is not None:
            self._take_preset()

    def build(self, root: DataRoot, flow: Flow) -> Built:
        """Build one row per anchor, or per pair of anchor and event where a window picks all."""
        refuse_missing(root, self._parts())
        hosp = root.folder("hosp/admissions.csv.gz", setting="--root")
        hosp.view("admissions", "hosp/admissions.csv.gz", _ADMISSIONS)
        hosp.view("patients", "hosp/patients.csv.gz", PATIENTS)
        cxr = self._images(root) if self.xray is not None or self.anchor == "xray" else None
        ecg = self._records(root) if self.ecg is not None or self.anchor == "ecg" else None
        self._anchors(root, flow)
        notes = []
        if cxr is not None:
            self._link_images(root, cxr, flow)
        if ecg is not None:
            self._link_records(root, ecg, flow)
        if self.labs is not None:
            notes.append(self._link_labs(root, hosp, self.labs))
        if self.notes is not None:
            notes.append(self._link_notes(root, self.notes))
        self._studies(root, cxr)
        flow.start("studies", f"{self.anchor} events with what was linked to each")
        report = "text"
        if self.notes is None and cxr is not None:
            report, message = add_reports(root, flow)
            notes.append(message)
        self._exclude(flow)
        self._split(root, flow)
        return self._built(root, report, notes)

    def _take_preset(self) -> None:
        defaults = MIMIC().settings()
        if changed := [name for name in SYMILE_MIMIC if getattr(self, name) != defaults[name]]:
            raise ValueError(
                f"got preset {self.preset!r} with {changed}, which it fixes; leave out `--{changed[0]}` or `--preset`"
            )
        for name, value in SYMILE_MIMIC.items():
            setattr(self, name, value)
        draw = self.draw
        self.draw = replace(draw, sizes=draw.sizes or (10_000, 750), candidates=draw.candidates or 10)

    def _parts(self) -> list[Part]:
        """Return the data sets that these settings need, each with the option that leaves it out."""
        base = {"hosp/admissions.csv.gz": _ADMISSIONS, "hosp/patients.csv.gz": PATIENTS}
        parts = [Part(name="MIMIC-IV", tables=base, remedy="set `--root` to a folder with MIMIC-IV 2.0 or later")]
        if self.labs is not None:
            remedy = self._remedy("labs")
            parts.append(Part(name="MIMIC-IV", tables={"hosp/labevents.csv.gz": _LABS}, remedy=remedy))
        if self.xray is not None or self.anchor == "xray":
            labels = {"study_id": "BIGINT", **finding_columns()}
            tables = {METADATA: METADATA_COLUMNS, LABELS.format("chexpert"): labels}
            parts.append(Part(name="MIMIC-CXR-JPG", tables=tables, remedy=self._remedy("xray")))
        if self.ecg is not None or self.anchor == "ecg":
            tables = {RECORD_LIST: RECORD_COLUMNS}
            parts.append(Part(name="MIMIC-IV-ECG", tables=tables, remedy=self._remedy("ecg")))
        if self.notes is not None:
            tables = {"note/radiology.csv.gz": _NOTES}
            parts.append(Part(name="MIMIC-IV-Note", tables=tables, remedy=self._remedy("notes")))
        return parts

    def _remedy(self, setting: str) -> str:
        if self.anchor == setting:
            return f"set `--root`, or another `--anchor` with `--{setting} null`"
        without = f" instead of `--preset {self.preset}`" if self.preset else ""
        return f"set `--root` or, to link none, `--{setting} null`{without}"

    def _images(self, root: DataRoot) -> DataRoot:
        cxr = root.folder(METADATA, setting="--root` or, to link none, `--xray null")
        create_images(cxr)
        create_chexpert(cxr)
        return cxr

    def _records(self, root: DataRoot) -> DataRoot:
        ecg = root.folder(RECORD_LIST, setting="--root` or, to link none, `--ecg null")
        create_records(ecg)
        return ecg

    def _anchors(self, root: DataRoot, flow: Flow) -> None:
        if self.anchor in _TIMES:
            select = f"SELECT hadm_id AS anchor_id, subject_id, hadm_id, {_TIMES[self.anchor]} AS time FROM admissions"
            message = "admissions in hosp/admissions.csv.gz"
        else:
            # An event belongs to the admission during which it was taken, the earliest one if admissions overlap.
            events = IMAGES if self.anchor == "xray" else RECORDS
            select = f"""
                SELECT e.{events.id} AS anchor_id, e.subject_id, a.hadm_id, e.taken AS time FROM {events.table} AS e
                LEFT JOIN admissions AS a ON a.subject_id = e.subject_id AND e.taken BETWEEN a.admittime AND a.dischtime
                QUALIFY row_number() OVER (PARTITION BY e.{events.id} ORDER BY a.admittime, a.hadm_id) = 1
            """
            message = "images in the metadata" if self.anchor == "xray" else "ECG records in record_list.csv"
        root.connection.execute(f"CREATE TABLE anchors AS {select}")
        flow.start("anchors", f"{message}, the anchors")
        flow.exclude("anchors", f"no time of {self.anchor}", "time IS NULL")

    def _link_images(self, root: DataRoot, cxr: DataRoot, flow: Flow) -> None:
        window = None if self.anchor == "xray" else self.xray
        flow.start("images", "images in the metadata of MIMIC-CXR-JPG")
        views = ", ".join(map(literal, self.views))
        flow.exclude("images", f"view is not one of {', '.join(self.views)}", f"view IS NULL OR view NOT IN ({views})")
        flow.exclude("images", "no date or time", "taken IS NULL")
        exclude_distant(root, flow, IMAGES, window)
        verdicts = cxr.checked("images", "file")
        flow.exclude("images", "file is missing", f"file IN (SELECT file FROM {verdicts} WHERE verdict != '')")
        file = f"{below(root, cxr.path)} || file AS xray"
        columns = f"dicom_id, study_id AS study, view, taken AS xray_time, {file}"
        keep_linked(root, IMAGES, window, columns=columns)

    def _link_records(self, root: DataRoot, ecg: DataRoot, flow: Flow) -> None:
        window = None if self.anchor == "ecg" else self.ecg
        flow.start("records", "ECG records in record_list.csv")
        exclude_distant(root, flow, RECORDS, window)
        verdicts = ecg.checked("records", "file", check=usable_signal if self.check_signals else None)
        unusable = f"SELECT DISTINCT verdict FROM {verdicts} WHERE verdict NOT IN ('', '{FLAT_LEAD}') ORDER BY 1"
        for (reason,) in root.connection.execute(unusable).fetchall():
            flow.exclude("records", reason, f"file IN (SELECT file FROM {verdicts} WHERE verdict = '{reason}')")
        columns = f"study_id AS ecg_study, taken AS ecg_time, {below(root, ecg.path)} || file AS ecg"
        keep_linked(root, RECORDS, window, columns=columns)

    def _link_labs(self, root: DataRoot, hosp: DataRoot, window: Window) -> str:
        hosp.view("labevents", "hosp/labevents.csv.gz", _LABS)
        items = ", ".join(str(int(item)) for item in self.lab_items)
        root.connection.execute(f"""
            CREATE TABLE results AS SELECT * FROM labevents WHERE itemid IN ({items}) AND valuenum IS NOT NULL
                AND subject_id IN (SELECT subject_id FROM anchors)
        """)
        keep_results(root, window, self.lab_items, strict=self.strict)
        return availability(root, RESULTS, window, "laboratory results", strict=self.strict)

    def _link_notes(self, root: DataRoot, window: Window) -> str:
        notes = root.folder("note/radiology.csv.gz", setting="--root` or, to link none, `--notes null")
        notes.view("notes", "note/radiology.csv.gz", _NOTES)
        keep_linked(root, NOTES, window, columns="note_id, text AS report", strict=self.strict)
        return availability(root, NOTES, window, "radiology notes", strict=self.strict)

    def _studies(self, root: DataRoot, cxr: DataRoot | None) -> None:
        """Create the table of anchors with their linked events; columns of modalities that are not linked are null."""
        joins = {
            "linked_images": ("dicom_id", "study", "view", "xray_time", "xray"),
            "linked_records": ("ecg_study", "ecg_time", "ecg"),
            "linked_notes": ("note_id", "report"),
        }
        tables = {name for (name,) in root.connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
        columns = ["a.anchor_id", "a.subject_id", "a.hadm_id", "a.time"]
        for table, names in joins.items():
            columns += [f"{table}.{name}" if table in tables else f"CAST(NULL AS VARCHAR) AS {name}" for name in names]
        linked = [table for table in (*joins, "linked_results") if table in tables]
        labs = [f'linked_results."{item}"' for item in self.lab_items] if "linked_results" in tables else []
        present = "linked_results.anchor_id IS NOT NULL" if labs else "false"
        findings = [f'labels."{name}"' if cxr else f'NULL AS "{name}"' for name in FINDINGS]
        labelled = "labels.study_id IS NOT NULL" if cxr else "false"
        label_join = "LEFT JOIN labels ON labels.study_id = linked_images.study" if cxr else ""
        root.connection.execute(f"""
            CREATE TABLE studies AS SELECT {self._study_id()} AS study_id, j.subject_id AS patient_id,
                j.* EXCLUDE (subject_id, time), j.time AS anchor_time, p.gender AS sex, m.race, m.admission_type,
                {age_band(age_in("year(j.time)"))} AS age_band
            FROM (
                SELECT {", ".join([*columns, *labs, *findings])}, {present} AS tabular, {labelled} AS labelled
                FROM anchors AS a {" ".join(f"LEFT JOIN {t} ON {t}.anchor_id = a.anchor_id" for t in linked)}
                {label_join}
            ) AS j LEFT JOIN patients AS p ON p.subject_id = j.subject_id
            LEFT JOIN admissions AS m ON m.hadm_id = j.hadm_id
        """)

    def _study_id(self) -> str:
        parts = ["CAST(anchor_id AS VARCHAR)"]
        for window, column in ((self.xray, "dicom_id"), (self.ecg, "ecg_study"), (self.notes, "note_id")):
            if window is not None and window.pick == "all" and self.anchor != column.partition("_")[0]:
                parts.append(f"CAST({column} AS VARCHAR)")
        return f"concat_ws('-', {', '.join(parts)})"

    def _exclude(self, flow: Flow) -> None:
        absent: dict[Kind, str] = {
            "xray": "xray IS NULL",
            "ecg": "ecg IS NULL",
            "tabular": "NOT tabular",
            "report": "report IS NULL",
        }
        for kind in self.require:
            if kind == "labels":
                flow.exclude("studies", "no X-ray with CheXpert labels", "NOT labelled")
            else:
                flow.exclude("studies", f"no {kind} in its window", absent[kind])
        if not {*self.require} & {*absent}:
            flow.exclude("studies", "none of the modalities", " AND ".join(absent.values()))
            for kind, condition in absent.items():
                flow.count("studies", f"have {kind}", f"NOT ({condition})")

    def _split(self, root: DataRoot, flow: Flow) -> None:
        draw = self.draw
        if draw.sizes is not None:
            train, val = draw.sizes
            drawn_split(root.connection, "studies", train=train, val=val, seed=draw.seed)
            flow.exclude("studies", "patient is in a split that was drawn before", "split IS NULL")
            if self.labs is not None:
                add_percentiles(root.connection, "studies", [str(item) for item in self.lab_items])
        else:
            split = hashed_split("patient_id", seed=draw.seed, val=draw.val, test=draw.test)
            root.connection.execute(f"CREATE OR REPLACE TABLE studies AS SELECT *, {split} AS split FROM studies")
        if draw.candidates:
            candidate_sets(root.connection, "studies", candidates=draw.candidates, seed=draw.seed)

    def _built(self, root: DataRoot, report: str, notes: Sequence[str]) -> Built:
        modalities: dict[str, dict[str, Any]] = {"xray": {"path": "xray"}, "ecg": {"path": "ecg"}}
        columns = [str(item) for item in self.lab_items]
        plugins = {}
        if self.labs is not None:
            modalities["tabular"] = {"columns": columns}
            plugins["tabular"] = {"class_path": "Tabular", "init_args": {"numeric": columns}}
        modalities["report"] = {report: "report"}
        return Built(
            table="studies",
            root=root.path,
            population="mimic-iv",
            modalities={name: source for name, source in modalities.items() if _has_values(root, name)},
            labels={name: {"column": name} for name in FINDINGS if _has_values(root, f'"{name}"')},
            groups=("sex", "age_band", "race", "view", "admission_type"),
            plugins=plugins,
            tables={"candidates": "candidates"} if self.draw.candidates else {},
            notes=tuple(notes),
        )


def _has_values(root: DataRoot, column: str) -> bool:
    condition = "tabular" if column == "tabular" else f"{column} IS NOT NULL"
    counts = root.connection.execute(f"SELECT count(*) FROM studies WHERE {condition}").fetchone()
    return counts is not None and counts[0] > 0
