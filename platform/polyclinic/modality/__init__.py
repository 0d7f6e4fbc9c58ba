"""The contract that a modality plugin fulfils, with what a plugin needs to fulfil it."""

from polyclinic.modality.concern import Concern, Severity
from polyclinic.modality.contract import (
    ENTRY_POINTS,
    HEAT,
    ArrayRow,
    Cleaned,
    Deidentifiable,
    Explainable,
    Imputable,
    Inspectable,
    Item,
    Modality,
    Redactable,
    Source,
    UnreadableSource,
    Viewable,
    installed_modalities,
    relative_relevance,
    settings,
)
from polyclinic.modality.dicom_concerns import dicom_concerns
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
    "Cleaned",
    "Concern",
    "Deidentifiable",
    "DicomStandard",
    "Entry",
    "Explainable",
    "Identity",
    "Imputable",
    "Inspectable",
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
    "dicom_concerns",
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
