"""Results that files state beside their measurement, such as those of an ECG cart, as columns of the proposed table."""

from collections.abc import Collection, Mapping, Sequence

from polyclinic.cohort.scan.places import Places
from polyclinic.cohort.scan.studies import ScannedStudy
from polyclinic.modality import HasResults, Modality, UnreadableSource
from polyclinic.system.progress import track


def read_file_results(
    studies: Sequence[ScannedStudy], modalities: Mapping[str, Modality], places: Places, taken: Collection[str]
) -> dict[str, list[str]]:
    """Return a column for each result, ``MODALITY_RESULT``, with one cell per study; empty where a file states none.

    Args:
        studies: studies of the folder.
        modalities: plugins, by name.
        places: places of the files.
        taken: names of columns that exist, which are left out.
    """
    columns: dict[str, list[str]] = {}
    plugins = {name: plugin for name, plugin in modalities.items() if isinstance(plugin, HasResults)}
    if not any(name in study.files for study in studies for name in plugins):
        return {}
    for row, study in enumerate(track(studies, description="reading results of files")):
        for name, plugin in plugins.items():
            if name not in study.files:
                continue
            for result, value in _results(plugin, study.files[name], places).items():
                cells = columns.setdefault(f"{name}_{result}", [""] * len(studies))
                cells[row] = f"{value:g}" if isinstance(value, float) else value
    return {column: cells for column, cells in sorted(columns.items()) if column not in taken}


def _results(plugin: HasResults, path: str, places: Places) -> Mapping[str, float | str]:
    try:
        return plugin.file_results(places.file(path))
    except UnreadableSource:  # `cohort check` reports it
        return {}
