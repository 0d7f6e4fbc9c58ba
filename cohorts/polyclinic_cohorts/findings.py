"""The fourteen findings of the CheXpert labeller (Irvin et al. 2019), which CheXpert and MIMIC-CXR share."""

# In the alphabetical order of MIMIC-CXR; CheXpert orders them differently, so columns are selected by name.
FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "Lung Lesion",
    "Lung Opacity",
    "No Finding",
    "Pleural Effusion",
    "Pleural Other",
    "Pneumonia",
    "Pneumothorax",
    "Support Devices",
)


def finding_columns() -> dict[str, str]:
    """Return the column type of each finding, whose cells are 1, 0, -1 for uncertain, or blank."""
    return dict.fromkeys(FINDINGS, "DOUBLE")


def finding_names(table: str = "") -> str:
    """Return the findings as a SQL list of columns of a table."""
    return ", ".join(f'{table}{"." if table else ""}"{name}"' for name in FINDINGS)
