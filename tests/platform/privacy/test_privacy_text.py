"""Text without identifiers: what is removed, what is shifted, and what stays because it is medical."""

import re
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyclinic.cohort import default_modalities
from polyclinic.modality.physiology import Patient
from polyclinic.privacy.identifiers import identifying_fields
from polyclinic.privacy.identity import Identity, mapped, read_key
from polyclinic.privacy.text import scrubbed

KEY = b"0123456789abcdef0123456789abcdef"


def clean(text: str, *names: str, days: int = -100) -> str:
    return scrubbed(text, names=names, days=days)[0]


@pytest.mark.parametrize(
    "text",
    [
        "Heart rate 72/min, BP 120/80 mmHg, SpO2 97 %, 3/10 pain.",
        "Grade 2/6 systolic murmur, L4/5 disc, T1 weighted, 2.3 x 4.5 cm, 12.5 mm.",
        "Platelets 150000/uL, ejection fraction 35-40 %, PR 160 ms, QTc 440 ms.",
        "No acute process. It may be old. The heart is enlarged; march fracture of the 2nd metatarsal.",
        "An 89-year-old woman with 12 ribs, 1.2.3 of the protocol, ratio 1:2, C5-6.",
        "Patient is stable. Names of drugs: see chart.",
    ],
)
def test_medical_text_is_unchanged(text: str) -> None:
    assert scrubbed(text, names=["DOE^JOHN", "LI^WEI"], days=-100) == (text, {})


def test_reports_of_the_phantom_are_unchanged(tmp_path: Path) -> None:
    plugin = default_modalities(["report"])["report"]
    for seed in range(60):
        rng = np.random.default_rng(seed)
        text = plugin.phantom(Patient(rng).visit(rng), rng, tmp_path / str(seed)).read_text()
        assert clean(text, "DOE^JOHN") == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Patient name: John Doe, DOB 03/02/1950, seen well.", "Patient name: ___ DOB ___, seen well."),
        ("Name: DOE JOHN FINDINGS: clear.", "Name: ___ FINDINGS: clear."),
        ("MRN 1234567 and NHS 943 476 5919.", "MRN ___ and NHS ___."),
        ("Call 555-123-4567, (212) 555-0199 or +44 20 7946 0958.", "Call ___, ___ or ___."),
        ("Write to john.doe@hospital.org or https://h.org/p?id=7 now.", "Write to ___ or ___ now."),
        ("SSN 078-05-1120.", "SSN ___."),
        ("Reviewed with Dr. Smith and Prof. van Dyke.", "Reviewed with Dr. ___ and Prof. ___."),
        ("Electronically signed by: Jane Q. Roe, MD", "Electronically signed by: ___, MD"),
        ("Accession: CXR-2024-001234.", "Accession: ___"),
        ("Lives at 12 Baker Street, NW1 6XE.", "Lives at ___, ___."),
        ("A 93-year-old man, aged 104, age: 95.", "A 90-year-old man, aged 90, age: 90."),
        ("UID 1.2.840.113619.2.55.3.", "UID ___."),
        ("DOE^JOHN was here.", "___ was here."),
    ],
)
def test_labelled_and_shaped_identifiers_are_removed(text: str, expected: str) -> None:
    assert clean(text) == expected
    assert not identifying_fields(clean(text))


@pytest.mark.parametrize(
    "written",
    ["John Doe", "JOHN DOE", "Doe, John", "doe^john", "DOE_JOHN", "Mr Doe", "John", "Doe's heart", "John-Doe", "(Doe)"],
)
def test_a_known_name_is_removed_however_it_is_written(written: str) -> None:
    cleaned = clean(f"seen: {written} today", "DOE^JOHN^^^").lower()
    assert "doe" not in cleaned
    assert "john" not in cleaned
    assert cleaned.startswith("seen: ")
    assert cleaned.endswith(" today")


