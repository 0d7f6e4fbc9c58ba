"""The plugin contract of a modality, and the types and functions that plugins use."""

from polyclinic.modality.capabilities import (
    HEAT,
    BaselineFeatures,
    Cleaned,
    Deidentifiable,
    Explainable,
    HasBaseline,
    Imputable,
    Inspectable,
    Redactable,
    Viewable,
    relative_relevance,
)
from polyclinic.modality.contract import (
    ENTRY_POINTS,
    ArrayRow,
    Item,
    Modality,
    Source,
    UnreadableSource,
    installed_modalities,
    settings,
)
from polyclinic.modality.issues import Issue, Severity, dicom_issues
from polyclinic.modality.physiology import Physiology
from polyclinic.modality.views import (
    LONGEST_SIDE,
    Axis,
    Entry,
    Located,
    OnPicture,
    OnRows,
    OnTraces,
    OnWords,
    Picture,
    Rows,
    Traces,
    View,
    Words,
)
from polyclinic.privacy.ages import capped_age, holds_age, holds_birth
from polyclinic.privacy.dicom import clean_dicom, dicom_names, nested_names
from polyclinic.privacy.dicom_values import DicomStandard
from polyclinic.privacy.identifiers import identifying_fields
from polyclinic.privacy.identity import Identity
from polyclinic.privacy.text import Tagger, labelled_names

__all__ = [
    "ENTRY_POINTS",
    "HEAT",
    "LONGEST_SIDE",
    "ArrayRow",
    "Axis",
    "BaselineFeatures",
    "Cleaned",
    "Deidentifiable",
    "DicomStandard",
    "Entry",
    "Explainable",
    "HasBaseline",
    "Identity",
    "Imputable",
    "Inspectable",
    "Issue",
    "Item",
    "Located",
    "Modality",
    "OnPicture",
    "OnRows",
    "OnTraces",
    "OnWords",
    "Physiology",
    "Picture",
    "Redactable",
    "Rows",
    "Severity",
    "Source",
    "Tagger",
    "Traces",
    "UnreadableSource",
    "View",
    "Viewable",
    "Words",
    "capped_age",
    "clean_dicom",
    "dicom_issues",
    "dicom_names",
    "holds_age",
    "holds_birth",
    "identifying_fields",
    "installed_modalities",
    "labelled_names",
    "nested_names",
    "relative_relevance",
    "settings",
]
