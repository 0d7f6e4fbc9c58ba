"""The fourteen findings of the CheXpert labeller (Irvin et al. 2019), which CheXpert and MIMIC-CXR share."""

# Alphabetical, as MIMIC-CXR has them; CheXpert's own order differs, so that columns are taken by name alone.
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
    """Each finding as a column to read: 1, 0, -1 for uncertain, or blank."""
    return dict.fromkeys(FINDINGS, "DOUBLE")


def finding_names(table: str = "") -> str:
    """The findings as columns of a table, in SQL."""
    return ", ".join(f'{table}{"." if table else ""}"{name}"' for name in FINDINGS)
