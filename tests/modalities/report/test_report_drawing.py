"""The text of a report stays within its axes, as the pictures of retrieval put eight beside each other."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from polyclinic_report.drawing import draw_text

TEXT = "There is evidence of moderate myocardial ischemia, allowing for technique. " * 40


@pytest.mark.parametrize(("columns", "width"), [(8, 21.6), (1, 4.0), (3, 12.0)])
def test_text_stays_within_its_axes(columns: int, width: float) -> None:
    figure = Figure(figsize=(width, 2.7), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    every = figure.subplots(1, columns, squeeze=False)[0]
    for axes in every:
        draw_text(TEXT, axes)
    figure.canvas.draw()
    for axes in every:
        (text,) = axes.texts
        box, frame = text.get_window_extent(), axes.get_window_extent()
        assert frame.x0 <= box.x0 < box.x1 <= frame.x1
        assert frame.y0 <= box.y0 < box.y1 <= frame.y1
        assert text.get_text().endswith("...")
        assert not axes.get_xticks().size
