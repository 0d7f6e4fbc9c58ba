"""Columns of the phantom's panel, which the plugin reads until it has seen a cohort."""

from types import MappingProxyType

UNITS = MappingProxyType(
    {
        "age": "years",
        "bnp": "ng/L",
        "troponin": "ng/L",
        "creatinine": "umol/L",
        "urea": "mmol/L",
        "potassium": "mmol/L",
        "sodium": "mmol/L",
        "haemoglobin": "g/L",
        "haematocrit": "%",
        "crp": "mg/L",
        "wbc": "10^9/L",
        "platelets": "10^9/L",
        "spo2": "%",
        "temperature": "C",
        "bicarbonate": "mmol/L",
        "glucose": "mmol/L",
        "lactate": "mmol/L",
    }
)
"""Units of the numeric columns."""

CATEGORICAL = MappingProxyType({"sex": ("F", "M")})
"""Levels of the categorical columns."""
