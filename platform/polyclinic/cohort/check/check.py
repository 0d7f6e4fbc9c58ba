"""Read every source of a cohort once and say what it is."""

import math
from collections.abc import Mapping

from rich.progress import track

from polyclinic.cohort.check.readers import Readers, Task
from polyclinic.cohort.check.tally import ModalityCheck, Tally
from polyclinic.cohort.cohort import Cohort
from polyclinic.modality import Inspectable, Modality


def check_cohort(
    cohort: Cohort, modalities: Mapping[str, Modality], *, workers: int = 2, seconds: float = 60.0
) -> dict[str, ModalityCheck]:
    """Read and look over every source, in other processes, and find duplicates by content.

    Each file is decoded once. Its digest, and a header that is looked at again, come from the pages that decoding has
    left in memory. A plugin that must learn before it can describe is fitted on as many training sources as it asks
    for, at most; those are decoded twice. The result is the same whatever ``workers`` is.

    Args:
        cohort: whose sources are read.
        modalities: plugins by name, which are copied to the reading processes.
        workers: processes that read; 0 reads in this one, where a decoder that crashes is not survived.
        seconds: after which a source is given up as unreadable.

    Raises:
        ValueError: ``workers`` or ``seconds`` out of range, or the reading processes cannot start.
    """
    entries = [(name, study) for name in modalities for study in cohort.studies if name in study.sources]
    tallies = {name: Tally(name) for name in modalities}
    with Readers(modalities, workers=workers, seconds=seconds) as readers:
        _fit(cohort, modalities, readers)
        sights = readers.each([Task(name, study.sources[name]) for name, study in entries])
        # The order of the entries, not that of being done, so that sums come out the same to the last bit.
        for (name, study), sight in zip(
            entries, track(sights, description="reading sources", total=len(entries), transient=True), strict=True
        ):
            tallies[name].add(study, sight)
    return {name: tally.result() for name, tally in tallies.items()}


def _fit(cohort: Cohort, modalities: Mapping[str, Modality], readers: Readers) -> None:
    """Fit those plugins that need it to describe, each on a sample spread evenly over the training split."""
    for name, modality in modalities.items():
        wanted = modality.sample() if isinstance(modality, Inspectable) else 0
        train = [study for study in cohort.split("train") if name in study.sources]
        if not wanted or not train:
            continue
        chosen = train[:: math.ceil(len(train) / wanted)]
        raws = readers.each([Task(name, study.sources[name], decode=True) for study in chosen])
        if readable := [raw for raw in raws if raw is not None]:
            modality.fit(readable)
            readers.tell(name)
