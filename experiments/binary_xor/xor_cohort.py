"""Write cohorts of binary variables, of which the last depends on the others: ``python xor_cohort.py OUT --p 1``."""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

STUDIES = {"train": 1024, "val": 256, "test": 1024}
WORDS = np.array(["zero", "one"])


def write_cohort(out: Path, *, variables: int, p: float, missing: float, seed: int) -> Path:
    """Draw and write ``variables - 1`` fair bits, and their exclusive-or with probability p, else the first bit.

    Bits are columns ``v1``, ``v2``, ...; the last variable is a word, so that prompts can query it.

    Args:
        out: folder to create.
        variables: number of variables, including the last one.
        p: probability of the exclusive-or, drawn for each study.
        missing: probability of an empty cell; every study keeps at least two values.
        seed: random seed.

    Returns:
        The path of ``cohort.yaml``.
    """
    rng = np.random.default_rng([seed, variables, round(1000 * p)])
    size = sum(STUDIES.values())
    bits = rng.integers(0, 2, size=(size, variables - 1))
    last = np.where(rng.random(size) < p, bits.sum(axis=1) % 2, bits[:, 0])
    names = [f"v{place + 1}" for place in range(variables)]
    cells = np.column_stack([bits.astype(str), WORDS[last]]).astype(object)
    cells[_hidden(rng, size, variables, missing)] = ""
    ids = [f"S{row:05d}" for row in range(size)]
    splits = np.repeat(list(STUDIES), list(STUDIES.values()))
    table = pd.DataFrame({"study": ids, "patient": ids, "split": splits, **dict(zip(names, cells.T, strict=True))})
    out.mkdir(parents=True)
    table.assign(last_is_one=last).to_csv(out / "cohort.csv", index=False)
    spec = {
        "table": "cohort.csv", "study_id": "study", "patient_id": "patient", "split": "split",
        "modalities": {**{name: {"columns": [name]} for name in names[:-1]}, names[-1]: {"text": names[-1]}},
        "labels": {"last_is_one": {"column": "last_is_one"}},
    }  # fmt: skip
    path = out / "cohort.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    return path


def _hidden(rng: np.random.Generator, size: int, variables: int, missing: float) -> np.ndarray:
    draws = rng.random((size, variables))
    largest_two = np.argsort(draws, axis=1)[:, -2:]
    hidden = draws < missing
    np.put_along_axis(hidden, largest_two, False, axis=1)
    return hidden


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--variables", type=int, default=3)
    parser.add_argument("--p", type=float, default=1.0)
    parser.add_argument("--missing", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    print(write_cohort(chosen.out, **{name: value for name, value in vars(chosen).items() if name != "out"}))
