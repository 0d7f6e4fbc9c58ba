"""Command line ``python -m benchmarks [NAME ...]``: measure, print a table and write bench/report.json."""

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import (
    bootstrap,
    burned_in,
    cache,
    card,
    cases,
    chance,
    commands,
    conformance,
    ddp,
    deidentify,
    demo,
    doctor,
    documented,
    ecg_formats,
    first,
    flakes,
    fuzz,
    gradcache,
    heads,
    heads_bundle,
    hostile,
    hostile_configs,
    imports,
    linkage,
    masked,
    meds,
    names,
    quantised,
    reading,
    real,
    scan,
    serve,
    soak,
    step,
    step_overhead,
    symile,
    tracking,
    xor,
)
from benchmarks.measure import Benchmark

BENCHMARKS: dict[str, Benchmark] = {
    "reading": reading.measure,
    "cache": cache.measure,
    "step": step.measure,
    "step_overhead": step_overhead.measure,
    "ddp": ddp.measure,
    "deidentify": deidentify.measure,
    "symile": symile.measure,
    "gradcache": gradcache.measure,
    "xor": xor.measure,
    "masked": masked.measure,
    "meds": meds.measure,
    "bootstrap": bootstrap.measure,
    "burned_in": burned_in.measure,
    "linkage": linkage.measure,
    "names": names.measure,
    "flakes": flakes.measure,
    "fuzz": fuzz.measure,
    "ecg_formats": ecg_formats.measure,
    "card": card.measure,
    "cases": cases.measure,
    "chance": chance.measure,
    "heads": heads.measure,
    "heads_bundle": heads_bundle.measure,
    "real": real.measure,
    "commands": commands.measure,
    "scan": scan.measure,
    "tracking": tracking.measure,
    "doctor": doctor.measure,
    "first": first.measure,
    "documented": documented.measure,
    "imports": imports.measure,
    "conformance": conformance.measure,
    "demo": demo.measure,
    "quantised": quantised.measure,
    "serve": serve.measure,
    "hostile": hostile.measure,
    "hostile_configs": hostile_configs.measure,
    "soak": soak.measure,
}
REPORT = Path("bench/report.json")


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all of them without names, and update only their entries in the report."""
    if unknown := [name for name in names if name not in BENCHMARKS]:
        sys.stderr.write(f"error: got benchmark {unknown[0]!r}, expected some of {sorted(BENCHMARKS)}\n")
        return 1
    figures = [figure for name in names or BENCHMARKS for figure in BENCHMARKS[name]()]
    table = Table("name", "value", "goal", "holds")
    for figure in figures:
        bound = "" if figure.goal is None else f"{'<=' if figure.at_most else '>='} {figure.goal:g}"
        holds = "" if figure.holds is None else "yes" if figure.holds else "no"
        table.add_row(figure.name, f"{figure.value:.4g} {figure.unit}", bound, holds)
    REPORT.parent.mkdir(exist_ok=True)
    earlier = json.loads(REPORT.read_text(encoding="utf-8")) if REPORT.exists() else []
    measured = {figure.name for figure in figures}
    unchanged = [entry for entry in earlier if entry["name"] not in measured]
    REPORT.write_text(json.dumps([*unchanged, *(figure.as_json() for figure in figures)], indent=1), encoding="utf-8")
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