def test_known_names_match_whole_words_and_short_ones_must_be_capitalised() -> None:
    assert (
        clean("Doezer has an aneurysm; An said no, AN too.", "DOE^AN")
        == "Doezer has an aneurysm; ___ said no, ___ too."
    )
    assert clean("Frau Müller, Muller und MÜLLER.", "Müller^Eva") == "Frau ___ und ___."
    assert clean("Mu\u0308ller", "Müller") == "___"
    assert clean("患者李明は良い。 李 明", "Li^Ming=李^明") == "患者___は良い。 ___"
    assert clean("Study CXR 12 of CXR-0012a.", "CXR-0012a") == "Study CXR 12 of ___."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("on 2024-03-05T10:00", "on 2023-11-26T10:00"),
        ("on 5 March 2024", "on 26 November 2023"),
        ("on MAR 5, 2024", "on NOV 26, 2023"),
        ("on 5-Mar-2024", "on 26-Nov-2023"),
        ("on 03/05/2024", "on 11/26/2023"),
        ("on 31/12/23", "on 22/09/23"),
        ("am 05.03.2024", "am 26.11.2023"),
        ("20240305", "20231126"),
        ("in March 2024", "in November 2023"),
        ("on 31/31/2024", "on ___"),
        ("on 3/5 and since 2019, 5 May", "on ___ and since ___, ___"),
        ("0001-01-01 1900-01-01", "0001-01-01 1899-09-23"),
    ],
)
def test_dates_are_shifted_in_their_format(text: str, expected: str) -> None:
    assert clean(text) == expected


@given(
    first=st.dates(date(1950, 1, 1), date(2035, 1, 1)),
    second=st.dates(date(1950, 1, 1), date(2035, 1, 1)),
    days=st.integers(-3650, -1),
    form=st.sampled_from(["%Y-%m-%d", "%d %B %Y", "%b %d, %Y", "%d.%m.%Y", "%m/%d/%Y", "%Y%m%d"]),
)
@settings(max_examples=150, deadline=None)
def test_intervals_are_preserved_in_every_format(first: date, second: date, days: int, form: str) -> None:
    # May is its own abbreviation, so that its format cannot be recognised.
    shifted = clean(f"{first:{form}} and {second:{form}}", days=days).split(" and ")
    dates = [_parsed(text, form) for text in shifted]
    assert dates == [first + timedelta(days), second + timedelta(days)]


def _parsed(text: str, form: str) -> date:
    for pattern in (form, form.replace("%B", "%b"), form.replace("%b", "%B")):
        try:
            return datetime.strptime(text, pattern).date()
        except ValueError:
            continue
    raise AssertionError(text)


@pytest.mark.parametrize("piece", ["1-", "A-1", "1.", "a.b@c.", "Name: ", "5 May ", "1 2 3 4 ", "(1", "a", " "])
def test_no_text_takes_quadratic_time(piece: str) -> None:
    """A pattern that backtracks over these would not end within the time of a test."""
    assert len(clean(piece * 4_000, "DOE^JOHN")) <= 4_000 * len(piece) + 3


