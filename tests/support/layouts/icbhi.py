"""A root of ICBHI 2017 with ten recordings of seven patients, two of whom are in both halves of the challenge."""

from pathlib import Path

import numpy as np
import soundfile

# Stem, side, and onset, offset, crackles, wheezes of each cycle.
RECORDINGS = {
    "101_1b1_Al_sc_Meditron": ("train", ((0.036, 0.579, 0, 0), (0.579, 1.2, 1, 0))),
    "101_1b1_Pr_sc_Meditron": ("train", ((0.0, 1.25, 0, 0),)),
    "102_1b1_Ar_sc_Meditron": ("test", ((0.264, 1.736, 0, 1), (1.736, 2.0, 0, 1), (2.0, 2.5, 0, 0))),
    "103_2b2_Ar_mc_LittC2SE": ("test", ((0.364, 1.25, 1, 1), (1.25, 1.5, 1, 0), (1.5, 1.75, 0, 1), (1.75, 2.0, 0, 0))),
    "156_2b3_Al_mc_AKGC417L": ("train", ((0.1, 1.0, 1, 0),)),
    "156_5b3_Al_mc_AKGC417L": ("test", ((0.1, 1.0, 0, 0),)),
    "218_1b1_Pl_sc_Litt3200": ("train", ((0.1, 1.0, 0, 1),)),
    "218_1p1_Tc_mc_AKGC417L": ("test", ((0.1, 1.0, 1, 1),)),
    "223_1b1_Lr_sc_Meditron": ("train", ((0.1, 1.0, 0, 0),)),
    "110_1b1_Ll_sc_Meditron": ("train", ((0.1, 1.0, 1, 0),)),
}
# A line of the split has no recording.
ABSENT = "226_1b1_Pl_sc_LittC2SE"
_RATES = {"Meditron": 4000, "LittC2SE": 44100, "Litt3200": 4000, "AKGC417L": 44100}
_DIAGNOSES = ("101\tURTI", "102\tHealthy", "103\tAsthma", "110\tCOPD", "156\tCOPD", "218\tCOPD", "226\tPneumonia")
_DEMOGRAPHIC = (
    "101\t3\tF\tNA\t19\t99", "102\t0.75\tF\tNA\t9.8\t73", "103\t70\tF\t33\tNA\tNA", "110\t64.5\tM\t24.6\tNA\tNA",
    "156\t80\tM\t17.1\tNA\tNA", "218\t90\tM\t28.5\tNA\tNA", "223\tNA\tNA\tNA\tNA\tNA", "226\t4\tM\tNA\t16.7\t103",
)  # fmt: skip


def write_icbhi(root: Path) -> None:
    """Write sounds with their annotations, and the three tables, which have no header."""
    folder = root / "ICBHI_final_database"
    folder.mkdir(parents=True)
    for number, (stem, (_, cycles)) in enumerate(RECORDINGS.items()):
        rate = _RATES[stem.rsplit("_", 1)[1]]
        sound = np.random.default_rng(number).normal(0, 0.1, int(rate * 2.5))
        soundfile.write(folder / f"{stem}.wav", sound, rate, subtype="PCM_16")
        lines = ["\t".join(str(cell) for cell in cycle) for cycle in cycles]
        (folder / f"{stem}.txt").write_bytes("".join(f"{line}\r\n" for line in lines).encode())
    sides = [f"{stem}\t{side}" for stem, (side, _) in RECORDINGS.items()] + [f"{ABSENT}\ttrain"]
    for name, lines in {
        "ICBHI_challenge_train_test.txt": sides,
        "ICBHI_Challenge_diagnosis.txt": _DIAGNOSES,
        "ICBHI_Challenge_demographic_information.txt": _DEMOGRAPHIC,
    }.items():
        (root / name).write_bytes("".join(f"{line}\r\n" for line in lines).encode())
