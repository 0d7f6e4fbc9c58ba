"""Phrases of phantom reports: phrasings of every finding, hedges, and sentences about other things.

Slots: ``{degree}``, such as mild, and ``{adverb}``, such as mildly, both sometimes empty; ``{side}``, left or right.
Positive and negative phrasings share most words, so that no single word separates them.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Phrases(NamedTuple):
    """Phrasings of one finding.

    Attributes:
        process: severity of ``Physiology`` that sets the degree; empty if none does.
        noun: name of the finding in lists of absent findings.
        positive: sentences that state it.
        negative: sentences that deny it.
    """

    process: str
    noun: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]


PHRASES: Mapping[str, Phrases] = MappingProxyType(
    {
        "cardiomegaly": Phrases(
            process="heart_size",
            noun="cardiomegaly",
            positive=(
                "the heart is {adverb} enlarged.",
                "{degree} cardiomegaly.",
                "there is {degree} cardiomegaly.",
                "the cardiac silhouette is {adverb} enlarged.",
            ),
            negative=(
                "the heart is not enlarged.",
                "no cardiomegaly.",
                "there is no evidence of cardiomegaly.",
                "the cardiac silhouette is not enlarged.",
            ),
        ),
        "pulmonary_edema": Phrases(
            process="fluid",
            noun="pulmonary edema",
            positive=(
                "there is {degree} pulmonary edema.",
                "{degree} pulmonary edema.",
                "{degree} interstitial edema with perihilar haze.",
                "perihilar haze in keeping with {degree} pulmonary edema.",
            ),
            negative=(
                "there is no pulmonary edema.",
                "no evidence of pulmonary edema.",
                "no interstitial edema and no perihilar haze.",
                "without perihilar haze to suggest pulmonary edema.",
            ),
        ),
        "consolidation": Phrases(
            process="consolidation",
            noun="consolidation",
            positive=(
                "there is {degree} consolidation in the {side} lung.",
                "{degree} {side} lung consolidation.",
                "patchy opacity in the {side} lung consistent with pneumonia.",
                "focal consolidation in the {side} lung suggests pneumonia.",
            ),
            negative=(
                "there is no consolidation in the {side} lung.",
                "no {side} lung consolidation.",
                "no patchy opacity to suggest pneumonia.",
                "the lungs are clear, without focal consolidation.",
            ),
        ),
        "pleural_effusion": Phrases(
            process="effusion",
            noun="pleural effusion",
            positive=(
                "there is a {degree} {side} pleural effusion.",
                "{degree} {side} pleural effusion.",
                "{degree} pleural effusion at the {side} base.",
                "{degree} {side} effusion with blunting of the costophrenic angle.",
            ),
            negative=(
                "there is no pleural effusion.",
                "no {side} pleural effusion.",
                "no evidence of pleural effusion at either base.",
                "no effusion, without blunting of the costophrenic angle.",
            ),
        ),
        "atrial_fibrillation": Phrases(
            process="",
            noun="atrial fibrillation",
            positive=(
                "the rhythm is atrial fibrillation.",
                "atrial fibrillation.",
                "there is atrial fibrillation.",
                "irregular rhythm without P waves, consistent with atrial fibrillation.",
            ),
            negative=(
                "the rhythm is not atrial fibrillation.",
                "no atrial fibrillation.",
                "there is no atrial fibrillation.",
                "regular sinus rhythm with P waves, without atrial fibrillation.",
            ),
        ),
        "ventricular_hypertrophy": Phrases(
            process="ventricular_mass",
            noun="ventricular hypertrophy",
            positive=(
                "there is {degree} left ventricular hypertrophy.",
                "voltage criteria for left ventricular hypertrophy are met.",
                "{degree} left ventricular hypertrophy.",
                "high QRS voltage indicates ventricular hypertrophy.",
            ),
            negative=(
                "there is no left ventricular hypertrophy.",
                "voltage criteria for left ventricular hypertrophy are not met.",
                "no evidence of ventricular hypertrophy.",
                "QRS voltage is not high and does not indicate hypertrophy.",
            ),
        ),
        "myocardial_ischemia": Phrases(
            process="ischaemia",
            noun="myocardial ischemia",
            positive=(
                "there is evidence of {degree} myocardial ischemia.",
                "ST depression consistent with myocardial ischemia.",
                "{degree} ST depression in the lateral leads.",
                "ischemic ST segment changes are present.",
            ),
            negative=(
                "there is no evidence of myocardial ischemia.",
                "no ST depression to suggest myocardial ischemia.",
                "no ST depression in the lateral leads.",
                "ischemic ST segment changes are absent.",
            ),
        ),
        "airway_obstruction": Phrases(
            process="airway_tone",
            noun="airway obstruction",
            positive=(
                "there is {degree} airway obstruction.",
                "{degree} obstructive airway disease.",
                "the lungs are {adverb} hyperinflated.",
                "{degree} hyperinflation with flat diaphragms.",
            ),
            negative=(
                "there is no airway obstruction.",
                "no evidence of obstructive airway disease.",
                "the lungs are not hyperinflated.",
                "no hyperinflation, and the diaphragms are not flat.",
            ),
        ),
        "renal_impairment": Phrases(
            process="renal_impairment",
            noun="renal impairment",
            positive=(
                "there is {degree} renal impairment.",
                "renal function is {adverb} impaired.",
                "creatinine and urea are {adverb} raised.",
                "{degree} renal impairment with raised creatinine.",
            ),
            negative=(
                "there is no renal impairment.",
                "renal function is not impaired.",
                "creatinine and urea are not raised.",
                "no evidence of renal impairment.",
            ),
        ),
        "anemia": Phrases(
            process="anaemia",
            noun="anemia",
            positive=(
                "there is {degree} anemia.",
                "the patient is {adverb} anemic.",
                "hemoglobin is {adverb} low.",
                "low hemoglobin consistent with {degree} anemia.",
            ),
            negative=(
                "there is no anemia.",
                "the patient is not anemic.",
                "hemoglobin is not low.",
                "no evidence of anemia.",
            ),
        ),
        "axis_discordance": Phrases(
            process="",
            noun="discordance of the electrical and anatomical axes",
            positive=(
                "the electrical and anatomical axes are discordant.",
                "electrical and anatomical axes do not agree.",
                "there is discordance between the electrical and the anatomical axis.",
                "the axis on ECG and the axis of the heart on the radiograph are not concordant.",
            ),
            negative=(
                "the electrical and anatomical axes are concordant.",
                "electrical and anatomical axes agree.",
                "there is no discordance between the electrical and the anatomical axis.",
                "the axis on ECG and the axis of the heart on the radiograph are concordant.",
            ),
        ),
    }
)

TRAITS: Mapping[str, Mapping[int, tuple[str, ...]]] = MappingProxyType(
    {
        "heart_lie": {
            1: ("the heart lies horizontally.", "horizontal lie of the heart.", "the heart is transverse in position."),
            -1: ("the heart lies vertically.", "vertical lie of the heart.", "the heart is upright in position."),
        },
        "electrical_axis": {
            1: ("left axis deviation.", "there is left axis deviation.", "the QRS axis is leftward."),
            -1: ("right axis deviation.", "there is right axis deviation.", "the QRS axis is rightward."),
        },
    }
)
"""Sentences that describe a trait of ``Physiology``, by its value; a single trait does not imply a finding."""

ABSENT_PAIRS = (
    "no {one} or {other}.",
    "there is no evidence of {one} or {other}.",
    "neither {one} nor {other} is present.",
    "no {one}, and no {other}.",
)
"""Sentences that deny two findings, by their nouns."""

DEGREES = (("mild", "slight"), ("moderate",), ("severe", "marked"))
ADVERBS = (("mildly", "slightly"), ("moderately",), ("severely", "markedly"))

HEDGES = (
    "as far as can be assessed",
    "allowing for technique",
    "although assessment is limited",
    "on the available data",
)

INDICATIONS = (
    "shortness of breath.",
    "chest pain.",
    "preoperative assessment.",
    "follow-up.",
    "fever and cough.",
    "fatigue.",
    "palpitations.",
    "line placement.",
)

FILLERS = (
    "the right internal jugular catheter ends in the superior vena cava.",
    "the endotracheal tube ends 4 cm above the carina.",
    "the nasogastric tube passes below the diaphragm.",
    "single portable view of the chest.",
    "the patient is rotated to the right.",
    "no pneumothorax.",
    "there is no displaced rib fracture.",
    "degenerative changes of the thoracic spine.",
    "sternotomy wires are intact.",
    "the upper abdomen is unremarkable.",
    "surgical clips project over the left axilla.",
    "the trachea is not deviated.",
    "the study was recorded with the bed raised by 30°.",
    "ECG recorded at 25 mm/s and 10 mm/mV.",
    "blood was taken on the day of the study.",
    "no previous study is available for comparison.",
    "a drain has been removed without complication.",
    "muscle artifact in the limb leads.",
    "mild scoliosis of the thoracic spine.",
    "skin fold over the right upper chest.",
)

CLOSINGS = (
    "clinical correlation is advised.",
    "follow-up as clinically indicated.",
    "no further imaging is needed.",
    "see above.",
)