@given(st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_text_is_accepted(text: str) -> None:
    assert "DOE^JOHN" not in clean(f"{text} DOE^JOHN {text}", "DOE^JOHN")


# Combining marks, and UTF-8 that was read as Latin-1, may join a name with what is before it into another word.
_FIRST_OF_MISREAD = [chr(code) for code in range(0xC2, 0xF5)]
_TEXT = st.text(st.characters(exclude_categories=["C", "M"], exclude_characters=_FIRST_OF_MISREAD), max_size=60)
_DOE = st.tuples(*(st.sampled_from([letter, letter.upper()]) for letter in "doe")).map("".join)


@given(st.lists(st.one_of(_TEXT, _DOE, st.just(" ")), max_size=8).map("".join))
@settings(max_examples=200, deadline=None)
def test_a_name_of_three_letters_is_removed_in_any_case_from_any_text(text: str) -> None:
    cleaned = clean(f"{text} DOE^JOHN {text}", "DOE^JOHN")
    assert not re.search(r"(?<![^\W_])doe(?![^\W_])", cleaned, re.IGNORECASE)


def test_short_abbreviations_that_are_names_too_need_a_neighbour_or_a_capital() -> None:
    text = "COX inhibitor, LAD stent, the lab and a ct. Doe was here, a doe or dOE saw A\x80DOE with LAD COX."
    assert clean(text, "COX^LAD", "DOE^JOHN") == (
        "___ inhibitor, LAD stent, the lab and a ct. ___ was here, a ___ or ___ saw ___ with ___."
    )


def test_removed_identifiers_are_counted_by_kind() -> None:
    text, counts = scrubbed("Dr. Roe saw John on 2024-03-05, john@doe.org", names=["John"], days=-1)
    assert text == "Dr. ___ saw ___ on 2024-03-04, ___"
    assert counts == {"titled name": 1, "known name": 1, "date": 1, "e-mail": 1}


def test_an_identity_depends_only_on_key_and_patient() -> None:
    identity, same = Identity(key=KEY, patient="7", names=("DOE",)), Identity(key=KEY, patient="7")
    assert (identity.patient_id, identity.days, identity.uid("1.2.3")) == (
        same.patient_id,
        same.days,
        same.uid("1.2.3"),
    )
    assert identity.patient_id == mapped(KEY, "patient", "7") != mapped(KEY, "study", "7")
    different = Identity(key=KEY[::-1], patient="7")
    assert identity.patient_id != different.patient_id
    assert identity.uid("1.2.3") != different.uid("1.2.3")
    assert re.fullmatch(r"2\.25\.[1-9]\d{1,38}", identity.uid("1.2.3"))
    days = [Identity(key=KEY, patient=str(patient)).days for patient in range(500)]
    assert -3650 <= min(days) < -3500
    assert -200 < max(days) <= -1
    assert not {"DOE", "0123456789abcdef", "'7'"} & set(re.split(r"[(),=\s]", repr(identity)))


def test_mapped_ids_are_the_keyed_hash_of_rfc_2104() -> None:
    # openssl dgst -sha256 -hmac gives the same for the bytes "patient", NUL and "7".
    block = KEY.ljust(64, b"\0")
    from hashlib import sha256  # noqa: PLC0415 - an independent computation

    inner = sha256(bytes(b ^ 0x36 for b in block) + b"patient\x007").digest()
    assert mapped(KEY, "patient", "7") == sha256(bytes(b ^ 0x5C for b in block) + inner).hexdigest()[:16]


def test_a_key_that_is_not_secret_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "key"
    with pytest.raises(ValueError, match=r"cannot be read \(FileNotFoundError\).*set `--key`.*token_hex"):
        read_key(file)
    file.touch(mode=0o600)
    for content in (b"", b"short", b"a" * 64, b"  \n" + b"0123456789" * 3 + b"\n\n"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="expected 32 or more, drawn at random"):
            read_key(file)
    file.write_bytes(b"\n" + KEY + b" \n")
    assert read_key(file) == KEY


@pytest.mark.public_report(3)
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PENA^JOSE", "José Peña, J. Peña, Peña J"),
        ("MUELLER^JUERGEN", "Müller, Jürgen; Mueller; Muller; MÜLLER; müllers; Mu\u0308ller; Mül-\nler"),
        ("Müller", "Mueller Muller MÃ¼ller M\ufffdller M\ufffd\ufffdller M?ller MÃƒÂ¼ller Mü\u00adller"),
        ("M\ufffdller", "Müller Mueller"),
        ("MÃ¼ller", "Müller MUELLER"),
        ("O'BRIEN", "O\u2019Brien O\u02bcBrien O`Brien OBrien O Brien obrien\u2019s"),
        ("OBRIEN", "O'Brien O\u2019Brien"),
        ("LUKASZEWSKI^LUKASZ", "Łukasz Łukaszewski"),
        ("Łukaszewski", "£ukaszewski"),
        ("STRAUSS", "Strauß STRAUẞ"),
        ("Sørensen", "Soerensen Sorensen SØRENSEN"),
        ("Đoković", "Djokovic Dokovic"),
        ("MUELLER-LUEDENSCHEIDT^X", "Müller Lüdenscheidt Müller\u2013Lüdenscheidt MüllerLüdenscheidt"),
        ("GARCIALOPEZ^ANA", "García López García-López"),
        ("MCDONALD", "Mc Donald McDonald"),
        ("Ivanov=Иванов^Иван", "ИВАНОВ Иван Ivanov"),
        ("SMITH^JOHN", "J. Smith; Smith J; smith, john; Smith\u2019s; SMITH"),
    ],
)
def test_a_name_is_removed_in_every_spelling(name: str, text: str) -> None:
    assert not re.search(r"[^\W\d_]", clean(text, name)), clean(text, name)


@pytest.mark.public_report(3)
@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        ("Dr.med. Smith and Smith, MD", ["SMITH^JOHN"], "Dr.med. ___ and ___, MD"),
        ("Long axis view, heart long, in May 2021.", ["LONG^MAY"], "Long axis view, heart long, in January 2021."),
        ("Seen with Long and LONG, MAY.", ["LONG^MAY"], "Seen with ___ and ___."),
        ("Gross normal, gross tumour; NG tube, Ng.", ["GROSS", "NG^A"], "Gross normal, gross tumour; NG tube, ___."),
        ("Please do not; Doe.", ["DOE^J"], "Please do not; ___."),
        ("Number 0012345 is 12345.", ["0012345"], "Number ___ is ___."),
    ],
)
def test_names_that_are_ordinary_words_must_be_capitalised(text: str, names: list[str], expected: str) -> None:
    assert clean(text, *names) == expected


