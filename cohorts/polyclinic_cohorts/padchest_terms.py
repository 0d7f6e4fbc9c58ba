"""Findings of PadChest: which of its 193 radiographic terms count as each finding."""

from collections.abc import Mapping
from types import MappingProxyType

_CONSOLIDATION = ("consolidation", "air bronchogram")
_ALVEOLAR = ("alveolar pattern", *_CONSOLIDATION)
_INTERSTITIAL = (
    "interstitial pattern", "ground glass pattern", "reticular interstitial pattern",
    "reticulonodular interstitial pattern", "miliary opacities",
)  # fmt: skip
TERMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Normal": ("normal",),
        "Air Trapping": ("air trapping",),
        "Aortic Atheromatosis": ("aortic atheromatosis",),
        "Aortic Elongation": (
            "aortic elongation", "ascendent aortic elongation", "descendent aortic elongation",
            "supra aortic elongation",
        ),
        "Atelectasis": (
            "atelectasis", "laminar atelectasis", "lobar atelectasis", "segmental atelectasis", "atelectasis basal",
            "total atelectasis", "round atelectasis",
        ),
        "Bronchiectasis": ("bronchiectasis",),
        "Cardiomegaly": ("cardiomegaly",),
        "Consolidation": _CONSOLIDATION,
        "COPD Signs": ("copd signs",),
        "Costophrenic Angle Blunting": ("costophrenic angle blunting",),
        "Edema": ("pulmonary edema",),
        "Effusion": (
            "pleural effusion", "loculated pleural effusion", "loculated fissural effusion", "hydropneumothorax",
        ),
        "Emphysema": ("emphysema",),
        "Fibrosis": ("pulmonary fibrosis",),
        "Flattened Diaphragm": ("flattened diaphragm",),
        "Fracture": (
            "fracture", "rib fracture", "callus rib fracture", "clavicle fracture", "humeral fracture",
            "vertebral fracture",
        ),
        "Granuloma": ("granuloma", "calcified granuloma"),
        "Hemidiaphragm Elevation": ("hemidiaphragm elevation",),
        "Hernia": ("hiatal hernia",),
        "Hilar Enlargement": ("hilar enlargement", "vascular hilar enlargement"),
        "Infiltration": ("infiltrates", *_INTERSTITIAL, *_ALVEOLAR),
        "Kyphosis": ("kyphosis",),
        "Mass": ("mass", "pulmonary mass"),
        "Nodule": ("nodule", "multiple nodules"),
        "Pleural Thickening": ("pleural thickening", "apical pleural thickening", "calcified pleural thickening"),
        "Pneumonia": ("pneumonia", "atypical pneumonia"),
        "Pneumothorax": ("pneumothorax", "hydropneumothorax"),
        "Scoliosis": ("scoliosis",),
        "Support Devices": (
            "catheter", "central venous catheter", "central venous catheter via jugular vein",
            "central venous catheter via subclavian vein", "central venous catheter via umbilical vein",
            "reservoir central venous catheter", "chest drain tube", "endotracheal tube", "gastrostomy tube",
            "nephrostomy tube", "nsg tube", "tracheostomy tube", "ventriculoperitoneal drain tube", "double j stent",
            "electrical device", "dual chamber device", "single chamber device", "pacemaker",
        ),
        "Tuberculosis": ("tuberculosis", "tuberculosis sequelae"),
    }
)  # fmt: skip
"""Terms of each finding, in lower case: the name itself and the more specific terms below it."""

UNSURE = ("unchanged", "exclude", "suboptimal study")
"""Terms of reports that do not describe the image completely: a finding that they do not name is unknown."""

BROKEN = (
    "216840111366964012373310883942009152114636712_00-102-045.png",
    "216840111366964012487858717522009280135853083_00-075-001.png",
    "216840111366964012819207061112010281134410801_00-129-131.png",
    "216840111366964012989926673512011083134050913_00-168-009.png",
    "216840111366964012989926673512011151082430686_00-157-045.png",
    "216840111366964013590140476722013043111952381_02-065-198.png",
    "216840111366964013590140476722013058110301622_02-056-111.png",
    "216840111366964013686042548532013208193054515_02-026-007.png",
    "216840111366964013829543166512013353113303615_02-092-190.png",
    "216840111366964013962490064942014134093945580_01-178-104.png",
)
"""Files of the published archives that are cut or damaged, as users of torchxrayvision reported."""


def finding(name: str) -> str:
    """Return a SQL column of a finding: 1 if a term names it, 0 if not, and null if the terms are unsure or absent."""
    return (
        f"CASE WHEN list_has_any(terms, {list(TERMS[name])!r}) THEN 1 "
        f'WHEN len(terms) = 0 OR list_has_any(terms, {list(UNSURE)!r}) THEN NULL ELSE 0 END AS "{name}"'
    )
