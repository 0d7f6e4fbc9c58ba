import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from polyclinic.tracking import modality_gap, roc_curves, similarity_grid, similarity_matrix


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_similarity_matrix_shows_the_scores_as_given() -> None:
    scores = np.array([[0.8, 0.1], [-0.2, 0.6]])
    figure = similarity_matrix(scores, ["a", "b"])
    axes = figure.axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), scores)
    assert [text.get_text() for text in axes.texts] == ["0.80", "0.10", "-0.20", "0.60"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["a", "b"]
    assert axes.get_title() == "Similarity: matching 0.70, others -0.05 on average"
    with pytest.raises(ValueError, match="1 names for 2 rows"):
        similarity_matrix(scores, ["a"])


def test_a_grid_shows_how_candidates_rank_for_each_query() -> None:
    scores = np.array([[0.9, 0.1, 0.5], [0.2, 0.2, 0.4], [0.3, 0.2, 0.1]])
    figure = similarity_grid({("ecg", "xray"): scores}, {"xray": np.eye(3)})
    axes = figure.axes[0]
    pair, joint = (image.get_array() for image in axes.images)
    # Each value is the share of the two other candidates that it exceeds, with ties counted half.
    np.testing.assert_array_equal(pair, [[1, 0, 0.5], [0.25, 0.25, 1], [1, 0.5, 0]])
    np.testing.assert_array_equal(joint, 0.25 + 0.75 * np.eye(3))
    assert [text.get_text() for text in axes.texts] == ["0.42", "1.00"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["xray"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["xray", "ecg"]
    # Rows of the query extend upwards.
    assert axes.images[0].get_extent()[2:] > axes.images[1].get_extent()[2:]
    assert "Framed" in figure.get_suptitle()
    assert "Framed" not in similarity_grid({("ecg", "xray"): scores}, {}).get_suptitle()
    for pairs in ({}, {("ecg", "xray"): np.ones((1, 1))}):
        with pytest.raises(ValueError, match="expected one pair or more, each with two studies or more"):
            similarity_grid(pairs, {})


def test_roc_curves_list_the_best_finding_first() -> None:
    line = np.array([0.0, 1.0])
    figure = roc_curves({"effusion": (line, line, 0.5), "oedema": (line, np.array([0.5, 1.0]), 0.75)})
    assert legend(figure) == ["chance  0.500", "oedema  0.750", "effusion  0.500"]
    np.testing.assert_array_equal(figure.axes[0].lines[1].get_ydata(), [0.5, 1.0])
    with pytest.raises(ValueError, match="no curves"):
        roc_curves({})


def test_the_modality_gap_is_the_distance_of_unit_centroids() -> None:
    rng = np.random.default_rng(0)
    xray, ecg = rng.normal(size=(30, 8)) + 1, 5 * rng.normal(size=(20, 8))
    centres = [np.mean([row / np.sqrt((row**2).sum()) for row in rows], axis=0) for rows in (xray, ecg)]
    gap = np.sqrt(((centres[0] - centres[1]) ** 2).sum())
    figure = modality_gap({"xray": xray, "ecg": ecg})
    assert legend(figure) == ["xray (n=30)", "ecg (n=20)", f"gap xray - ecg: {gap:.2f}"]
    drawn = np.concatenate([np.asarray(dots.get_offsets()) for dots in figure.axes[0].collections[::2]])
    unit = np.concatenate([rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (xray, ecg)])
    singular = np.linalg.svd(unit - unit.mean(axis=0), compute_uv=False)
    np.testing.assert_allclose((drawn**2).sum(axis=0), singular[:2] ** 2, rtol=1e-9)
    with pytest.raises(ValueError, match="two modalities or more"):
        modality_gap({"xray": xray})


def test_drawing_does_not_import_pyplot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    similarity_matrix(np.eye(3), ["a", "b", "c"])
    assert "matplotlib.pyplot" not in sys.modules