@pytest.mark.public_report(4)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("04MAR2021 and 4Mar2021", "24NOV2020 and 24Nov2020"),
        ("03/2021, 2021-03, 03.2021, Jan '21", "11/2020, 2020-11, 11.2020, Sep '20"),
        ("12. Januar 2021, 3. März 2021, Mai 2020", "4. Oktober 2020, 23. November 2020, Januar 2020"),
        ("le 12 janvier 2021, 1er août 2020", "le 4 octobre 2020, 23 avril 2020"),
        ("12 de enero de 2021, 3 maggio 2020", "4 de octubre de 2020, 24 gennaio 2020"),
        ("vom 12.-14. Januar 2021, 12.01.-14.01.2021", "vom 4.-6. Oktober 2020, 04.10.-06.10.2020"),
        ("January 12-14, 2021; 12.01.2021-14.01.2021", "October 4-6, 2020; 04.10.2020-06.10.2020"),
        ("am 30.-31. Oktober 2021", "am 22.-23. Juli 2021"),
        ("Thursday, 4 March 2021; 04.03.2021 (Donnerstag)", "Tuesday, 24 November 2020; 24.11.2020 (Dienstag)"),
        ("20210304101500, on 04032021 at 10:15", "20201124101500, on 24112020 at 10:15"),
        ("September 4th, 2021; 4.III.2021; 2021/3/4", "May 27th, 2021; 24.XI.2020; 2020/11/24"),
        ("am 12.03. und 5. Mai, seit 2019, first of March", "am ___ und ___, seit ___, ___"),
    ],
)
def test_dates_in_five_languages_are_shifted(text: str, expected: str) -> None:
    assert clean(text) == expected


@pytest.mark.public_report(4)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("93M, 93F, 93yo, 93 y/o, 93-year-old", "90M, 90F, 90yo, 90 y/o, 90-year-old"),
        ("97 Jahre, 95-jährige, im 95. Lebensjahr", "90 Jahre, 90-jährige, im 90. Lebensjahr"),
        ("âgé de 94 ans, de 92 años, di 91 anni", "âgé de 90 ans, de 90 años, di 90 anni"),
        ("aged 91, Alter: 93, F/93, (93 M), 093Y", "aged 90, Alter: 90, F/90, (90 M), 090Y"),
        ("ninety-three-year-old, dreiundneunzigjährig", "ninety-year-old, neunzigjährig"),
        ("quatre-vingt-quatorze ans, noventa y dos años", "quatre-vingt-dix ans, noventa años"),
        ("89M, 64 Jahre, 93 ms, 95 mmHg, 100 W, 120 J", "89M, 64 Jahre, 93 ms, 95 mmHg, 100 W, 120 J"),
        ("3/4, 120/80, L4/5, 1.5-2.0 cm, 10/12/15 mm", "3/4, 120/80, L4/5, 1.5-2.0 cm, 10/12/15 mm"),
    ],
)
def test_ages_over_89_become_90(text: str, expected: str) -> None:
    assert clean(text) == expected


@pytest.mark.parametrize(
    ("text", "expected", "rule"),
    [
        ("Herr Dr. Quarz kam, Quarz ging.", "Herr Dr. ___ kam, ___ ging.", "repeated name"),
        ("mr quarz was seen", "mr ___ was seen", "titled name"),
        ("Cognome: Quarz", "Cognome: ___", "labelled name"),
        ("gez. Quarz", "gez. ___", "signed name"),
        ("Vu par Quarz ce matin", "Vu par ___ ce matin", "name by context"),
        ("Hauptstraße 12, 10115 Berlin", "___", "address"),
        ("Handy 0171-1234567, 06 12 34 56 78", "Handy ___, ___", "telephone"),
    ],
)
def test_context_reveals_a_name(text: str, expected: str, rule: str) -> None:
    cleaned, counts = scrubbed(text, names=[], days=-100)
    assert cleaned == expected
    assert counts[rule]


@pytest.mark.parametrize(
    "text",
    [
        "MR angiography, M. Crohn, M. Parkinson, MS plaques.",
        "Kerley B lines, Swan-Ganz catheter, Wolff-Parkinson-White.",
        "Herz verbreitert. Sokolow-Lyon negativ, Lungenemphysem.",
        "Signe de Chilaiditi; hernia de Bochdalek.",
    ],
)
def test_eponyms_are_not_names_of_people(text: str) -> None:
    assert scrubbed(text, names=[], days=-100) == (text, {})


def test_a_tagger_finds_names_that_rules_miss() -> None:
    text, counts = scrubbed("Quarz is well.", names=[], days=-1, tagger=lambda text: [(0, 5)])
    assert text == "___ is well."
    assert counts == {"name by model": 1}
