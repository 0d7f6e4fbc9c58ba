"""A root of Coswara as ``extract_data.py`` leaves it: a table, annotations, and a folder per day and participant."""

import json
from pathlib import Path
from zlib import crc32

import numpy as np
import soundfile

RECORDINGS = (
    "breathing-deep", "breathing-shallow", "cough-heavy", "cough-shallow", "counting-fast", "counting-normal",
    "vowel-a", "vowel-e", "vowel-o",
)  # fmt: skip
RATE = 44_100
# The columns of the last table; participants of the first months lack most answers.
TABLE = """\
id,a,covid_status,record_date,ep,g,l_c,l_l,l_s,rU,smoker,cold,ht,diabetes,cough,ctDate,ctScan,ctScore,diarrhoea,fever,loss_of_smell,mp,testType,test_date,test_status,um,vacc,bd,others_resp,ftg,st,ihd,asthma,others_preexist,cld,pneumonia
vK2bLRNzllXNeyOMudnNSL5cfpG2,24,healthy,2020-04-13,y,male,India,,Karnataka,,,,,,,,,,,,,,,,,,,,,,,,,,,
bjA2KpSxneNskrLBeqi4bqoTDQl2,72,positive_mild,2020-04-15,y,female,India,"Thane, West",Maharashtra,n,n,True,,True,True,,n,,,True,True,,rtpcr,2020-04-14,p,y,y,True,,True,,,,,,
FSzobvJqOXf0rI6X05cHqOiU9Mu2,54,recovered_full,2020-04-15,y,other,Oman,,Muscat,n,y,,,,,,n,,,,,,,,n,y,n,,,,,,,,,
EqDWckxbsETyHUeBLQ8jLtxlhir2,0,positive_asymp,2020-04-16,n,male,India,,Haryana,n,False,,,,,,n,,,,,,,,na,n,y,,,,,,,,,
FGRDO4IBbAejR0WHD5YbkXTCasg2,17,vaccinated,2020-04-16,n,,India,,Haryana,n,n,,,,,,n,,,,,,,,ut,n,y,,,,,,True,,,
"""  # noqa: E501
PEOPLE = {
    "vK2bLRNzllXNeyOMudnNSL5cfpG2": ("20200413", 2),
    "bjA2KpSxneNskrLBeqi4bqoTDQl2": ("20200415", 1),
    "FSzobvJqOXf0rI6X05cHqOiU9Mu2": ("20200415", None),
    "EqDWckxbsETyHUeBLQ8jLtxlhir2": ("20200416", 0),
    "FGRDO4IBbAejR0WHD5YbkXTCasg2": ("20200416", 2),
}


def write_coswara(root: Path, *, annotations: bool = True) -> None:
    """Write the table, the annotated qualities, and every recording with the answers of its participant."""
    root.mkdir(parents=True)
    (root / "combined_data.csv").write_text(TABLE)
    for person, (day, _) in PEOPLE.items():
        folder = root / "Extracted_data" / day / person
        folder.mkdir(parents=True)
        (folder / "metadata.json").write_text(json.dumps({"a": 24, "g": "male"}))
        for recording in RECORDINGS:
            write_recording(folder / f"{recording}.wav")
    if annotations:
        (root / "annotations").mkdir()
        for recording in RECORDINGS:
            lines = [f"{person}_{recording},{grade}" for person, (_, grade) in PEOPLE.items() if grade is not None]
            # The name of the second column begins with a blank.
            (root / "annotations" / f"{recording}_labels.csv").write_text("\n".join(("FILENAME, QUALITY", *lines)))


def write_recording(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    sound = np.random.default_rng(crc32("/".join(file.parts[-2:]).encode())).normal(0, 0.1, RATE)
    soundfile.write(file, sound, RATE, subtype="PCM_16")
