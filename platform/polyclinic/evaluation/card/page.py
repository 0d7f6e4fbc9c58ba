"""The evaluation card as a self-contained HTML page."""

import base64
import io
import math
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from polyclinic.evaluation.card.content import Card
from polyclinic.evaluation.card.findings import BINS
from polyclinic.evaluation.metrics.intervals import Estimate

_TEMPLATE = "card.html"


def render(card: Card, figures: Mapping[str, Figure], pictures: Mapping[str, Mapping[str, Figure | str]]) -> str:
    """Render the card as an HTML page.

    Args:
        card: content of the card.
        figures: figures by their name in the template.
        pictures: picture, or the reason why there is none, by explained study and modality.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "number": _number,
        "percent": _percent,
        "chance": _chance,
        "estimate": _estimate,
        "interval": _interval,
    }
    return environment.get_template(_TEMPLATE).render(
        card=card,
        bins=BINS,
        figures={name: _inline(figure, name) for name, figure in figures.items()},
        pictures={
            study: {
                name: Markup('<span class="why">{}</span>').format(picture)
                if isinstance(picture, str)
                else _inline(picture, f"{study}, {name}")
                for name, picture in drawn.items()
            }
            for study, drawn in pictures.items()
        },
    )


def _inline(figure: Figure, name: str) -> Markup:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    data = base64.b64encode(buffer.getvalue()).decode()
    return Markup('<img alt="{}" src="data:image/png;base64,{}">').format(name, data)


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None or math.isnan(value) else f"{round(value, digits) + 0.0:.{digits}f}"


def _percent(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.0%}"


def _chance(probability: float) -> str:
    """Format a probability, but never as 0 % or 100 %, because no model is certain."""
    return "under 1%" if probability < 0.01 else "over 99%" if probability > 0.99 else f"{probability:.0%}"


def _interval(estimate: Estimate, digits: int = 3) -> str:
    low, high, undefined = estimate.ci95
    limits = "-" if math.isnan(low) else f"{_number(low, digits)} to {_number(high, digits)}"
    return f"{limits} ({undefined} resamples undefined)" if undefined else limits


def _estimate(estimate: Estimate | str, digits: int = 3) -> Markup | str:
    """Format a value with its interval, or the reason why there is none."""
    if isinstance(estimate, str):
        return Markup('<span class="why">{}</span>').format(estimate)
    return Markup('{} <span class="ci">{}</span>').format(_number(estimate.value, digits), _interval(estimate, digits))
