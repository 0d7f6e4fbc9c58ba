"""What phantom reports say: phrasings of every finding, hedges, and sentences about something else.

Slots: ``{degree}`` mild, moderate or severe, ``{adverb}`` likewise, both sometimes empty; ``{side}`` left or right.
A positive and a negative phrasing share their words as far as possible, so that no single word tells them apart.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Phrases(NamedTuple):
    """Wordings of one finding.

    Attributes:
        process: the severity of ``Physiology`` that its words of degree follow; empty where there is none.
        noun: what a list of absent findings calls it.
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
                "heart size is {adverb} increased.",
                "{degree} enlargement of the cardiac silhouette.",
                "the cardiothoracic ratio is increased.",
                "{degree} cardiomegaly persists and has not resolved.",
            ),
            negative=(
                "the heart is not enlarged.",
                "no cardiomegaly.",
                "there is no evidence of cardiomegaly.",
                "the cardiac silhouette is not enlarged.",
                "heart size is normal.",
                "the earlier enlargement of the heart has resolved.",
                "the cardiac silhouette is normal in size, without enlargement.",
                "the cardiothoracic ratio is not increased.",
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
                "pulmonary vascular congestion with {degree} edema.",
                "findings of {degree} fluid overload with pulmonary edema.",
                "{degree} pulmonary edema persists and has not resolved.",
            ),
            negative=(
                "there is no pulmonary edema.",
                "no evidence of pulmonary edema.",
                "no interstitial edema and no perihilar haze.",
                "without perihilar haze to suggest pulmonary edema.",
                "pulmonary vascular congestion and edema are absent.",
                "pulmonary edema has resolved.",
                "no findings of fluid overload.",
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
                "{degree} airspace opacity on the {side}, concerning for pneumonia.",
                "the {side} lung shows focal consolidation.",
                "consolidation of the {side} lung persists and has not resolved.",
            ),
            negative=(
                "there is no consolidation in the {side} lung.",
                "no {side} lung consolidation.",
                "no patchy opacity to suggest pneumonia.",
                "the lungs are clear, without focal consolidation.",
                "no airspace opacity, and no evidence of pneumonia.",
                "both lungs are clear of consolidation.",
                "consolidation of the {side} lung has resolved.",
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
                "blunting of the {side} costophrenic angle by pleural fluid.",
                "pleural fluid layers at the {side} base.",
                "the {side} pleural effusion persists and has not resolved.",
            ),
            negative=(
                "there is no pleural effusion.",
                "no {side} pleural effusion.",
                "no evidence of pleural effusion at either base.",
                "no effusion, without blunting of the costophrenic angle.",
                "no blunting of the costophrenic angle by fluid.",
                "no pleural fluid at the {side} base.",
                "the {side} pleural effusion has resolved.",
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
                "ECG shows atrial fibrillation with irregular ventricular response.",
                "the rhythm is irregular.",
                "atrial fibrillation persists and has not resolved.",
            ),
            negative=(
                "the rhythm is not atrial fibrillation.",
                "no atrial fibrillation.",
                "there is no atrial fibrillation.",
                "regular sinus rhythm with P waves, without atrial fibrillation.",
                "ECG shows sinus rhythm, no evidence of atrial fibrillation.",
                "the rhythm is regular sinus rhythm.",
                "atrial fibrillation has resolved.",
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
                "QRS voltage is high, consistent with {degree} hypertrophy.",
                "increased left ventricular mass on voltage criteria.",
                "ventricular mass is {adverb} increased.",
                "left ventricular hypertrophy persists and has not resolved.",
            ),
            negative=(
                "there is no left ventricular hypertrophy.",
                "voltage criteria for left ventricular hypertrophy are not met.",
                "no evidence of ventricular hypertrophy.",
                "QRS voltage is not high and does not indicate hypertrophy.",
                "QRS voltage is normal, without hypertrophy.",
                "no increased left ventricular mass on voltage criteria.",
                "ventricular mass is not increased.",
                "left ventricular hypertrophy has resolved.",
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
                "raised troponin with ST depression suggests ischemia.",
                "{degree} myocardial ischemia persists and has not resolved.",
                "flat T waves and {degree} ST depression of ischemic type.",
            ),
            negative=(
                "there is no evidence of myocardial ischemia.",
                "no ST depression to suggest myocardial ischemia.",
                "no ST depression in the lateral leads.",
                "ischemic ST segment changes are absent.",
                "troponin is not raised, without ST depression.",
                "myocardial ischemia has resolved.",
                "no ischemic changes of T waves or ST segment.",
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
                "diffuse wheeze indicates airway obstruction.",
                "wheeze with prolonged expiration, in keeping with obstruction.",
                "{degree} airway obstruction persists and has not resolved.",
            ),
            negative=(
                "there is no airway obstruction.",
                "no evidence of obstructive airway disease.",
                "the lungs are not hyperinflated.",
                "no hyperinflation, and the diaphragms are not flat.",
                "no wheeze to indicate airway obstruction.",
                "without wheeze or prolonged expiration.",
                "airway obstruction has resolved.",
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
                "kidney function is {adverb} reduced.",
                "{degree} kidney disease with raised urea.",
                "renal impairment persists and has not resolved.",
            ),
            negative=(
                "there is no renal impairment.",
                "renal function is not impaired.",
                "creatinine and urea are not raised.",
                "no evidence of renal impairment.",
                "kidney function is normal.",
                "renal function is normal.",
                "no kidney disease, without raised urea.",
                "renal impairment has resolved.",
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
                "{degree} anemia with low hemoglobin.",
                "hemoglobin is {adverb} below the normal range.",
                "{degree} anemia persists and has not resolved.",
            ),
            negative=(
                "there is no anemia.",
                "the patient is not anemic.",
                "hemoglobin is not low.",
                "no evidence of anemia.",
                "no anemia, without low hemoglobin.",
                "hemoglobin is within the normal range.",
                "hemoglobin is normal.",
                "anemia has resolved.",
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
                "axis discordance between ECG and radiograph.",
                "the anatomical axis does not match the electrical axis.",
                "the two axes are not concordant.",
            ),
            negative=(
                "the electrical and anatomical axes are concordant.",
                "electrical and anatomical axes agree.",
                "there is no discordance between the electrical and the anatomical axis.",
                "the axis on ECG and the axis of the heart on the radiograph are concordant.",
                "no axis discordance between ECG and radiograph.",
                "the anatomical axis does match the electrical axis.",
                "the two axes are not discordant.",
            ),
        ),
    }
)

ABSENT_PAIRS = (
    "no {one} or {other}.",
    "there is no evidence of {one} or {other}.",
    "neither {one} nor {other} is present.",
    "no {one}, and no {other}.",
)
"""Two absent findings in one sentence, each by its noun."""

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
