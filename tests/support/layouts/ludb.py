"""A root of LUDB 1.0.1: a table whose cells end in line breaks, and six records."""

from pathlib import Path

from layouts.ecg_files import write_record

LEADS = ("i", "ii", "iii", "avr", "avl", "avf", "v1", "v2", "v3", "v4", "v5", "v6")

# Quoted cells with line breaks, as in the published file.
TABLE = """\
ID,Sex,Age,Rhythms,Electric axis of the heart,Conduction abnormalities,Extrasystolies,Hypertrophies,Cardiac pacing,Ischemia,Non-specific repolarization abnormalities,Other states
1,"F
","51
",Sinus bradycardia,Electric axis of the heart: left axis deviation,,,"Left ventricular overload
Left ventricular hypertrophy",,,Non-specific repolarization abnormalities: posterior wall,
2,"M
",">89
","Atrial fibrillation
Aberrant conduction",,Complete left bundle branch block,,,"Pacemaker presence, undefined
Unipolar ventricular pacing",,,
8,"M
","17
","Atrial flutter, typical",Electric axis of the heart: vertical,,"Atrial extrasystole, type: single pac
Atrial extrasystole: sa-nodal extrasystole",,,"Stemi: septal
Stemi: apical",,Early repolarization syndrome
34,"F
","64
",Sinus rhythm,Electric axis of the heart: normal,,,,,,,
95,"n/a
","about 40
",,Electric axis of the heart: unclear,,,,,,,
111,"F
","64
",Wandering pacemaker,,,,,,,,
"""  # noqa: E501


def write_ludb(root: Path, *, table: str = TABLE, records: tuple[int, ...] = (1, 2, 8, 34, 95, 111)) -> None:
    """Write the table and records, without the annotations of waves."""
    root.mkdir(parents=True)
    (root / "ludb.csv").write_text(table, encoding="utf-8", newline="")
    (root / "RECORDS").write_text("".join(f"data/{record}\n" for record in records))
    for record in records:
        write_record(root / "data" / str(record), leads=LEADS, rate=500, seed=record)
