"""From files to prepared items."""

from collections.abc import Mapping

from polyclinic.deploy.bundle import Bundle
from polyclinic.deploy.scoring.scorer import Study
from polyclinic.modality import Item, Source, UnreadableSource


def read_study(bundle: Bundle, sources: Mapping[str, Source]) -> tuple[Study, dict[str, str]]:
    """Decode and prepare what one study has.

    Args:
        bundle: whose plugins read.
        sources: by modality.

    Returns:
        The items of what could be read, and per modality a sentence on what could not.

    Raises:
        ValueError: a modality that the bundle does not know.
    """
    items: dict[str, Item] = {}
    problems: dict[str, str] = {}
    for name, source in sources.items():
        if name not in bundle.modalities:
            raise ValueError(f"got modality {name!r}, the bundle has {list(bundle.modalities)}; leave it out")
        plugin = bundle.modalities[name]
        try:
            items[name] = plugin.prepare(plugin.read(source))
        except UnreadableSource as reason:
            problems[name] = str(reason)
    return items, problems


def silent(bundle: Bundle, name: str) -> str | None:
    """Why a modality of the bundle does not speak; None where it does."""
    if name in bundle.query:
        return None
    if name == bundle.content.prompts.modality:
        return f"{name} is what the prompts are written in; it does not speak"
    return f"{name} was left out of the query when the bundle was exported"
