"""Running text without identifiers: what goes, what moves, and what has to stay because it is medicine."""

import re
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyclinic.cohort import default_modalities
from polyclinic.deidentify.identity import Identity, mapped, read_key
from polyclinic.deidentify.text import scrubbed
from polyclinic.identifiers import identifying_fields
from polyclinic.physiology import Patient

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
def test_medicine_stays_as_it_is(text: str) -> None:
    assert scrubbed(text, names=["DOE^JOHN", "LI^WEI"], days=-100) == (text, {})


def test_reports_of_the_phantom_stay_as_they_are(tmp_path: Path) -> None:
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
        ("Reviewed with Dr. Smith and Prof. van Dyke.", "Reviewed with Dr. ___ and Prof. van Dyke."),
        ("Electronically signed by: Jane Q. Roe, MD", "Electronically signed by: ___"),
        ("Accession: CXR-2024-001234.", "Accession: ___"),
        ("Lives at 12 Baker Street, NW1 6XE.", "Lives at ___, ___."),
        ("A 93-year-old man, aged 104, age: 95.", "A 90-year-old man, aged 90, age: 90."),
        ("UID 1.2.840.113619.2.55.3.", "UID ___."),
        ("DOE^JOHN was here.", "___ was here."),
    ],
)
def test_what_is_labelled_or_has_a_shape_goes(text: str, expected: str) -> None:
    assert clean(text) == expected
    assert not identifying_fields(clean(text))


@pytest.mark.parametrize(
    "written",
    ["John Doe", "JOHN DOE", "Doe, John", "doe^john", "DOE_JOHN", "Mr Doe", "John", "Doe's heart", "John-Doe", "(Doe)"],
)
def test_a_known_name_goes_however_it_is_written(written: str) -> None:
    found = clean(f"seen: {written} today", "DOE^JOHN^^^").lower()
    assert "doe" not in found
    assert "john" not in found
    assert found.startswith("seen: ")
    assert found.endswith(" today")


def test_known_names_are_whole_words_and_short_ones_are_capitalised() -> None:
    assert (
        clean("Doezer has an aneurysm; An said no, AN too.", "DOE^AN")
        == "Doezer has an aneurysm; ___ said no, ___ too."
    )
    assert clean("Frau Müller, Muller und MÜLLER.", "Müller^Eva") == "Frau ___, ___ und ___."
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
def test_dates_move_in_the_form_they_are_written_in(text: str, expected: str) -> None:
    assert clean(text) == expected


@given(
    first=st.dates(date(1950, 1, 1), date(2035, 1, 1)),
    second=st.dates(date(1950, 1, 1), date(2035, 1, 1)),
    days=st.integers(-3650, -1),
    form=st.sampled_from(["%Y-%m-%d", "%d %B %Y", "%b %d, %Y", "%d.%m.%Y", "%m/%d/%Y", "%Y%m%d"]),
)
@settings(max_examples=150, deadline=None)
def test_intervals_stay_in_every_form(first: date, second: date, days: int, form: str) -> None:
    # May is its own abbreviation, so that a reader cannot tell which form it is in.
    moved = clean(f"{first:{form}} and {second:{form}}", days=days).split(" and ")
    read = [_parsed(text, form) for text in moved]
    assert read == [first + timedelta(days), second + timedelta(days)]


def _parsed(text: str, form: str) -> date:
    for one in (form, form.replace("%B", "%b"), form.replace("%b", "%B")):
        try:
            return datetime.strptime(text, one).date()
        except ValueError:
            continue
    raise AssertionError(text)


@pytest.mark.parametrize("piece", ["1-", "A-1", "1.", "a.b@c.", "Name: ", "5 May ", "1 2 3 4 ", "(1", "a", " "])
def test_no_text_is_looked_at_more_than_a_few_times(piece: str) -> None:
    """A pattern that went back and forth over these would not end within the time of a test."""
    assert len(clean(piece * 20_000, "DOE^JOHN")) <= 20_000 * len(piece) + 3


@given(st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_text_comes_through_and_a_second_time_changes_no_name(text: str) -> None:
    once = clean(f"{text} DOE^JOHN {text}", "DOE^JOHN")
    assert not re.search(r"(?<![^\W_])doe(?![^\W_])", once, re.IGNORECASE)


def test_kinds_are_counted() -> None:
    text, counts = scrubbed("Dr. Roe saw John on 2024-03-05, john@doe.org", names=["John"], days=-1)
    assert text == "Dr. ___ saw ___ on 2024-03-04, ___"
    assert counts == {"name": 2, "date": 1, "e-mail": 1}


def test_an_identity_is_decided_by_key_and_patient_alone() -> None:
    one, again = Identity(key=KEY, patient="7", names=("DOE",)), Identity(key=KEY, patient="7")
    assert (one.patient_id, one.days, one.uid("1.2.3")) == (again.patient_id, again.days, again.uid("1.2.3"))
    assert one.patient_id == mapped(KEY, "patient", "7") != mapped(KEY, "study", "7")
    other = Identity(key=KEY[::-1], patient="7")
    assert one.patient_id != other.patient_id
    assert one.uid("1.2.3") != other.uid("1.2.3")
    assert re.fullmatch(r"2\.25\.[1-9]\d{1,38}", one.uid("1.2.3"))
    days = [Identity(key=KEY, patient=str(patient)).days for patient in range(500)]
    assert -3650 <= min(days) < -3500
    assert -200 < max(days) <= -1
    assert not {"DOE", "0123456789abcdef", "'7'"} & set(re.split(r"[(),=\s]", repr(one)))


def test_mapped_ids_are_the_keyed_hash_of_rfc_2104() -> None:
    # openssl dgst -sha256 -hmac gives the same for the bytes "patient", NUL and "7".
    block = KEY.ljust(64, b"\0")
    from hashlib import sha256  # noqa: PLC0415 - an independent computation

    inner = sha256(bytes(b ^ 0x36 for b in block) + b"patient\x007").digest()
    assert mapped(KEY, "patient", "7") == sha256(bytes(b ^ 0x5C for b in block) + inner).hexdigest()[:16]


def test_a_key_that_is_no_secret_is_refused(tmp_path: Path) -> None:
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
